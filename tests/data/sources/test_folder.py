"""The folder format: splits, classes, real data sets as they lie, and errors that name the file."""

import os
import shutil

import numpy as np
import pytest
from PIL import Image

from fcn.data import check_source, open_source

COLOURS = np.array([[0, 0, 0], [200, 10, 10]], np.uint8)


def save(path, values):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(values).save(path)


def replaced(path):
    """The path of a file that is removed."""
    path.unlink()
    return path


def make(root, names, *, labels=True, size=(6, 8), prefix=""):
    rng = np.random.default_rng(0)
    for i, name in enumerate(names):
        save(root / "images" / f"{prefix}{name}.png", rng.integers(0, 256, (*size, 3)).astype(np.uint8))
        if labels:
            label = rng.integers(0, 3, size).astype(np.uint8)
            label[0, :3] = 0, 1, 2
            label[0, 3] = i
            save(root / "labels" / f"{prefix}{name}.png", label)
    return root


def test_splits_from_lists_folders_and_slices(tmp_path):
    make(tmp_path / "lists", "abcde")
    (tmp_path / "lists" / "train.txt").write_text("c\na\n\n")
    train = open_source("folder", "train", root=tmp_path / "lists")
    assert [s["name"] for s in train] == ["c", "a"] and train.name == "lists"
    assert [s["label"][0, 3] for s in train] == [2, 0]
    make(tmp_path / "folders", ["x", "deep/y"], prefix="val/")
    assert [s["name"] for s in open_source("folder", "val", root=tmp_path / "folders")] == ["deep/y", "x"]
    (tmp_path / "folders" / "val.txt").write_text("x\n")
    assert [s["name"] for s in open_source("folder", "val", root=tmp_path / "folders")] == ["x"]


@pytest.mark.parametrize(
    ("split", "names"),
    [("all", "abcde"), ("all[:2]", "ab"), ("all[2:]", "cde"), ("all[-2:]", "de"), ("all[1:-1]", "bcd"), ("all[40%:80%]", "cd")],
)
def test_slices_are_those_of_tensorflow_datasets(tmp_path, split, names):
    source = open_source("folder", split, root=make(tmp_path, "abcde"))
    assert "".join(s["name"] for s in source) == names
    assert source[-1]["name"] == names[-1]
    with pytest.raises(IndexError):
        source[len(names)]
    check_source(source)


def test_classes_come_in_the_order_of_the_table_whatever_their_ids(tmp_path):
    make(tmp_path, "a")
    label = np.array([[7, 3, 255], [11, 3, 7]], np.uint8)
    save(tmp_path / "labels" / "a.png", label)
    (tmp_path / "classes.csv").write_text("id,name,r,g,b\n7,sky,1,2,3\n11,Void,0,0,0\n3,road,4,5,6\n")
    source = open_source("folder", "all", root=tmp_path)
    assert source.classes == ("sky", "road") and source.ignore_index == 255
    np.testing.assert_array_equal(source.palette, [[1, 2, 3], [4, 5, 6]])
    np.testing.assert_array_equal(source[0]["label"], [[0, 1, 255], [255, 1, 0]])
    assert source[0]["label"].dtype == np.int32


def test_classes_without_a_table_are_counted_over_all_splits(tmp_path):
    make(tmp_path, "ab")
    (tmp_path / "train.txt").write_text("a\n")
    save(tmp_path / "labels" / "b.png", np.full((6, 8), 4, np.uint8))
    source = open_source("folder", "train", root=tmp_path)
    assert source.classes == ("class_0", "class_1", "class_2", "class_3", "class_4")
    assert source.palette.shape == (5, 3) and source.palette.dtype == np.uint8
    assert len(np.unique(source.palette, axis=0)) == 5


def test_a_table_may_name_the_value_255(tmp_path):
    make(tmp_path, "a")
    save(tmp_path / "labels" / "a.png", np.tile(np.array([0, 255], np.uint8), (6, 4)))
    source = open_source("folder", "all", root=tmp_path)
    assert source.classes == ("background", "foreground") and "0 and 255 are background" in source.remarks[-1]
    np.testing.assert_array_equal(source[0]["label"], np.tile([0, 1], (6, 4)))
    (tmp_path / "classes.csv").write_text("id,name\n0,ground\n255,cell\n")
    source = open_source("folder", "all", root=tmp_path)
    check_source(source)
    np.testing.assert_array_equal(source[0]["label"], np.tile([0, 1], (6, 4)))


def test_camvid_as_it_lies(shared_data):
    root = shared_data / "camvid"
    train, val = (open_source("folder", split, root=root) for split in ("train", "val"))
    assert (len(train), len(val)) == (367, 101)
    assert train.classes[:3] == ("sky", "building", "column_pole") and len(train.classes) == 11
    np.testing.assert_array_equal(train.palette[8], [64, 0, 128])
    sample = train[0]
    assert sample["name"] == "0001TP_006690" and sample["image"].shape == (360, 480, 3)
    stored = np.asarray(Image.open(root / "labels" / "train" / "0001TP_006690.png")).astype(int)
    np.testing.assert_array_equal(sample["label"], np.where(stored == 11, 255, stored))
    check_source(train, samples=20)
    with pytest.raises(FileNotFoundError, match=r"has no label .*labels/test/"):
        open_source("folder", "test", root=root)


def test_isbi_as_it_lies_is_gray(shared_data):
    source = open_source("folder", "all[:20]", root=shared_data / "isbi2012")
    assert len(source) == 20 and source.classes == ("class_0", "class_1")
    assert source[3]["image"].shape == (512, 512, 1) and source[3]["name"] == "03"
    assert open_source("folder", "all[:20]", root=shared_data / "isbi2012", channels=3)[3]["image"].shape == (512, 512, 3)
    check_source(source, samples=4)


def test_voc_palette_labels(shared_data, tmp_path):
    names = ["2007_000063", "2011_000003", "2011_000006", "2011_000025"]
    for name in names:
        for folder, end, suffix in (("images", "", "jpg"), ("labels", "_class", "png")):
            (tmp_path / folder).mkdir(exist_ok=True)
            shutil.copy(shared_data / "voc_samples" / f"{name}{end}.{suffix}", tmp_path / folder / f"{name}.{suffix}")
    rows = "".join(f"{i},class {i}\n" for i in range(21))
    (tmp_path / "classes.csv").write_text("id,name\n" + rows)
    source = open_source("folder", "all", root=tmp_path)
    assert len(source.classes) == 21
    found = [np.unique(s["label"]).tolist() for s in source]
    assert found == [[0, 9, 12, 255], [0, 5, 15, 255], [0, 9, 15, 18, 255], [0, 6, 7]]
    check_source(source, size=(300, 400))
    with pytest.raises(ValueError, match=r"2011_000003\.jpg.*338x500.*2007_000063\.jpg.*375x500.*set a size"):
        check_source(source)


@pytest.mark.parametrize(
    ("spoil", "error", "message"),
    [
        (lambda r: (r / "labels" / "b.png").unlink(), FileNotFoundError, r"images/b\.png has no label .*labels/b\.png"),
        (lambda r: (r / "images" / "b.png").write_text("?"), ValueError, r"images/b\.png: not an image"),
        (lambda r: (r / "labels" / "b.png").write_text("?"), ValueError, r"labels/b\.png: not an image"),
        (lambda r: save(r / "labels" / "b.png", np.zeros((6, 9), np.uint8)), ValueError, r"b\.png.*6x8.*6x9"),
        (lambda r: save(r / "labels" / "b.png", np.full((6, 8), 9, np.uint8)), ValueError, r"labels/b\.png: label value 9"),
        (
            lambda r: save(r / "labels" / "b.png", np.full((6, 8, 3), (9, 0, 0), np.uint8)),
            ValueError,
            r"b\.png.*RGB, in \(9, 0, 0\);",
        ),
        (lambda r: save(r / "images" / "b.png", np.zeros((6, 8), np.uint8)), None, ""),  # gray among colour: converted
        (lambda r: (r / "train.txt").write_text("a\nz\n"), FileNotFoundError, r"train\.txt names 'z'"),
        (lambda r: (r / "train.txt").write_bytes(b"\xff\xfe"), ValueError, r"train\.txt: not a list of names in UTF-8"),
        (lambda r: (replaced(r / "train.txt")).symlink_to("gone"), FileNotFoundError, r"train\.txt is a link to nothing"),
        (lambda r: os.mkfifo(replaced(r / "train.txt")), ValueError, r"train\.txt: a FIFO, not a regular file"),
        (lambda r: (replaced(r / "classes.csv")).symlink_to("gone"), FileNotFoundError, r"classes\.csv is a link to nothing"),
        (lambda r: os.mkfifo(replaced(r / "classes.csv")), ValueError, r"classes\.csv: a FIFO, not a regular file"),
        (lambda r: shutil.rmtree(r / "labels"), FileNotFoundError, r"no folder .*labels"),
        (lambda r: save(r / "images" / "b.bmp", np.zeros((6, 8, 3), np.uint8)), ValueError, r"b\.png and b\.bmp"),
        (lambda r: (r / "classes.csv").write_text("id,name\nx,y\n"), ValueError, r"classes\.csv, line 2: 'x,y'"),
        (lambda r: (r / "classes.csv").write_text("id,name\n1,y\n1,z\n"), ValueError, r"classes\.csv: ids must be different"),
        (lambda r: (r / "classes.csv").write_text("id,name\n-1,y\n"), ValueError, r"line 2: id -1; ids run from 0"),
        (lambda r: (r / "classes.csv").write_text("id,name\n999999999999,y\n"), ValueError, r"line 2: id 9+; ids run"),
        (lambda r: (r / "classes.csv").write_text("id,name,r,g,b\n1,y,300,0,0\n"), ValueError, r"colour \(300, 0, 0\)"),
        (lambda r: (r / "classes.csv").write_text("id,name,r,g,b\n1,y,30\n"), ValueError, r"line 2: '1,y,30' is not"),
        (lambda r: (r / "classes.csv").write_text("id,name\n1,\x1b[31m\n"), ValueError, r"cannot be shown"),
        (lambda r: (r / "classes.csv").write_text("id,name\n1,void\n"), ValueError, r"classes\.csv: 0 classes"),
    ],
)
def test_errors_name_the_file(tmp_path, spoil, error, message):
    root = make(tmp_path, "abc")
    (root / "train.txt").write_text("a\nb\nc\n")
    (root / "classes.csv").write_text("id,name\n0,a\n1,b\n2,c\n")
    check_source(open_source("folder", "train", root=root))
    spoil(root)
    if error is None:
        check_source(open_source("folder", "train", root=root))
    else:
        with pytest.raises(error, match=message):
            check_source(open_source("folder", "train", root=root))


def test_names_of_classes(tmp_path):
    """A table written by a spreadsheet begins with a byte-order mark; two classes of one name are a mistake."""
    make(tmp_path, "ab")
    (tmp_path / "classes.csv").write_text("\ufeffid,name\n0,ground\n1,tree\n2,sky\n", encoding="utf-8")
    assert tuple(open_source("folder", "all", root=tmp_path).classes) == ("ground", "tree", "sky")
    (tmp_path / "classes.csv").write_text("id,name\n0,ground\n1,tree\n2,tree\n")
    with pytest.raises(ValueError, match=r"classes\.csv: two classes are called 'tree'"):
        open_source("folder", "all", root=tmp_path)


def test_a_split_without_a_labelled_pixel_is_refused(tmp_path):
    make(tmp_path, "ab", labels=False)
    for name in "ab":
        save(tmp_path / "labels" / f"{name}.png", np.full((6, 8), 255, np.uint8))
    with pytest.raises(ValueError, match="every pixel of all 2 labels of this split is ignored"):
        check_source(open_source("folder", "all", root=tmp_path))


def test_missing_folders_splits_and_names_suggest_the_nearest(tmp_path):
    make(tmp_path / "camvid", "ab", prefix="train/")
    with pytest.raises(FileNotFoundError, match=r"no folder .*camvd; did you mean .*camvid\?"):
        open_source("folder", "train", root=tmp_path / "camvd")
    with pytest.raises(FileNotFoundError, match=r"no split 'trian'.*it has all, train"):
        open_source("folder", "trian", root=tmp_path / "camvid")
    with pytest.raises(ValueError, match="unknown data set 'folders'; did you mean 'folder'"):
        open_source("folders", "train")
    with pytest.raises(ValueError, match="needs a root"):
        open_source("folder", "train")
    with pytest.raises(ValueError, match=r"'train\[2\]' is neither"):
        open_source("folder", "train[2]", root=tmp_path / "camvid")
    with pytest.raises(ValueError, match=r"'train\[2:\]' is empty"):
        open_source("folder", "train[2:]", root=tmp_path / "camvid")


def test_gray_by_luma_where_it_is_asked_for(tmp_path):
    source = open_source("folder", "all", root=make(tmp_path, "ab"), channels=1)
    check_source(source)
    colour = np.asarray(Image.open(tmp_path / "images" / "a.png")).astype(float)
    np.testing.assert_allclose(source[0]["image"][..., 0], colour @ [0.299, 0.587, 0.114], atol=1)


def test_linked_folders_are_followed_but_not_in_circles(tmp_path):
    store = make(tmp_path / "store", "ab")
    root = tmp_path / "data"
    for kind in ("images", "labels"):
        (root / kind).mkdir(parents=True)
        (root / kind / "train").symlink_to(store / kind)
        (store / kind / "again").symlink_to(root / kind)
    assert [s["name"] for s in open_source("folder", "train", root=root)] == ["a", "b"]


COLOUR_TABLE = "id,name,r,g,b\n4,sky,1,2,3\n0,road,4,5,6\n9,void,0,0,0\n"


def test_labels_in_colours_are_read_by_the_table(tmp_path):
    make(tmp_path, "a", size=(2, 3), labels=False)
    colours = np.array([[[1, 2, 3], [4, 5, 6], [0, 0, 0]], [[4, 5, 6], [4, 5, 6], [1, 2, 3]]], np.uint8)
    save(tmp_path / "labels" / "a.png", colours)
    (tmp_path / "classes.csv").write_text(COLOUR_TABLE)
    source = open_source("folder", "all", root=tmp_path)
    np.testing.assert_array_equal(source[0]["label"], [[0, 1, 255], [1, 1, 0]])
    check_source(source)
    save(tmp_path / "labels" / "a.png", colours + np.uint8(7) * (colours == 6))
    with pytest.raises(ValueError, match=r"labels/a\.png: colour \(4, 5, 13\) of 3 pixels is in no row of .*classes\.csv"):
        check_source(source)
    (tmp_path / "classes.csv").write_text(COLOUR_TABLE.replace("4,5,6", "1,2,3"))
    with pytest.raises(ValueError, match=r"labels/a\.png: colour \(1, 2, 3\) is in two rows of .*classes\.csv"):
        save(tmp_path / "labels" / "a.png", np.where(colours == [4, 5, 6], [1, 2, 3], colours).astype(np.uint8))
        check_source(open_source("folder", "all", root=tmp_path))


def test_a_table_that_is_no_text(tmp_path):
    make(tmp_path, "a")
    (tmp_path / "classes.csv").write_bytes(b"id,name\n0,\xff\xfe\n")
    with pytest.raises(ValueError, match=r"classes\.csv: not a table in UTF-8"):
        open_source("folder", "all", root=tmp_path)


def test_gray_images_become_colour_where_any_of_the_folder_is(tmp_path):
    """Whichever comes first, and in all splits; where all are gray they stay so."""
    root, gray = make(tmp_path, "abc", prefix="train/"), np.arange(48, dtype=np.uint8).reshape(6, 8)
    make(root, "d", prefix="val/")
    for name in ("train/a", "val/d"):
        save(root / "images" / f"{name}.png", gray)
    train, val = (open_source("folder", split, root=root) for split in ("train", "val"))
    assert [sample["image"].shape for sample in (*train, *val)] == [(6, 8, 3)] * 4
    np.testing.assert_array_equal(train[0]["image"], np.repeat(gray[..., None], 3, -1))
    assert "gray images are read as RGB" in train.remarks[1] and "gray images are read as RGB" in val.remarks[1]
    check_source(train)
    as_gray = open_source("folder", "val", root=root, channels=1)
    assert as_gray.channels == 1 and len(as_gray.remarks) == 1
    for name in "bc":
        save(root / "images" / "train" / f"{name}.png", gray)
    assert open_source("folder", "train", root=root).channels == 1


def test_labels_in_masks_or_beside_the_images(tmp_path):
    root = make(tmp_path / "masks", "ab", prefix="train/")
    expected = [s["label"] for s in open_source("folder", "train", root=root)]
    assert open_source("folder", "train", root=root).remarks == (f"{root}: images/ and labels/",)
    (root / "labels").rename(root / "masks")
    for parent in ("images/train", "train"):
        for name in "ab":
            beside = tmp_path / "beside" / parent
            beside.mkdir(parents=True, exist_ok=True)
            shutil.copy(root / "images" / "train" / f"{name}.png", beside / f"{name}.png")
            shutil.copy(root / "masks" / "train" / f"{name}.png", beside / f"{name}_mask.png")
    for folder, said in ((root, r"masks/"), (tmp_path / "beside", "NAME_mask"), (tmp_path / "beside" / "images", "NAME_mask")):
        source = open_source("folder", "train", root=folder)
        assert [s["name"] for s in source] == ["a", "b"] and said in source.remarks[0]
        np.testing.assert_array_equal([s["label"] for s in source], expected)
    (tmp_path / "beside" / "train" / "a_mask.png").unlink()
    shutil.rmtree(tmp_path / "beside" / "images")
    with pytest.raises(FileNotFoundError, match=r"train/a\.png has no label .*train/a_mask\.png"):
        open_source("folder", "train", root=tmp_path / "beside")


def test_images_without_labels_are_told_what_is_missing(tmp_path):
    make(tmp_path, "abc", labels=False)
    with pytest.raises(FileNotFoundError, match=r"3 images lie in .*images, without labels; .* NAME_mask\.png"):
        open_source("folder", "all", root=tmp_path)
