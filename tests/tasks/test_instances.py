"""Tasks that find objects: targets that move with the image, losses, and what becomes of perfect logits."""

import dataclasses
import json

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from PIL import Image
from scipy.special import expit

from fcn import tasks
from fcn.data.augment import CopyPaste
from fcn.data.augment.mixing import mixed, refuse_other_targets
from fcn.data.source import Sample
from fcn.inference import make_predictor
from fcn.instances import (
    boundary_classes,
    mask_logits,
    match,
    star_distances,
)
from fcn.losses import border_cross_entropy, border_distances, parse_terms, total_loss
from fcn.preprocessing import Preprocessing
from fcn.tasks import Flows, InstanceTask
from fcn.visualize.files import save_pictures
from tests.tasks.perfect import perfect

TASKS = [
    tasks.make("boundary", ["cell"], terms="ce(class_weights=[1,1,10])+dice+border"),
    tasks.make("stardist", ["cell"], rays=8),
    tasks.make("flows", ["cell"], min_size=5),
    tasks.make("condinst", ["cell"]),
]
IDS = [task.name for task in TASKS]


def scene():
    """Three triangles, two of which touch, of numbers that are not consecutive; the mean of none lies between two pixels."""
    label = np.zeros((24, 30), np.int32)
    label[2:15, 2:15][np.tri(13, dtype=bool)] = 4
    label[2:15, 2:15][np.tri(13, k=-1, dtype=bool).T] = 70_000
    label[8:21, 17:30][np.tri(13, dtype=bool)] = 9
    return label


def encoded(task, label):
    return task.targets(Sample(image=np.zeros((*label.shape, 1), np.uint8), label=label, name="scene"))


def assert_equal(found, expected, where=True):
    assert found.keys() == expected.keys()
    for name, values in expected.items():
        mask = np.broadcast_to(where, values.shape[:2])
        np.testing.assert_allclose(np.asarray(found[name])[mask], values[mask], atol=1e-4, err_msg=name)


@pytest.mark.parametrize("flipped", [(False, True), (True, False), (True, True)])
@pytest.mark.parametrize("task", TASKS, ids=IDS)
def test_targets_of_a_mirrored_image_are_those_of_the_mirrored_label(task, flipped):
    axes = [axis for axis, mirrored in enumerate(flipped) if mirrored]
    before = {name: np.flip(values, axes) for name, values in encoded(task, scene()).items()}
    assert before.keys() == task.fill.keys()
    expected = encoded(task, np.flip(scene(), axes))
    slopes = np.abs(expected.get("flows", np.ones(1))).sum(-1) > 0
    assert_equal(task.moved(before, 1.0, flipped), expected, slopes | (expected["label"] == 0))


def test_objects_are_pasted_with_their_targets():
    """What is left of an object that is hidden in part counts nowhere, where more than the map is learnt of it."""
    others = np.zeros((24, 30), np.int32)
    others[0:4, 20:28], others[14:19, 15:21], others[20:23, 1:5] = 3, 8, 5000  # the second over an object
    taken = others > 0
    seen = np.where(taken, 70_000 + others, scene())
    rest = (scene() == 9) & ~taken
    given = [tasks.make("boundary", ["cell"]), *TASKS[1:]]
    before, partner = ([encoded(task, label) for task in given] for label in (scene(), others))
    image = jnp.zeros((24, 30, 1))

    def pasted(own, other):
        return [
            mixed(jax.random.key(0), (image, a), (CopyPaste(share=1),), task, (image + 9, b))
            for task, a, b in zip(given, own, other, strict=True)
        ]

    found = jax.jit(pasted)(*jax.tree.map(jnp.asarray, (before, partner)))
    for task, (shown, targets), own, other in zip(given, found, before, partner, strict=True):
        np.testing.assert_array_equal(shown[..., 0] == 9, taken)
        expected = {name: np.where(taken.reshape(24, 30, *[1] * (own[name].ndim - 2)), other[name], own[name]) for name in own}
        expected["label"] = seen
        if task.fill.keys() != {"label"}:
            for name, value in task.fill.items():
                expected[name] = expected[name].copy()
                expected[name][rest] = value
        assert_equal(targets, expected)
        if task.name != "flows":  # which are by the largest object of an image
            assert_equal(targets, encoded(task, expected["label"]), expected["label"] >= 0)
    with pytest.raises(ValueError, match="CopyPaste mixes label, not border_distances; leave out one or the other"):
        refuse_other_targets((CopyPaste(),), TASKS[0])


def test_distances_grow_with_the_image_and_end_at_its_border():
    task, label = TASKS[1], scene()
    box = (slice(6, 20), slice(4, 27))
    cropped = {name: values[box] for name, values in encoded(task, label).items()}
    expected = star_distances(label[box], 8)
    np.testing.assert_allclose(task.moved(cropped, 1.0, (False, False))["distances"], expected, atol=1e-4)
    assert np.max(cropped["distances"] - expected) > 1
    grown = np.asarray(task.moved(cropped, 1.5, (False, False))["distances"])
    limit = star_distances(np.ones(label[box].shape, int), 8) * (label[box] > 0)[..., None]
    np.testing.assert_allclose(grown, np.minimum(1.5 * cropped["distances"], limit), rtol=1e-6)


@pytest.mark.parametrize("task", TASKS[1:3], ids=IDS[1:3])
def test_targets_turn_with_the_image(task):
    """By a quarter turn those of the label that is turned; of mirrored and enlarged images what `moved` says."""
    label = scene()[:18, :18]
    before, expected = encoded(task, label), encoded(task, np.rot90(label))
    slopes = np.abs(expected.get("flows", np.ones(1))).sum(-1) > 0
    turned = task.turned({name: np.rot90(values) for name, values in before.items()}, np.array([[0.0, 1.0], [-1.0, 0.0]]))
    assert_equal(turned, expected, slopes | (expected["label"] == 0))
    for matrix, (scale, flipped) in (((1.0, -1.0), (1.0, (False, True))), ((-0.5, 0.5), (2.0, (True, False)))):
        assert_equal(task.turned(before, np.diag(matrix)), jax.tree.map(np.asarray, task.moved(before, scale, flipped)))


def test_rays_between_those_that_were_measured():
    """An object that is turned by half the angle between two rays; each has the mean of both."""
    targets = {"label": np.ones((1, 1), int), "distances": np.arange(8.0)[None, None] / 100}
    angle = np.pi / 8
    turn = np.array([[np.cos(angle), np.sin(angle)], [-np.sin(angle), np.cos(angle)]])
    found = TASKS[1].turned(targets, turn)["distances"][0, 0]
    np.testing.assert_allclose(100 * found, [0.5, 1.5, 2.5, 3.5, 4.5, 5.5, 6.5, 3.5], rtol=1e-5)


def batch(task):
    """Targets of two images, a part of the second unknown, and logits."""
    label = np.stack([scene(), scene()[::-1]])
    label[1, :, 20:] = -1
    logits = np.random.default_rng(0).normal(size=(*label.shape, task.channels)).astype(np.float32)
    each = [encoded(task, one) for one in label]
    return label, {name: np.stack([one[name] for one in each]) for name in each[0]}, logits


def cross_entropy(logits, truth):
    return np.logaddexp(0, logits) - truth * logits


def test_the_loss_of_stardist():
    task = tasks.make("stardist", ["cell"], rays=8, grid=2)
    label, targets, logits = batch(task)
    label, logits_, p, d = (each[:, ::2, ::2] for each in (label, logits, targets["probability"], targets["distances"]))
    known = label >= 0
    p, d, found, away = p[known], d[known], logits_[known][:, 1:], np.abs(logits_[known][:, 1:]).mean(-1)
    error = np.mean(p * np.abs(d - found).mean(-1)) / p.mean() + 1e-4 * np.mean((1 - p) * away)
    expected = cross_entropy(logits_[known][:, 0], p).mean() + 0.2 * error
    np.testing.assert_allclose(jax.jit(task.loss)(logits, targets), expected, rtol=1e-5)


def test_the_loss_of_flows():
    task = TASKS[2]
    label, targets, logits = batch(task)
    known = label >= 0
    square = ((logits[..., :2] - 5 * targets["flows"])[known] ** 2).mean()
    expected = square / 2 + cross_entropy(logits[..., 2], label > 0)[known].mean()
    np.testing.assert_allclose(jax.jit(task.loss)(logits, targets), expected, rtol=1e-5)


def test_the_loss_of_networks_of_objects():
    """Each of its four parts anew, with the masks of all places where middles lie."""
    task = tasks.make("condinst", ["cell"], samples=1024, mask_grid=1)
    label, targets, logits = batch(task)
    found, true, box = (each[:, ::4, ::4] for each in (logits.astype(np.float64), label, targets["box"].astype(np.float64)))
    middle = (true > 0) & (abs(box[..., ::2] - box[..., 1::2]) <= 12).all(-1)
    found[..., 0] += np.log(0.01 / 0.99)
    p = expit(found[..., 0])
    focal = np.where(middle, 0.25 * (1 - p) ** 2, 0.75 * p**2) * cross_entropy(found[..., 0], middle)
    expected = focal[true >= 0].sum() / middle.sum()
    a, b = 4 * np.exp(found[..., 2:6][middle]), box[middle]
    first, second = np.sort([b[:, ::2], b[:, 1::2]], 0)
    center = np.sqrt((first / second).prod(-1))
    expected += cross_entropy(found[..., 1][middle], center).mean()
    one, other, shared, hull = ((x[:, 0] + x[:, 1]) * (x[:, 2] + x[:, 3]) for x in (a, b, np.minimum(a, b), np.maximum(a, b)))
    union = one + other - shared
    expected += (1 - shared / union + (hull - union) / hull).mean()
    rows, columns = np.mgrid[:24, :30]
    dice = []
    for image, row, column in np.argwhere(middle):
        offsets = [(rows - 4 * row) / 64, (columns - 4 * column) / 64]
        inputs = np.concatenate([logits[image, ..., -8:], np.stack(offsets, -1)], -1).reshape(1, -1, 10)
        mask = expit(mask_logits(found[image, row, column, None, 6:175], inputs)[0]) * (label[image] >= 0).ravel()
        same = (label[image] == true[image, row, column]).ravel()
        dice.append(1 - 2 * (mask * same).sum() / ((mask**2).sum() + same.sum() + 1e-5))
    np.testing.assert_allclose(jax.jit(task.loss)(logits, targets), expected + np.mean(dice), rtol=1e-4)


def test_the_loss_of_boundaries():
    task = TASKS[0]
    label, targets, logits = batch(task)
    classes = np.stack([boundary_classes(one) for one in label])
    classes[label < 0] = 255
    distances = np.stack([border_distances(np.maximum(one, 0)) for one in label])[..., None]
    np.testing.assert_array_equal(targets["border_distances"], distances)

    @jax.jit
    def expected(logits, classes):
        border = border_cross_entropy(logits, classes, distances=distances)
        return total_loss(parse_terms(task.default_loss), logits, classes) + border

    value = expected(logits, classes)
    np.testing.assert_allclose(jax.jit(task.loss)(logits, targets), value, rtol=1e-5)
    np.testing.assert_allclose(jax.jit(task.weighed_losses)(logits, targets, 2.0)[:, 0].sum(), value, rtol=1e-5)


def test_boundaries_are_those_of_the_map_as_it_is_seen():
    """Of nothing else are targets made, so that scaled maps have no double boundaries; the record keeps the width."""
    task = tasks.make("boundary", ["cell"], width=2)
    assert set(task.targets({"label": scene()})) == set(task.fill) == {"label"}
    larger = np.stack([scene().repeat(3, 0).repeat(3, 1)[5:50], scene()[:15].repeat(3, 0).repeat(3, 1)])
    larger[:, 20] = -1
    classes = np.stack([boundary_classes(one, 2) for one in larger])
    np.testing.assert_array_equal(jax.jit(task.pixel_classes)(larger), np.where(larger < 0, 255, classes))
    np.testing.assert_array_equal(task.masks(larger[0]), np.eye(3)[classes[0]] * (larger[0] >= 0)[..., None])
    assert tasks.from_json(json.loads(json.dumps(tasks.to_json(task))), task.classes, task.palette).width == 2


def test_boundaries_are_decoded_with_the_weights_of_their_training():
    """Also by what is read of a record, which does not hold the loss; older records are of the usual one."""
    scores = np.array([[[0.7, 0.1, 0.2], [0.3, 0.1, 0.6], [0.1, 0.9, 0.0]]], np.float32)
    for terms, weights, expected in ((None, (1, 1, 10), [[0, 0, 1]]), ("ce+dice", (1, 1, 1), [[0, 1, 1]])):
        task = tasks.make("boundary", ["cell"], **({} if terms is None else {"terms": terms}))
        record = json.loads(json.dumps(tasks.to_json(task)))
        assert ("class_weights" in record) == (terms is not None)
        read = tasks.from_json(record, task.classes, task.palette)
        assert read.class_weights == task.class_weights == weights
        assert read.prediction(scores).tolist() == task.prediction(scores).tolist() == expected
    with pytest.raises(ValueError, match=r"class_weights is \(1.0, 0.0, 1.0\); give three numbers above 0"):
        tasks.make("boundary", ["cell"], class_weights=(1, 0, 1))


@pytest.mark.parametrize("task", TASKS, ids=IDS)
def test_perfect_logits_give_the_objects_back(task, tmp_path):
    label = scene()
    logits = perfect(task, label)
    (found,) = task.decode(logits)
    assert found.dtype == np.int32 and found.max() == 3
    metric = task.metric()
    state = metric.count([found, found * 0], [task.truth(encoded(task, label)), label])
    scalars = task.scalars(metric.compute(metric.count([found], [label])), "val/")
    assert scalars["val/ap50"] == scalars["val/ap70"] == scalars["val/f1"] == 1 and scalars["val/ap"] > 0.4
    assert scalars["val/count_error"] == 0 and f"val/{task.best}" in scalars
    first, second = task.image_scalars(state)
    assert first["ap50"] == 1 and second == {"ap": 0, "ap50": 0, "pq": 0}
    assert task.table(metric.compute(state)).splitlines()[2].split()[:4] == ["IoU", "0.5", "50.0", "66.7"]
    assert task.table(metric.compute(state)).endswith("6 objects, 3 found")
    scores = np.asarray(task.scores(logits))[0]
    assert task.summary(scores) == "3 objects"
    files = task.files(np.zeros((*label.shape, 3), np.uint8), scores)
    assert {*files} == {*task.suffixes, *task.on_request} and files["overlay.png"][found > 0].any(-1).all()
    assert not files["overlay.png"][found == 0].any()
    save_pictures({tmp_path / name: made for name, made in files.items()})
    np.testing.assert_array_equal(np.asarray(Image.open(tmp_path / "instances.tif")), found)
    rows = [row.split(",") for row in (tmp_path / "objects.csv").read_text().splitlines()]
    assert [row[1] for row in rows] == ["class", "cell", "cell", "cell"] and all(0.9 < float(row[2]) <= 1 for row in rows[1:])
    assert len(json.loads((tmp_path / "objects.geojson").read_text())["features"]) == 3
    assert task.panel([label[..., None].astype(np.uint8)], [label], [scores]).shape[-1] == 3


@pytest.mark.parametrize("task", TASKS, ids=IDS)
def test_nothing_is_found_where_nothing_is(task):
    empty = np.zeros((9, 12), np.int32)
    (found,) = task.decode(perfect(task, empty))
    assert not found.any() and found.shape == empty.shape
    targets = encoded(task, empty)
    assert all(np.isfinite(targets[name]).all() for name in targets if name != "border_distances")
    scalars = task.scalars(task.metric().compute(task.metric().count([found], [empty])))
    assert scalars["ap"] is None and scalars["count_error"] == 0


@pytest.mark.parametrize("task", TASKS, ids=IDS)
def test_one_object_may_be_as_large_as_the_image(task):
    label = np.full((24, 30), 5, np.int32)
    if task.name == "flows":
        task = tasks.with_options(task, largest=1.0)
    assert match(label, task.decode(perfect(task, label))[0], 0.8).tp == 1


def test_distances_are_those_of_the_enlarged_image():
    task = TASKS[1]
    logits = np.asarray(task.resized(np.ones((1, 2, 2, 9), np.float32), (3.0, 2.0)))
    np.testing.assert_allclose(logits[0, 0, 0, :4], [1, 2, np.hypot(3, 2) / np.sqrt(2), 3], rtol=1e-6)
    assert TASKS[2].resized(logits, (3.0, 2.0)) is logits


class Ones(nn.Module):
    def __call__(self, x, *, train=False):
        return jnp.ones((*x.shape[:3], 9))


def test_a_predictor_gives_distances_in_pixels_of_the_image():
    """Which is two and three times as large as it is seen."""
    predict = make_predictor(Ones(), Preprocessing((0.5,) * 3, (0.25,) * 3), TASKS[1])
    (scores,) = predict({}, np.zeros((1, 4, 4, 3), np.uint8), (8, 12))
    np.testing.assert_allclose(scores[3, 5, [1, 3]], [3, 2], rtol=1e-6)


def test_the_largest_objects_are_kept_where_asked_for():
    """Records of before, which do not say it, leave them out."""
    label = np.zeros((20, 20), np.int32)
    label[1:18, 1:18] = 1
    found = {}
    for largest in (None, 1):
        record = {"name": "flows", "min_size": 5, **({} if largest is None else {"largest": largest})}
        task = tasks.from_json(record, ["cell"])
        assert tasks.to_json(task)["largest"] == (largest or 0.4)
        (found[largest],) = task.decode(perfect(task, label))
    np.testing.assert_array_equal(found[1], label)
    assert not found[None].any()


@dataclasses.dataclass(frozen=True, kw_only=True)
class Bright(InstanceTask):
    """A task of a user's own with nothing but what it must have."""

    name = "bright"
    channels = 1

    def loss(self, logits, targets, *, axis_name=None):
        return jnp.mean(logits)

    def scores(self, logits):
        return logits

    def prediction(self, scores):
        return (scores[..., 0] > 0).astype(np.int32)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Upwards(Flows):
    """Flows with an option more."""

    tilt: float = 0.5

    def options(self):
        return {**super().options(), "tilt": self.tilt}


def test_tasks_of_ones_own():
    """Of each pixel, nothing else being said, it is sure."""
    instances, objects = Bright(classes=("x",)).objects(np.array([[[0.5], [-1.0]]], np.float32))
    assert instances.tolist() == [[1, 0]] and objects.scores.tolist() == [1]
    assert Upwards(classes=("x",)).decode(perfect(TASKS[2], scene()))[0].max() == 3


def test_a_class_may_be_called_objects():
    task, logits = tasks.make("boundary", ["objects"]), perfect(TASKS[0], scene())
    share = np.mean(task.decode(logits)[0] > 0)
    assert task.figures(np.asarray(task.scores(logits))[0]) == {"objects": 3, "objects (share)": share}


@pytest.mark.parametrize("options", [{}, {"split": 0.5}])
def test_records_that_do_not_say_whether_interiors_are_split_split_none(options):
    """As it was then; what is recorded now says it, so that both can be told apart."""
    then, now = ({"split": 1, **options}, {"split": 0.25, **options})
    assert tasks.to_json(tasks.make("boundary", ["cell"], **options))["split"] == now["split"]
    assert tasks.from_json({"name": "boundary", "min_size": 3, **options}, ["cell"]).split == then["split"]
    assert tasks.to_json(tasks.make("panoptic", ["cell"], finder_options=options))["finder_options"] == now
    for finder in ({}, {"finder": "boundary", "finder_options": options}):
        task = tasks.from_json({"name": "panoptic", **finder}, ["cell"])
        assert task.finder_options == (then if finder else {"split": 1}) and task.found_by.split == task.finder_options["split"]


OTHER = tasks.make("stardist", ["x"], grid=2, threshold=0.3, overlap=0.5, border=1, min_size=4)


@pytest.mark.parametrize("task", [tasks.make("boundary", ["cell"], min_size=3), *TASKS[1:], OTHER])
def test_a_task_survives_json(task):
    assert tasks.from_json(tasks.to_json(task), task.classes, task.palette) == task


def test_other_options_for_the_same_network():
    task = tasks.with_options(TASKS[1], threshold=0.2, min_size=3)
    assert (task.threshold, task.min_size, task.rays, task.classes) == (0.2, 3, 8, ("cell",))
    with pytest.raises(ValueError, match="of rays a network has 17 channels; this one has 9"):
        tasks.with_options(TASKS[1], rays=16)
    with pytest.raises(ValueError, match="unknown option of the task 'flows' 'treshold'; did you mean 'threshold'"):
        tasks.with_options(TASKS[2], treshold=1.0)


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("stardist", {"rays": 33}, "rays is 33; it must be even, such as 32 or 34"),
        ("stardist", {"terms": "dice"}, "the task 'stardist' has a loss of its own; leave out the terms of another"),
        ("flows", {"classes": ["a", "b"]}, "the task 'flows' finds objects of one class; there are 2: a, b"),
        ("boundary", {"min_size": -1}, "min_size is -1; it must be at least 0"),
    ],
)
def test_tasks_that_are_refused(name, options, message):
    with pytest.raises(ValueError, match=message):
        tasks.make(name, **{"classes": ["cell"], **options})
