"""Labels of a folder that are no class numbers: two classes, masks and values."""

import numpy as np
import pytest
from PIL import Image

from fcn.data import Prepared, check_source, open_source
from fcn.data.panoptic import by_class
from fcn.data.sources import scenes
from fcn.data.sources.variants import ShapesVariant


@pytest.fixture
def folder(tmp_path):
    """Two images of 4x6 without labels, and a function that writes a label."""
    for name in ("a", "b"):
        write(tmp_path / f"images/train/{name}.png", np.zeros((4, 6, 3)))
    return tmp_path


def write(path, pixels, kind=np.uint8):
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.suffix == ".npy":
        np.save(path, np.asarray(pixels, kind))
    else:
        Image.fromarray(np.asarray(pixels, kind)).save(path)


def put(value, size=(4, 6)):
    """Zeros, but for the second row."""
    pixels = np.zeros(size)
    pixels[1] = value
    return pixels


@pytest.mark.parametrize(("stored", "ignored"), [((0, 255), False), ((0, 1), False), ((0, 7), False), ((0, 1, 255), True)])
def test_two_values_are_two_classes(folder, stored, ignored):
    """255 is the object where there is no other value, and ignored where there is."""
    for name in ("a", "b"):
        pixels = put(stored[1])
        pixels[3, 3] = stored[-1] if ignored else 0
        write(folder / f"labels/train/{name}.png", pixels)
    source = open_source("folder", "train", root=folder, label_kind="binary")
    check_source(source)
    assert source.classes == ("background", "object")
    label = source[0]["label"]
    assert (label[1] == 1).all() and label[3, 3] == (255 if ignored else 0) and not label[0].any()


def test_masks_of_gray_and_colour_and_of_8_and_16_bits_are_one_set(folder):
    """Where no table names colours, gray pixels are ids however they are stored."""
    write(folder / "labels/train/a.png", put(65535), np.uint16)
    write(folder / "labels/train/b.png", np.stack([put(255)] * 3, -1))
    source = open_source("folder", "train", root=folder)
    assert source.classes == ("background", "foreground")
    for sample in source:
        np.testing.assert_array_equal(sample["label"], put(1))
    write(folder / "labels/train/b.png", np.stack([put(9)] * 3, -1))
    with pytest.raises(ValueError, match=r"label value 9 is no class id"):
        source[1]
    write(folder / "labels/train/b.png", put(700), np.uint16)
    with pytest.raises(ValueError, match=r"classes\.csv: there is none, and labels hold values above 255; without it they are"):
        open_source("folder", "train", root=folder)


def test_a_mask_for_each_class_and_one_of_what_is_ignored(folder):
    write(folder / "labels/train/a/cell.png", put(255))
    write(folder / "labels/train/a/edge.tif", put(1))
    write(folder / "labels/train/a/void.png", put(0) + np.eye(4, 6))
    write(folder / "labels/train/b/edge.png", put(3))
    source = open_source("folder", "train", root=folder, label_kind="masks")
    check_source(source)
    assert source.classes == ("cell", "edge") and source.label_kind == "masks"
    first, second = source[0]["label"], source[1]["label"]
    assert first.shape == (4, 6, 2) and (first[np.eye(4, 6, dtype=bool)] == 255).all()
    assert (first[1, 2:] == 1).all() and first[0, 1:].sum() == 0
    assert not second[..., 0].any() and (second[1, :, 1] == 1).all()
    assert sorted(source.file_sizes())[2:] == [
        f"labels/train/{name}" for name in ("a/cell.png", "a/edge.tif", "a/void.png", "b/edge.png")
    ]
    batch = Prepared(source, (8, 12)).batch(np.array([1, -1]), np.zeros(2, int))
    assert batch["label"].shape == (2, 8, 12, 2) and (batch["label"][0, 2:4, :, 1] == 1).all()
    assert (batch["label"][1] == 255).all()


def test_masks_of_classes_that_exclude_each_other(folder):
    """Where there is none, the background; where there are two, ignored pixels."""
    for name in "ab":
        write(folder / f"labels/train/{name}/cell.png", put(255))
    write(folder / "labels/train/a/edge.png", np.tri(4, 6) * 255)
    write(folder / "labels/train/b/void.png", np.eye(4, 6))
    source = open_source("folder", "train", root=folder)
    check_source(source)
    assert source.classes == ("background", "cell", "edge") and "labels/NAME/, one for each class" in source.remarks[0]
    expected = np.tri(4, 6) * 2
    expected[1] = 255, 255, 1, 1, 1, 1
    np.testing.assert_array_equal(source[0]["label"], expected)
    np.testing.assert_array_equal(source[1]["label"], np.where(np.eye(4, 6), 255, put(1)))
    (folder / "classes.csv").write_text("id,name\n0,edge\n1,background\n2,cell\n")
    np.testing.assert_array_equal(
        open_source("folder", "train", root=folder)[1]["label"], np.where(np.eye(4, 6), 255, put(1) + 1)
    )
    write(folder / "labels/train/b/background.png", put(0))
    assert (open_source("folder", "train", root=folder)[1]["label"][2:] == 255).all(), "which has a mask of its own"


def test_masks_whose_names_are_numbers_are_objects(folder):
    for name in "ab":
        write(folder / f"masks/train/{name}/0.png", put(255))
        write(folder / f"masks/train/{name}/13.png", np.eye(4, 6))
    source = open_source("folder", "train", root=folder)
    assert source.classes == ("background", "object") and "objects in masks/NAME/" in source.remarks[0]
    np.testing.assert_array_equal(source[0]["label"], np.maximum(np.eye(4, 6), put(1)))
    assert source.objects(1).max() == 2


def test_values_as_they_are_stored(folder):
    write(folder / "labels/train/a.npy", put(np.nan), np.float64)
    write(folder / "labels/train/b.tif", put(1.5), np.float32)
    source = open_source("folder", "train", root=folder, label_kind="values")
    check_source(source)
    assert source.classes == ("value",)
    assert np.isnan(source[0]["label"][1]).all() and source[0]["label"].shape == (4, 6, 1)
    assert source[1]["label"].dtype == np.float32 and (source[1]["label"][1] == 1.5).all()
    write(folder / "labels/train/b.tif", put(40000), np.uint16)
    assert (open_source("folder", "train", root=folder, label_kind="values")[1]["label"][1] == 40000).all()


def test_values_that_would_be_inverted_or_are_an_archive_are_refused(folder):
    write(folder / "labels/train/a.npy", put(1.0), np.float32)
    path = folder / "labels/train/b.tif"
    Image.fromarray(np.uint8(put(9))).save(path, tiffinfo={262: 0})
    with pytest.raises(ValueError, match=r"b\.tif: a label of which 0 is white"):
        open_source("folder", "train", root=folder, label_kind="values")[1]
    np.savez(folder / "labels/train/b.npz", put(1.0))
    (folder / "labels/train/b.npz").rename(path.with_suffix(".npy"))
    path.unlink()
    with pytest.raises(ValueError, match=r"b\.npy: not an array that NumPy reads"):
        open_source("folder", "train", root=folder, label_kind="values")[1]


def test_channels_of_values_have_the_names_of_the_table(folder):
    for name in ("a", "b"):
        write(folder / f"labels/train/{name}.npy", np.ones((4, 6, 2)), np.float32)
    assert open_source("folder", "train", root=folder, label_kind="values").classes == ("value_0", "value_1")
    (folder / "classes.csv").write_text("id,name\n0,x\n1,y\n")
    assert open_source("folder", "train", root=folder, label_kind="values").classes == ("x", "y")
    (folder / "classes.csv").write_text("id,name\n0,x\n")
    with pytest.raises(ValueError, match="names 1 values, but labels have 2 channels"):
        open_source("folder", "train", root=folder, label_kind="values")


@pytest.mark.parametrize(
    ("kind", "labels", "message"),
    [
        ("masks", {"a/cell.png": put(1), "b/cell.png": put(1, (5, 6))}, "the image is 4x6 .*, its label 5x6"),
        ("masks", {"a/cell.png": put(1), "a/edge.png": put(1, (5, 6)), "b/cell.png": put(1)}, "cell and edge have different"),
        ("masks", {"a/cell.png": put(1)}, "b.* has no label .*train/b/CLASS.png"),
        ("values", {"a.npy": put(1.0)}, "b.* has no label .*train/b.npy"),
        ("values", {"a.npy": put(1.0), "b.npy": np.ones((4, 6, 3))}, "b.npy: 3 channels; labels have 1: value"),
        ("values", {"a.npy": put(np.nan), "b.npy": put(0) + np.nan}, None),
        (
            "values",
            {"a.npy": put(0) + np.nan, "b.npy": put(0) + np.nan},
            "every pixel of all 2 labels of this split is ignored",
        ),
        ("values", {"a.npy": put(1.0), "b.png": np.zeros((4, 6, 3))}, "b.png: a label of colour mode RGB; values are in one"),
    ],
)
def test_what_is_wrong_is_told_with_its_file(folder, kind, labels, message):
    for name, pixels in labels.items():
        write(folder / "labels/train" / name, pixels, np.float32 if name.endswith("npy") else np.uint8)
    if message is None:
        check_source(open_source("folder", "train", root=folder, label_kind=kind))
        return
    with pytest.raises((ValueError, FileNotFoundError), match=message):
        check_source(open_source("folder", "train", root=folder, label_kind=kind))


def test_an_image_without_any_object_has_an_empty_mask(folder):
    write(folder / "labels/train/a/cell.png", put(1))
    (folder / "labels/train/b").mkdir()
    with pytest.raises(FileNotFoundError, match="train/b holds no mask; of an image without any object put in one that is 0"):
        open_source("folder", "train", root=folder, label_kind="masks")
    write(folder / "labels/train/b/cell.png", put(0))
    assert not open_source("folder", "train", root=folder, label_kind="masks")[1]["label"].any()


@pytest.mark.parametrize("store", ["instances", "labels", "masks"])
@pytest.mark.parametrize(
    ("ending", "kind", "largest"), [("png", np.uint8, 255), ("png", np.uint16, 65535), ("tif", np.int32, 70_000)]
)
def test_objects_are_numbers_of_8_16_and_32_bits(folder, store, ending, kind, largest):
    for name in ("a", "b"):
        write(folder / f"{store}/train/{name}.{ending}", put(largest), kind)
    source = open_source("folder", "train", root=folder, label_kind="instances")
    check_source(source)
    assert source.classes == ("object",) and source.palette.shape == (1, 3)
    np.testing.assert_array_equal(source[0]["label"], put(largest))
    sample = Prepared(source)[1]["label"]  # as it was stored, and as it was kept
    assert sample.dtype == np.int32 and sample.max() == largest


def test_objects_may_be_a_folder_of_masks(folder):
    write(folder / "labels/train/a/first.png", put(255))
    write(folder / "labels/train/a/second.png", np.eye(4, 6))
    write(folder / "labels/train/b.png", put(3))
    source = open_source("folder", "train", root=folder, label_kind="instances")
    assert source[0]["label"].tolist() == [[2, 0, 0, 0, 0, 0], [1, 2, 1, 1, 1, 1], [0, 0, 2, 0, 0, 0], [0, 0, 0, 2, 0, 0]]
    np.testing.assert_array_equal(source[1]["label"], put(3))
    assert sum(source.file_sizes().values()) > 0 and len(source.file_sizes()) == 5
    write(folder / "labels/train/a/third.png", put(1, (5, 6)))
    with pytest.raises(ValueError, match=r"third.png: its size is \(5, 6\), that of the masks before it \(4, 6\)"):
        source[0]


def test_of_colours_each_is_an_object(folder):
    for name in ("a", "b"):
        write(folder / f"instances/train/{name}.png", np.stack([put(9), put(2), put(1)], -1))
    label = open_source("folder", "train", root=folder, label_kind="instances")[0]["label"]
    np.testing.assert_array_equal(label, put((9 << 16) + (2 << 8) + 1))


def test_prepared_sets_have_class_numbers_only():
    with pytest.raises(ValueError, match="tfds:x has class numbers as labels; this task needs masks"):
        open_source("tfds:x", "train", label_kind="masks")


class Scene:
    """A square of 3x3 (class 2) beside a disc of one pixel (class 1)."""

    name, classes, palette, ignore_index = "shapes", ("a", "b", "c"), np.zeros((3, 3), np.uint8), 255

    def __len__(self):
        return 1

    def __getitem__(self, index):
        label = np.zeros((5, 6), np.int32)
        label[1:4, 1:4], label[2, 4] = 2, 1
        return {"image": np.zeros((5, 6, 3), np.uint8), "label": label, "name": "scene"}


def test_shapes_has_labels_of_every_kind():
    binary, masks, values = (ShapesVariant(Scene(), kind)[0]["label"] for kind in ("binary", "masks", "values"))
    np.testing.assert_array_equal(binary, Scene()[0]["label"] > 0)
    assert ShapesVariant(Scene(), "masks").classes == ("object", "round", "angular", "convex")
    np.testing.assert_array_equal(masks[2, 2], [1, 0, 1, 1])
    np.testing.assert_array_equal(masks[2, 4], [1, 1, 0, 1])
    assert not masks[0].any()
    np.testing.assert_array_equal(values[2, :, 0], [0, 1, 2, 1, 1, 0])


def test_objects_of_a_scene_are_those_that_were_drawn():
    """Number 3 of the validation split, wherever it lies in the prepared set."""
    drawn = scenes.draw_scene(scenes.SEEDS["val"], 3)

    class Named(Scene):
        def __getitem__(self, index):
            label = drawn.label.astype(np.int32)
            return super().__getitem__(index) | {"name": "shapes, val sample 7 (val_0003)", "label": label}

    source = ShapesVariant(Named(), "instances")
    np.testing.assert_array_equal(source[0]["label"], drawn.instances)
    assert source.classes == ("object",) and source[0]["label"].dtype == np.int32 and drawn.instances.max() > 1
    several = ShapesVariant(Named(), "panoptic")
    numbers, classes = by_class(several[0]["label"])
    assert several.classes == scenes.CLASSES[1:] and len(several.palette) == 5
    np.testing.assert_array_equal(numbers > 0, drawn.instances > 0)
    np.testing.assert_array_equal((classes[numbers] + 1)[numbers > 0], drawn.label[numbers > 0])
