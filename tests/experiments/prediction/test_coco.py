"""Predicted objects of all images as one file of COCO's form, which is read as a data set."""

import json

import numpy as np
import pytest
from PIL import Image

from experiments import predict
from experiments.prediction.coco import NAME, write_coco
from fcn import tasks
from fcn.data import open_source
from fcn.inference.files import Files
from fcn.visualize.files import save_pictures


def test_predicted_objects_are_a_data_set(tmp_path):
    """Of two images, one without objects; the third was not predicted."""
    task, scores, plans = tasks.make("boundary", ["cell"]), np.zeros((2, 6, 8, 3), np.float32), []
    scores[..., 0], scores[0, 2:4, 2:5, 1], scores[0, 4:, 6:, 1] = 0.5, 1, 0.75
    for name, one in zip(("a", "b", "c"), (*scores, None)):
        image = tmp_path / "deep" / f"{name}.png"
        image.parent.mkdir(exist_ok=True)
        Image.new("L", (8, 6)).save(image)
        plans.append(Files.named(image, tmp_path / name, task.suffixes))
        if one is not None:
            found = task.files(np.zeros((6, 8, 3), np.uint8), one)
            save_pictures({path: found[ending] for ending, path in plans[-1].paths.items()})
    write_coco(tmp_path / "deep" / NAME, plans, task.classes)
    table = json.loads((tmp_path / "deep" / NAME).read_text())
    assert [entry["file_name"] for entry in table["images"]] == ["a.png", "b.png"]
    assert [entry["score"] for entry in table["annotations"]] == [0.5, 0.5]
    source = open_source("folder", "all", root=tmp_path / "deep", label_kind="instances")
    for index, one in enumerate(scores):
        np.testing.assert_array_equal(source[index]["label"] > 0, task.prediction(one) > 0)
    assert len(np.unique(source[0]["label"])) == 3
    plans[0].paths["objects.csv"].write_text("id,class,score\n1,cell,0.5\n")
    with pytest.raises(ValueError, match=r"has other objects than .*; predict the image anew, with --overwrite"):
        write_coco(tmp_path / "deep" / NAME, plans, task.classes)


def test_pages_have_names_of_their_own(tmp_path):
    """Those that their files have: tools tell images by them."""
    task = tasks.make("boundary", ["cell"])
    plans = [Files.named(tmp_path / "deep/stack.tif", tmp_path / "stack", task.suffixes, page) for page in (0, 1)]
    found = task.files(np.zeros((6, 8, 3), np.uint8), np.zeros((6, 8, 3), np.float32))
    for files in plans:
        save_pictures({path: found[ending] for ending, path in files.paths.items()})
    write_coco(tmp_path / NAME, plans, task.classes)
    table = json.loads((tmp_path / NAME).read_text())
    assert [entry["file_name"] for entry in table["images"]] == ["stack_p0001.tif", "stack_p0002.tif"]


def test_it_is_for_objects_and_replaces_nothing(tmp_path, monkeypatch):
    Image.new("L", (8, 6)).save(tmp_path / "a.png")
    args = [str(tmp_path / "run"), str(tmp_path / "a.png"), "--out", str(tmp_path / "out"), "--objects", "coco"]
    monkeypatch.setattr("experiments.building.networks.stored_task", lambda path: tasks.make("semantic", ["x", "y"]))
    for more in ([], ["--format", "tif"]):
        with pytest.raises(ValueError, match="--objects coco is for tasks that find objects, not for 'semantic'"):
            predict.main([*args, *more])
    monkeypatch.setattr("experiments.building.networks.stored_task", lambda path: tasks.make("flows", ["x"]))
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / NAME).touch()
    with pytest.raises(FileExistsError, match="exists already; give another --out, or --skip-existing, or --overwrite"):
        predict.main(args)
    monkeypatch.setattr(predict, "write_pictures", lambda options, plans: [])
    predict.main([*args, "--overwrite"])
    assert json.loads((tmp_path / "out" / NAME).read_text()) == {
        "images": [],
        "annotations": [],
        "categories": [{"id": 1, "name": "x"}],
    }
