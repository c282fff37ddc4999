"""Prepared data sets whose files are damaged, or name what lies elsewhere: one sentence with the file, nothing imported."""

import json
import os
import shutil
import sys

import numpy as np
import pytest

from fcn.data import open_source
from fcn.data.sources import shapes


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """A small copy of the set, prepared once."""
    root, sizes = tmp_path_factory.mktemp("whole"), dict(shapes.SPLITS)
    shapes.SPLITS.update(train=3, val=2)
    shapes.prepare(root)
    shapes.SPLITS.update(sizes)
    return root


@pytest.fixture
def copy(whole, tmp_path):
    """The folder of the version in a copy of its own."""
    shutil.copytree(whole, tmp_path / "data")
    return tmp_path / "data" / "shapes" / str(shapes.Shapes.VERSION)


def read_all(folder):
    return [sample["name"] for split in ("train", "val") for sample in open_source("shapes", split, root=folder.parents[1])]


def change(path, edit):
    values = json.loads(path.read_text())
    edit(values)
    path.write_text(json.dumps(values))


FILES = ["dataset_info.json", "features.json", "shapes-train.array_record-00000-of-00001"]


@pytest.mark.parametrize("name", FILES)
@pytest.mark.parametrize("damage", ["cut", "empty", "flipped", "zeros", "missing", "folder"])
def test_damage_is_told_with_file_and_cure(copy, name, damage):
    path = copy / name
    data = bytearray(path.read_bytes())
    if damage in ("missing", "folder"):
        path.unlink()
        if damage == "folder":
            path.mkdir()
    else:
        for place in np.random.default_rng(1).integers(0, len(data), 30):
            data[place] ^= 0x15
        path.write_bytes({"cut": data[: len(data) // 2], "empty": b"", "zeros": bytes(len(data)), "flipped": data}[damage])
    if name == "dataset_info.json" and damage in ("missing", "folder"):
        with pytest.raises(ValueError, match=r"remove|prepare"):
            shapes.TfdsSource(copy, "train")
        return
    with pytest.raises(ValueError, match=rf"{copy}.*; remove the folder {copy} and prepare"):
        read_all(copy)


@pytest.mark.parametrize("value", [[], 3, "x", None])
def test_json_of_another_kind(copy, value):
    (copy / "features.json").write_text(json.dumps(value))
    with pytest.raises(ValueError, match=r"features\.json: a \w+, not an object"):
        read_all(copy)


def test_no_module_is_imported_for_a_feature(copy, monkeypatch):
    (copy / "evil_features.py").write_text("raise SystemExit('imported')")
    monkeypatch.chdir(copy)
    monkeypatch.syspath_prepend(str(copy))
    change(copy / "features.json", lambda v: v.update(pythonClassName="evil_features.Image"))
    with pytest.raises(ValueError, match=r"features\.json: the feature class 'evil_features\.Image' is not one of"):
        read_all(copy)
    assert "evil_features" not in sys.modules


@pytest.mark.parametrize(
    "edit",
    [
        lambda v: v["splits"][0].update(filepathTemplate="../outside/{DATASET}-{SPLIT}.{FILEFORMAT}-{SHARD_X_OF_Y}"),
        lambda v: v["splits"][0].update(filepathTemplate="/etc/{SPLIT}"),
        lambda v: v["splits"][0].update(name="../train"),
        lambda v: v.update(name="../../shapes"),
    ],
)
def test_no_file_outside_is_named(copy, edit):
    change(copy / "dataset_info.json", edit)
    with pytest.raises(ValueError, match=r"dataset_info\.json: \w+ '.*' is no plain name"):
        read_all(copy)


def test_a_split_without_files(copy):
    change(copy / "dataset_info.json", lambda v: v["splits"][0].pop("shardLengths"))
    with pytest.raises(ValueError, match=r"dataset_info\.json: .*; remove"):
        read_all(copy)


def test_a_fifo_is_not_waited_for(copy):
    shard = copy / FILES[2]
    shard.unlink()
    os.mkfifo(shard)
    with pytest.raises(ValueError, match="a FIFO"):
        read_all(copy)


def test_an_undamaged_copy_is_read(copy):
    assert len(read_all(copy)) == 5
