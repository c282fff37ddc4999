"""What is answered for each kind of task."""

import io
import json

import numpy as np
import pytest
from PIL import Image
from pycocotools import mask as coco

from experiments.serve.answers import make_answer, regions
from fcn import tasks, visualize
from fcn.instances.objects import measure
from tests.experiments.serve.conftest import decoded

RANDOM = np.random.default_rng(0)
IMAGE = RANDOM.integers(0, 256, (5, 7, 3), np.uint8)


def found(task, scores, **options):
    return json.loads(make_answer("json", task, IMAGE, scores, **options).body)


def pixels(kind, task, scores):
    return np.array(Image.open(io.BytesIO(make_answer(kind, task, IMAGE, scores).body)))


@pytest.mark.parametrize("ids", [RANDOM.integers(0, 3, (5, 7)), np.zeros((3, 2), int), np.eye(4, dtype=int) * 70000])
def test_run_lengths(ids):
    described = dict(regions(ids))
    assert sorted(described) == np.unique(ids).tolist()
    for number, one in described.items():
        np.testing.assert_array_equal(decoded(one["rle"]), ids == number)
        encoding = coco.frPyObjects(one["rle"], *ids.shape)  # COCO's own code reads it as we do
        rows, columns = np.nonzero(ids == number)
        box = columns.min(), rows.min(), np.ptp(columns) + 1, np.ptp(rows) + 1
        assert tuple(coco.toBbox(encoding)) == box and coco.area(encoding) == one["pixels"]
        assert all(one["rle"]["counts"][1:]) and one["pixels"] == (ids == number).sum() == one["share"] * ids.size


def test_two_classes():
    task, scores = tasks.make("binary", ["back", "cell"], threshold=0.3), RANDOM.random((5, 7)).astype(np.float32)
    np.testing.assert_array_equal(pixels("mask", task, scores), scores >= 0.3)
    assert [one["name"] for one in found(task, scores)["classes"]] == ["back", "cell"]


def test_ids_are_those_of_the_training():
    """Of masks and of JSON, in the colours of the classes."""
    task, scores = tasks.make("semantic", ["back", "cell"], palette=[(1, 2, 3), (4, 5, 6)]), np.eye(5, 7, dtype=np.int32)
    mask = Image.open(io.BytesIO(make_answer("mask", task, IMAGE, scores, ids=(7, 255)).body))
    np.testing.assert_array_equal(np.asarray(mask), np.where(scores, 255, 7))
    assert mask.getpalette()[21:24] == [1, 2, 3] and mask.getpalette()[765:] == [4, 5, 6]
    classes = found(task, scores, ids=(7, 255))["classes"]
    assert [(one["id"], one["name"]) for one in classes] == [(7, "back"), (255, "cell")]
    several = found(tasks.make("multilabel", ["a", "b"]), np.ones((5, 7, 2)), ids=(7, 255))
    assert [one["id"] for one in several["classes"]] == [0, 1]  # each has a mask of its own


def test_masks_that_overlap():
    """A class that is nowhere is not there; the masks of others are their own."""
    task, scores = tasks.make("multilabel", ["a", "b", "c"]), RANDOM.random((5, 7, 3)).astype(np.float32)
    scores[..., 1] = 0
    first, last = found(task, scores)["classes"]
    assert (first["id"], last["name"]) == (0, "c")
    np.testing.assert_array_equal(decoded(last["rle"]), scores[..., 2] >= 0.5)
    expected = visualize.overlay_masks(IMAGE, (scores >= 0.5).astype(int), task.colours)
    np.testing.assert_array_equal(pixels("overlay", task, scores), expected)
    with pytest.raises(ValueError, match="a mask for each class, not one class a pixel; ask for answer=json"):
        make_answer("mask", task, IMAGE, scores)


def test_objects(monkeypatch):
    """Numbers and classes are those of the task's objects, also where numbers of its predictions tell the class."""
    task, objects = tasks.make("panoptic", ["cell", "debris"]), np.zeros((5, 7), np.int32)
    objects[:2, :2], objects[3:, 3:] = 1, 300

    def found_in(_, instances):
        count = len(np.setdiff1d(instances, 0))
        return instances, measure(instances, np.full(count, 0.25), "cell")._replace(classes=["cell", "debris"][:count])

    monkeypatch.setattr(type(task), "objects", found_in)
    np.testing.assert_array_equal(pixels("mask", task, objects), objects)
    one, other = found(task, objects)["objects"]
    assert (one["name"], one["pixels"], one["score"]) == ("cell 1", 4, 0.25)
    assert (other["id"], other["name"], other["class"]) == (300, "debris 300", "debris")
    np.testing.assert_array_equal(decoded(other["rle"]), objects == 300)
    with pytest.raises(ValueError, match="70000 objects were found"):
        make_answer("mask", task, IMAGE, np.full((5, 7), 70000))


def test_values():
    task, scores = tasks.make("regression", ["depth", "height"]), RANDOM.random((5, 7, 2)).astype(np.float32)
    scores[0, 0, 0], scores[..., 1] = np.nan, np.nan
    depth, height = found(task, scores)["values"]
    assert depth["name"] == "depth" and depth["mean"] == pytest.approx(np.nanmean(scores[..., 0]))
    assert height == {"name": "height", "min": None, "max": None, "mean": None}
    assert pixels("overlay", task, scores).shape == (5, 14, 3)
    with pytest.raises(ValueError, match="values in place of classes"):
        make_answer("mask", task, IMAGE, scores)
