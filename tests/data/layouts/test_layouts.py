"""Data sets as others lay them out: found by themselves, with their classes, their splits and their labels."""

import json

import numpy as np
import pytest
from PIL import Image

from fcn.data import check_source, open_source
from fcn.data.layouts import dsb2018, find_layout
from fcn.data.layouts.cityscapes import label_ids, train_ids
from fcn.data.layouts.splits import hashed, known_splits
from fcn.data.layouts.voc import colour
from fcn.data.panoptic import STEP
from fcn.data.reading.outlines import filled, run_lengths

SIZE = (4, 6)


def save(path, values):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.asarray(values, np.uint8)).save(path)


def photo(path, seed=0):
    save(path, np.random.default_rng(seed).integers(0, 256, (*SIZE, 3)))


def label(*values):
    """A label whose first row is of these values, 0 elsewhere."""
    stored = np.zeros(SIZE, np.uint8)
    stored[0, : len(values)] = values
    return stored


def make_voc(root):
    place = root / "VOCdevkit" / "VOC2012"
    for i, name in enumerate(("2007_000032", "2007_000033")):
        photo(place / "JPEGImages" / f"{name}.jpg", i)
        save(place / "SegmentationClass" / f"{name}.png", label(20, 255, i))
        save(place / "SegmentationObject" / f"{name}.png", label(1, 255, 2))
    photo(place / "JPEGImages" / "2007_000034.jpg", 2)  # has no label, and is in no list
    lists = place / "ImageSets" / "Segmentation"
    lists.mkdir(parents=True)
    (lists / "train.txt").write_text("2007_000032\n")
    (lists / "val.txt").write_text("2007_000033\n")


def make_cityscapes(root, kind="labelIds", values=(7, 33, 0)):
    for split, city in (("train", "aachen"), ("val", "lindau")):
        photo(root / "leftImg8bit" / split / city / f"{city}_0_leftImg8bit.png", len(split))
        save(root / "gtFine" / split / city / f"{city}_0_gtFine_{kind}.png", label(*values))


def make_train_ids(root):
    make_cityscapes(root, "labelTrainIds", (0, 18, 255))
    make_cityscapes(root)


def make_ade(root):
    for split in ("training", "validation"):
        photo(root / "images" / split / "ADE_1.jpg", len(split))
        save(root / "annotations" / split / "ADE_1.png", label(1, 150, 0))
    (root / "objectInfo150.txt").write_text("Idx\tRatio\tName\n" + "".join(f"{i}\t.1\tthing {i}, x\n" for i in range(1, 151)))


def make_camvid(root):
    for i in range(6):
        photo(root / "701_StillsRaw_full" / f"0001TP_{i}.png", i)
        colours = np.zeros((*SIZE, 3))
        colours[0, :2] = (128, 128, 128), (64, 192, 0)
        colours[1, 0] = 1, 2, 3  # in no table
        save(root / "LabeledApproved_full" / f"0001TP_{i}_L.png", colours)
    (root / "label_colors.txt").write_text("64 192 0\tWall\n0 0 0\t\tVoid\n128 128 128\tSky\n")


def make_pairs(root):
    for split in ("train", "val"):
        photo(root / split / "a.png", len(split))
        save(root / f"{split}_labels" / "a_L.png", np.repeat([[[9] * 3], [[5] * 3], [[1] * 3], [[1] * 3]], 6, 1))
    (root / "class_dict.csv").write_text("name,r,g,b\nGround,9,9,9\nTree,5,5,5\nVoid,1,1,1\n")


def make_nnunet(root):
    for i in range(5):
        photo(root / "imagesTr" / f"case_{i}_0000.png", i)
        save(root / "labelsTr" / f"case_{i}.png", label(1, 2))
    described = {"channel_names": {"0": "R"}, "labels": {"background": 0, "cell": 1, "ignore": 2}, "file_ending": ".png"}
    (root / "dataset.json").write_text(json.dumps(described))


def make_coco(root):
    (root / "annotations").mkdir(parents=True)
    for split in ("train2017", "val2017"):
        photo(root / split / "1.jpg", len(split))
        square = {"category_id": 18, "segmentation": [[1, 0, 3, 0, 3, 2, 1, 2]]}
        runs = {"category_id": 3, "segmentation": {"size": list(SIZE), "counts": [0, 1, 23]}}
        table = {
            "images": [{"id": 7, "file_name": "1.jpg", "height": SIZE[0], "width": SIZE[1]}],
            "annotations": [{"id": i, "image_id": 7, "iscrowd": 0, **entry} for i, entry in enumerate((square, runs))],
            "categories": [{"id": 18, "name": "dog"}, {"id": 3, "name": "car"}],
        }
        (root / "annotations" / f"instances_{split}.json").write_text(json.dumps(table))


def make_dsb(root):
    for i in range(6):
        photo(root / "stage1_train" / f"00a{i}" / "images" / f"00a{i}.png", i)
        for name, values in (("0f1", [255, 255]), ("1b2", [0, 0, 255])):
            save(root / "stage1_train" / f"00a{i}" / "masks" / f"{name}.png", label(*values))
    photo(root / "stage1_test" / "00b" / "images" / "00b.png")


CASES = [
    (make_voc, "PASCAL VOC", 21, ["2007_000032"], [20, 255, 0]),
    (make_cityscapes, "Cityscapes", 19, ["aachen/aachen_0"], [0, 18, 255]),
    (make_train_ids, "Cityscapes", 19, ["aachen/aachen_0"], [0, 18, 255]),
    (make_ade, "ADE20K", 150, ["ADE_1"], [0, 149, 255]),
    (make_camvid, "CamVid's original", 2, None, [1, 0, 255]),
    (make_pairs, "side by side", 2, ["a"], [0, 0, 0]),
    (make_nnunet, "nnU-Net", 2, None, [1, 255, 0]),
    (make_coco, "COCO", 3, ["1"], [1, 2, 2]),
    (make_dsb, "the 2018 Data Science Bowl", 2, None, [1, 1, 1]),
]


@pytest.mark.filterwarnings("ignore:.*such pixels are ignored")
@pytest.mark.parametrize(
    ("make", "name", "classes", "names", "values"), CASES, ids=lambda case: getattr(case, "__name__", None)
)
def test_layouts_are_found_and_read(tmp_path, make, name, classes, names, values):
    make(tmp_path)
    train, val = (open_source("folder", split, root=tmp_path) for split in ("train", "val"))
    assert name in train.remarks[0] and len(train.classes) == classes and train.classes == val.classes
    assert names is None or [sample["name"] for sample in train] == names
    np.testing.assert_array_equal(train[0]["label"][0, :3], values)
    assert train[0]["image"].shape == (*SIZE, 3) and not np.array_equal(train[0]["image"], val[0]["image"])
    check_source(train)
    assert known_splits(train.layout)[:2] == ["train", "val"]
    assert all((tmp_path / file).is_file() for file in train.file_sizes())
    with pytest.raises(ValueError, match="this task needs masks"):
        find_layout(tmp_path, "masks")


def instances_of(root, split):
    """The first label, as tasks of objects have it."""
    source = open_source("folder", split, root=root, label_kind="instances")
    assert source.classes == ("object",)
    check_source(source)
    return source[0]["label"]


def test_classes_of_published_sets(tmp_path):
    make_voc(tmp_path / "voc")
    voc = open_source("folder", "train", root=tmp_path / "voc")
    assert voc.classes[15] == "person" and colour(15) == (192, 128, 128) and colour(255) == (224, 224, 192)
    np.testing.assert_array_equal(voc.objects(0)[0, :3], [1, -1, 2])
    np.testing.assert_array_equal(instances_of(tmp_path / "voc", "train"), voc.objects(0))
    make_ade(tmp_path / "ade")
    with pytest.raises(ValueError, match="with classes as labels; this task needs instances"):
        instances_of(tmp_path / "ade", "train")
    assert open_source("folder", "val", root=tmp_path / "ade").classes[149] == "thing 150"
    mapped = {i: name for i, name, _ in label_ids()}
    assert len(mapped) == 34 and [mapped[i] for i in (7, 33, 29)] == ["road", "bicycle", "void"]
    assert [name for _, name, _ in train_ids()] == [name for _, name, _ in label_ids() if name != "void"]


def test_a_table_in_the_folder_replaces_the_classes_of_a_layout(tmp_path):
    make_voc(tmp_path)
    (tmp_path / "classes.csv").write_text("id,name\n0,ground\n20,screen\n1,void\n")
    assert open_source("folder", "train", root=tmp_path).classes == ("ground", "screen")


def test_colours_that_no_class_has_are_ignored_counted_and_named(tmp_path):
    make_camvid(tmp_path)
    source = open_source("folder", "all", root=tmp_path)
    assert source.classes == ("Wall", "Sky")
    with pytest.warns(UserWarning, match=r"colour \(1, 2, 3\) of 1 pixels is in no row of .*label_colors\.txt") as told:
        labels = [sample["label"] for sample in source]
    assert len(told) == 1 and source.strange_colours == {(1, 2, 3): 6}
    assert all(one[1, 0] == 255 for one in labels)


@pytest.mark.parametrize(("file", "text"), [("label_colors.txt", "9 9 9 Wall\n5 5 5 Sky"), ("class_dict.csv", "Wall,9,9,9")])
def test_a_table_of_colours_names_no_ids(tmp_path, file, text):
    photo(tmp_path / "images" / "a.png")
    save(tmp_path / "labels" / "a.png", label(1, 2))
    (tmp_path / file).write_text(text)
    source = open_source("folder", "all", root=tmp_path)
    assert source.classes == ("class_0", "class_1", "class_2")
    np.testing.assert_array_equal(source[0]["label"][0, :3], [1, 2, 0])
    assert any(f"{file} names colours only; name the ids in classes.csv" in remark for remark in source.remarks)


def test_jpeg_files_are_no_labels(tmp_path):
    photo(tmp_path / "a.jpg")
    save(tmp_path / "a_mask.jpg", label(255, 255))
    with pytest.raises(ValueError, match=r"a_mask\.jpg looks like the label of a\.jpg, .*; save labels as PNG"):
        find_layout(tmp_path)
    save(tmp_path / "a_L.png", label(255, 255))
    (tmp_path / "a_mask.jpg").rename(tmp_path / "b.jpg")
    assert find_layout(tmp_path).labels == {"a": tmp_path / "a_L.png"}
    save(tmp_path / "masks" / "b.webp", label(255))
    with pytest.raises(ValueError, match=r"b\.webp looks like the label of b\.jpg, .*; save labels as PNG"):
        find_layout(tmp_path)


@pytest.mark.parametrize(
    ("image", "stored", "key"),
    [
        ("a.png", "labels/a_label.png", "a"),
        ("a.png", "train_labels/a_L.png", "a"),
        ("a.png", "instances/a.png", "a"),
        ("images/a.png", "train_labels/a.png", "a"),
        ("train_images/a.png", "train_masks/a_mask.png", "train/a"),
    ],
)
def test_labels_in_a_folder_of_their_own(tmp_path, image, stored, key):
    photo(tmp_path / image)
    save(tmp_path / stored, label(1))
    found = find_layout(tmp_path)
    assert (found.images, found.labels) == ({key: tmp_path / image}, {key: tmp_path / stored})


def test_objects_of_coco(tmp_path):
    make_coco(tmp_path)
    source = open_source("folder", "val", root=tmp_path)
    expected = np.zeros(SIZE, int)
    expected[:2, 1:3], expected[0, 0] = 2, 1  # the smaller one is on top, and comes last
    np.testing.assert_array_equal(source[0]["label"], expected)
    np.testing.assert_array_equal(source.objects(0), np.array([0, 2, 1])[expected])
    np.testing.assert_array_equal(instances_of(tmp_path, "val"), source.objects(0))
    table = tmp_path / "annotations" / "instances_val2017.json"
    table.write_text(table.read_text().replace('"dog"', '"cat"'))
    with pytest.raises(ValueError, match="other categories"):
        open_source("folder", "val", root=tmp_path)
    table.write_text("{")
    with pytest.raises(ValueError, match=r"instances_val2017\.json: not JSON"):
        open_source("folder", "val", root=tmp_path)


def test_objects_of_the_data_science_bowl(tmp_path):
    make_dsb(tmp_path)
    np.testing.assert_array_equal(instances_of(tmp_path / "stage1_train", "val"), label(1, 1, 2))
    (tmp_path / "stage1_train/00a0/images/00a0.png").rename(tmp_path / "stage1_train/00a0/images/x.png")
    with pytest.raises(ValueError, match=r"00a0 has no image images/00a0\.png, as folders of the 2018 Data Science Bowl have"):
        find_layout(tmp_path)
    (tmp_path / "train" / "masks").mkdir(parents=True)
    photo(tmp_path / "train" / "images" / "a.png")
    assert dsb2018.find(tmp_path) is None


def test_other_tables_beside_those_of_coco_are_no_splits(tmp_path):
    make_coco(tmp_path)
    table = (tmp_path / "annotations" / "instances_val2017.json").read_text()
    (tmp_path / "annotations" / "stuff_val2017.json").write_text(table.replace('"dog"', '"sky"'))
    assert known_splits(find_layout(tmp_path)) == ["train", "val"]


@pytest.mark.parametrize("name", ["1.jpg", "/elsewhere/1.jpg", "../1.jpg"])
def test_a_table_of_images_that_lie_elsewhere_is_no_layout_of_a_folder_that_has_one(tmp_path, name):
    make_coco(tmp_path / "coco")
    table = (tmp_path / "coco" / "annotations" / "instances_val2017.json").read_text()
    photo(tmp_path / "images" / "a.png")
    (tmp_path / "annotations.json").write_text(table.replace("1.jpg", name))
    with pytest.raises((FileNotFoundError, ValueError), match=r"annotations\.json names"):
        find_layout(tmp_path)
    save(tmp_path / "labels" / "a.png", label(1))
    assert find_layout(tmp_path).labels == {"a": tmp_path / "labels" / "a.png"}
    photo(tmp_path / "1.jpg")
    if name == "1.jpg":
        with pytest.raises(ValueError, match=r"looks like COCO .* and like images/ and labels/"):
            find_layout(tmp_path)


def test_polygons_are_filled_where_centres_lie_inside():
    """Against the crossing number of each pixel's centre, for outlines that cross themselves and leave the image."""
    corners = np.random.default_rng(3).uniform(-2, 11, (7, 2))
    inside = np.zeros((8, 9), bool)
    for row, column in np.ndindex(8, 9):
        x, y = column + 0.5, row + 0.5
        for (x0, y0), (x1, y1) in zip(corners, np.roll(corners, -1, 0)):
            inside[row, column] ^= (y0 > y) != (y1 > y) and x > x0 + (y - y0) * (x1 - x0) / (y1 - y0)
    assert 5 < inside.sum() < 67
    np.testing.assert_array_equal(filled([corners], (8, 9)), inside)
    np.testing.assert_array_equal(filled([corners, np.array([[0.0, 0], [9, 0], [9, 8], [0, 8]])], (8, 9)), np.ones((8, 9)))


def test_run_lengths_go_down_the_columns():
    np.testing.assert_array_equal(run_lengths([1, 2, 3], (2, 3)), [[0, 1, 0], [1, 0, 0]])
    with pytest.raises(ValueError, match="of 5 pixels for an image of 2x3"):
        run_lengths([5], (2, 3))


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda r: (make_voc(r), make_cityscapes(r)), r"looks like PASCAL VOC .* and like Cityscapes"),
        (
            lambda r: (make_voc(r), (r / "images").mkdir(), (r / "labels").mkdir()),
            r"PASCAL VOC .* and like images/ and labels/",
        ),
        (lambda r: (make_voc(r), make_voc_of_2007(r)), r"holds VOC2007 and VOC2012; name the folder of one"),
        (lambda r: (make_nnunet(r), photo(r / "imagesTr" / "case_0_0001.png")), r"case_0 has several files, one a channel"),
        (lambda r: (make_nnunet(r), (r / "dataset.json").write_text('{"labels": {"a": [1, 2]}}')), r"'a' is \[1, 2\]"),
        (lambda r: (r / "pictures").mkdir(), r"no images lie in .*images/train/NAME\.jpg with .*Cityscapes"),
    ],
)
def test_two_layouts_or_none_are_told(tmp_path, spoil, message):
    spoil(tmp_path)
    with pytest.raises((ValueError, FileNotFoundError), match=message):
        find_layout(tmp_path)


def make_voc_of_2007(root):
    for name in ("JPEGImages", "SegmentationClass"):
        (root / "VOCdevkit" / "VOC2007" / name).mkdir(parents=True)


def test_hashes_divide_what_has_no_split(tmp_path):
    keys = [f"cell {i}" for i in range(200)]
    train, val = hashed(keys, "train"), hashed(keys, "val")
    assert sorted([*train, *val]) == sorted(keys) and 25 < len(val) < 55
    assert set(hashed(keys[:100], "val")) == {key for key in val if key in keys[:100]}, "what is added moves nothing"
    assert all(hashed(keys[:2], split) for split in ("train", "val")) and hashed(keys, "test") == []
    for i in range(3):
        photo(tmp_path / "images" / f"{i}.png", i)
        save(tmp_path / "labels" / f"{i}.png", label(255))
    source, val = (open_source("folder", split, root=tmp_path) for split in ("train", "val"))
    assert sorted([*source.names, *val.names]) == ["0", "1", "2"]
    assert "by the hashes" in source.remarks[1] and "0 and 255 are background and foreground" in source.remarks[2]
    assert not any("by the hashes" in said for said in open_source("folder", "all[:2]", root=tmp_path).remarks), "nothing is"
    assert source.classes == ("background", "foreground") and source[0]["label"][0, 0] == 1


def test_lists_name_paths_and_labels_beside_them(tmp_path):
    for i in range(3):
        photo(tmp_path / "images" / f"{i}.png", i)
        save(tmp_path / "masks" / f"{i}_mask.png", label(i))
    (tmp_path / "splits").mkdir()
    (tmp_path / "splits" / "train.txt").write_text("images/0.png masks/0_mask.png\n2.png\n")
    (tmp_path / "splits" / "valid.txt").write_text("1\n")
    (tmp_path / "README.txt").write_text("three images\n")
    source = open_source("folder", "train", root=tmp_path)
    assert [sample["label"][0, 0] for sample in source] == [0, 2] and known_splits(source.layout) == ["train", "val"]
    assert open_source("folder", "val", root=tmp_path).names == ["1"]


def test_maps_of_objects_alone_are_the_foreground(tmp_path):
    photo(tmp_path / "images" / "train" / "a.png")
    save(tmp_path / "instances" / "train" / "a.png", label(3, 0, 79))
    source = open_source("folder", "train", root=tmp_path)
    np.testing.assert_array_equal(source[0]["label"][0, :3], [1, 0, 1])
    np.testing.assert_array_equal(source.objects(0)[0, :3], [3, 0, 79])
    assert source.classes == ("background", "object") and "all of one class" in source.remarks[0]


def test_objects_of_published_sets_with_their_classes(tmp_path):
    make_voc(tmp_path / "voc")
    make_coco(tmp_path / "coco")
    voc = open_source("folder", "val", root=tmp_path / "voc", label_kind="panoptic")
    coco = open_source("folder", "val", root=tmp_path / "coco", label_kind="panoptic")
    assert len(voc.classes) == 20 and coco.classes == ("car", "dog")
    np.testing.assert_array_equal(voc[0]["label"][0, :3], [19 * STEP + 1, -1, 2])  # labels 20, 255 and 1
    expected = np.zeros(SIZE, int)
    expected[:2, 1:3], expected[0, 0] = STEP + 1, 2  # the larger object comes first
    np.testing.assert_array_equal(coco[0]["label"], expected)
    check_source(coco)
