"""Objects of several classes: maps that tell both, and the task that finds objects by another and gives each a class."""

import jax
import numpy as np
import optax
import pytest
from PIL import Image

from fcn import tasks
from fcn.data import open_source
from fcn.data.panoptic import STEP, by_class, classified, numbered
from fcn.instances import boundary_classes, instance_flows

CLASSES = ("cell", "dust", "fibre")
TASK = tasks.make("panoptic", CLASSES, palette=((1, 2, 3),) * 3)
FLOWS = tasks.make("panoptic", CLASSES, finder="flows", finder_options={"min_size": 3})


def scene():
    """Two cells that touch, and a fibre."""
    objects, label = np.zeros((20, 24), np.int32), np.full((20, 24), 9)
    for number, place, kind in ((7, np.s_[2:9, 2:8], 1), (9, np.s_[2:9, 8:14], 1), (30, np.s_[12:18, 4:20], 3)):
        objects[place], label[place] = number, kind
    return objects, label


def truth():
    return classified(*scene(), 4, first=1)


def logits(task, numbers, classes):
    """What says where objects are, and that they are of these classes."""
    kinds = 4.0 * np.eye(3)[classes]
    if task.finder == "boundary":
        own = 20.0 * np.eye(3)[boundary_classes(numbers)]
    else:
        own = np.concatenate([5 * instance_flows(numbers), np.where(numbers > 0, 9.0, -9.0)[..., None]], -1)
    return np.concatenate([own, kinds], -1)[None].astype(np.float32)


def test_objects_have_the_class_of_most_of_their_pixels():
    """None where no pixel has one that counts, or most are background; ids need not follow each other."""
    objects = np.array([[0, 5, 5, 5, 70_000, 8, 8, 8, -1]])
    label = np.array([[2, 1, 2, 2, 255, 0, 0, 1, 1]])
    found = classified(objects, label, 3, first=1)
    np.testing.assert_array_equal(found, [[0, *[STEP + 1] * 3, -1, 2, 2, 2, -1]])
    np.testing.assert_array_equal(classified(objects, label, 3)[0, 1:8], [*[2 * STEP + 1] * 3, -1, 2, 2, 2])
    numbers, classes = by_class(found)
    np.testing.assert_array_equal(numbers, [[0, 2, 2, 2, -1, 1, 1, 1, -1]])
    assert classes.tolist() == [0, 0, 1]
    np.testing.assert_array_equal(by_class(numbered(numbers, classes))[0], numbers)
    np.testing.assert_array_equal(classified(np.ones((2, 2), int), np.full((2, 2), 1), 2), np.full((2, 2), STEP + 1))


@pytest.mark.parametrize("task", [TASK, FLOWS], ids=lambda task: task.finder)
def test_perfect_logits_give_objects_with_their_classes_back(task, tmp_path):
    true = truth()
    (found,) = task.decode(logits(task, true, np.maximum(true, 0) // STEP))
    metric = task.metric()
    result = metric.compute(metric.count([found], [true]))
    assert [one.pq for one in result[::2]] == pytest.approx([1, 1], abs=0.1) and np.isnan(result[1].pq)
    scores = np.asarray(task.scores(logits(task, true, np.maximum(true, 0) // STEP)))[0]
    assert task.summary(scores) == "2 cell, 1 fibre"
    files = task.files(np.zeros((20, 24, 3), np.uint8), scores)
    rows = [row.split(",") for row in files["objects.csv"]().splitlines()[1:]]
    sure = np.exp(4) / (np.exp(4) + 2)
    assert [row[:2] for row in rows] == [["1", "cell"], ["2", "cell"], ["3", "fibre"]]
    assert [float(row[2]) for row in rows] == pytest.approx([sure] * 3, abs=0.01)
    assert files["instances.tif"].dtype == np.uint16 and files["instances.tif"].max() == 3
    scalars = task.scalars(result, "val/")
    assert scalars["val/pq"] == np.mean([result[0].pq, result[2].pq]) and scalars["val/pq/dust"] is None
    assert task.image_scalars(metric.count([found], [true]))[0]["pq"] == scalars["val/pq"]
    assert task.table(result).splitlines()[2].split() == ["dust", "-", "-", "-", "0"]


def test_an_object_of_another_class_is_wrong():
    """The fibre is taken for a cell: a cell too many, no fibre."""
    true = truth()
    (found,) = TASK.decode(logits(TASK, true, np.zeros(true.shape, int)))
    result = TASK.metric().compute(TASK.metric().count([found], [true]))
    assert [(one.tp, one.fp, one.fn) for one in result] == [(2, 1, 0), (0, 0, 0), (0, 0, 1)]
    assert not TASK.decode(logits(TASK, true * 0, true * 0))[0].any()


def test_the_loss_is_that_of_the_finder_and_of_classes():
    """Of the pixels of objects."""
    true = truth()
    true[0] = -1
    targets = {name: values[None] for name, values in FLOWS.targets({"label": true}).items()}
    given = np.random.default_rng(0).normal(size=(1, 20, 24, 6)).astype(np.float32)
    entropy = optax.softmax_cross_entropy_with_integer_labels(given[..., 3:], np.maximum(targets["label"], 0) // STEP)
    expected = jax.jit(FLOWS.found_by.loss)(given[..., :3], targets) + entropy[targets["label"] > 0].mean()
    np.testing.assert_allclose(jax.jit(FLOWS.loss)(given, targets), expected, rtol=1e-5)


def test_all_else_is_the_finders():
    stars = tasks.make("panoptic", CLASSES, finder="stardist", finder_options={"rays": 8}, min_size=4)
    assert stars.channels == 9 + 3 and stars.found_by.min_size == 4
    other = tasks.with_options(stars, finder_options={"overlap": 0.3})
    assert other.finder_options == {"rays": 8, "overlap": 0.3} and other.min_size == 4
    assert tasks.with_options(FLOWS, finder="boundary").finder_options == {"split": 0.25}
    assert tasks.with_options(TASK, finder="flows", finder_options={"steps": 9}).finder_options == {"steps": 9}
    assert (stars.directed, stars.linear, stars.turns) == (True, True, False) and TASK.turns and not TASK.directed
    resized = np.asarray(stars.resized(np.ones((1, 1, 1, 12), np.float32), (2.0, 2.0)))[0, 0, 0]
    np.testing.assert_allclose(resized, [1, *[2] * 8, 1, 1, 1], rtol=1e-6)
    sample = {"label": truth()}
    moved, expected = (t.moved(t.targets(sample), 1.0, (True, False)) for t in (FLOWS, FLOWS.found_by))
    assert FLOWS.of_objects == FLOWS.found_by.of_objects == FLOWS.fill.keys()
    assert FLOWS.fill == FLOWS.found_by.fill and moved.keys() == FLOWS.fill.keys()
    np.testing.assert_array_equal(moved["flows"], expected["flows"])
    for task in (TASK, FLOWS, stars):
        assert tasks.from_json(tasks.to_json(task), CLASSES, task.palette) == task


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"finder": "panoptic"}, "unknown finder of objects 'panoptic'"),
        ({"finder": "star"}, "unknown finder of objects 'star'; did you mean 'stardist'"),
        ({"finder_options": {"ray": 3}}, "unknown option of the finder 'boundary' 'ray'"),
        ({"finder": "stardist", "finder_options": {"rays": 7}}, "rays is 7; it must be even"),
    ],
)
def test_finders_that_are_none(options, message):
    with pytest.raises(ValueError, match=message):
        tasks.make("panoptic", CLASSES, **options)


def test_folders_with_classes_beside_objects(tmp_path):
    objects, label = scene()
    for name, values in (("images", label), ("instances", objects), ("labels", np.where(label == 9, 0, label))):
        (tmp_path / name).mkdir()
        Image.fromarray(values.astype(np.uint8)).save(tmp_path / name / "a.png")
    (tmp_path / "classes.csv").write_text("id,name\n0,background\n1,cell\n2,dust\n3,fibre\n")
    source = open_source("folder", "all", root=tmp_path, label_kind="panoptic")
    assert source.classes == CLASSES and len(source.palette) == 3
    np.testing.assert_array_equal(source[0]["label"], truth())
    (tmp_path / "instances" / "a.png").unlink()
    with pytest.raises(FileNotFoundError, match=r"a\.png has no map of its objects in instances/"):
        open_source("folder", "all", root=tmp_path, label_kind="panoptic")[0]
