"""Tasks of one class a pixel: what becomes of logits and labels, against NumPy."""

import jax
import numpy as np
import pytest

from fcn import losses, tasks
from fcn.losses import Term, parse_terms

LOGITS = np.array([[[[-1.0], [0.2]], [[3.0], [-0.3]]]], np.float32)  # one image of 2x2
LABELS = np.array([[[0, 0], [1, 255]]], np.int32)


def two_channels(logits):
    """The softmax of zero and a logit is the sigmoid of the logit."""
    return np.concatenate([np.zeros_like(logits), logits], -1)


def measured(task, logits, labels):
    metric = task.metric()
    counts = metric.count(task.prediction(task.scores(logits)), task.truth({"label": labels}))
    return task.scalars(metric.compute(metric.merge(metric.init(), jax.device_get(counts))), "val/")


@pytest.mark.parametrize(("name", "logits"), [("semantic", two_channels(LOGITS)), ("binary", LOGITS)])
def test_two_classes_by_two_channels_or_one(name, logits):
    """Both give the same loss, maps, metrics and pictures."""
    task = tasks.make(name, ["ground", "disc"], terms=parse_terms("ce"))
    assert task.channels == logits.shape[-1]
    sigmoid = 1 / (1 + np.exp(-LOGITS[..., 0]))
    expected = -np.mean(np.log([1 - sigmoid[0, 0, 0], 1 - sigmoid[0, 0, 1], sigmoid[0, 1, 0]]))
    np.testing.assert_allclose(task.loss(logits, {"label": LABELS}), expected, rtol=1e-6)
    (mask,) = task.decode(logits)
    np.testing.assert_array_equal(mask, [[0, 1], [1, 0]])
    assert measured(task, logits, LABELS) == pytest.approx(
        {
            "val/miou": 0.5,
            "val/pixel_accuracy": 2 / 3,
            "val/mean_accuracy": 0.75,
            "val/frequency_weighted_iou": 0.5,
            "val/iou/ground": 0.5,
            "val/iou/disc": 0.5,
        }
    )
    scores = np.asarray(task.scores(logits))[0]
    assert task.summary(scores) == "ground 50%, disc 50%"
    files = task.files(np.zeros((2, 2, 3), np.uint8), scores)
    assert tuple(files) == task.suffixes and list(files)[-1] == "mask.png"
    np.testing.assert_array_equal(np.asarray(files["mask.png"]), mask)
    assert task.panel(np.zeros((1, 2, 2, 3), np.uint8), LABELS, scores[None]).shape[-1] == 3


def test_a_threshold_moves_the_mask_and_not_the_probability():
    task = tasks.make("binary", ["ground", "disc"], threshold=0.45)
    scores = np.asarray(task.scores(LOGITS))[0]
    np.testing.assert_array_equal(task.prediction(scores), [[0, 1], [1, 0]])
    task = tasks.make("binary", ["ground", "disc"], threshold=0.6)
    np.testing.assert_array_equal(task.prediction(scores), [[0, 0], [1, 0]])
    files = task.files(np.zeros((2, 2, 3), np.uint8), scores)
    np.testing.assert_array_equal(files["probability.png"], [[69, 140], [243, 109]])


def test_terms_make_the_loss_and_ignored_pixels_do_not_count():
    terms = parse_terms("0.5*ce+0.5*dice")
    semantic = tasks.make("semantic", ["a", "b"], terms=terms, ignore_index=1)
    logits = two_channels(LOGITS)
    parts = [loss(logits, LABELS, ignore_index=1) for loss in (losses.cross_entropy, losses.dice_loss)]
    np.testing.assert_allclose(semantic.loss(logits, {"label": LABELS}), np.mean(parts), rtol=1e-6)
    assert semantic.fill == {"label": 1}
    binary = tasks.make("binary", ["a", "b"], terms=(Term(1.0, "focal", {"gamma": 3.0}),))
    expected = losses.focal_loss(LOGITS, LABELS, "binary", gamma=3.0)
    np.testing.assert_allclose(binary.loss(LOGITS, {"label": LABELS}), expected, rtol=1e-6)


@pytest.mark.parametrize(
    "task", [tasks.make("semantic", ["a", "b", "c"]), tasks.make("binary", ["a", "b"], palette=((1, 2, 3),) * 2, threshold=0.3)]
)
def test_a_task_survives_json(task):
    assert tasks.from_json(tasks.to_json(task), task.classes, task.palette) == task


def test_what_says_nothing_of_a_task_is_semantic():
    assert tasks.from_json(None, ["a", "b"]) == tasks.make("semantic", ("a", "b"))


@pytest.mark.parametrize(
    ("name", "classes", "options", "message"),
    [
        ("semantc", ["a", "b"], {}, "unknown task 'semantc'; did you mean 'semantic'"),
        ("semantic", [], {}, "the task 'semantic' has no classes"),
        ("semantic", ["a"], {"palette": [(0, 0, 0)] * 2}, "1 classes and 2 colours"),
        ("semantic", ["a", "b"], {"threshold": 0.3}, "unknown option of the task 'semantic' 'threshold'"),
        ("binary", ["a", "b", "c"], {}, "tells two classes apart, .* there are 3: a, b, c; take the task 'semantic'"),
        ("binary", ["a", "b"], {"threshold": 1.5}, "threshold is 1.5; it must be at least 0 and at most 1"),
    ],
)
def test_tasks_that_are_refused(name, classes, options, message):
    with pytest.raises(ValueError, match=message):
        tasks.make(name, classes, **options)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ([], r"task is \[\]; it is an object with a name"),
        ({"name": 3}, "an object with a name"),
        ({"name": "binary", "classes": 3}, "task has the field 'classes'"),
        ({"name": "binary", "threshold": 2.0}, "threshold is 2.0; it must be at least 0"),
        ({"name": "binary", "rays": 32}, "unknown option of the task 'binary' 'rays'"),
    ],
)
def test_records_that_make_no_task(values, message):
    with pytest.raises(ValueError, match=message):
        tasks.from_json(values, ["a", "b"])


@pytest.mark.parametrize("name", ["semantic", "binary", "multilabel"])
def test_losses_by_distances_get_their_maps(name):
    """Made of the label on the host, grown with the image, and of no weight in other losses."""
    classes, label = ["a", "b"], np.zeros((6, 7), np.int32)
    label[2:5, 2:6], label[0, 0] = 1, 255
    masks = np.stack([label == 0, label == 1], -1)
    stored = np.where(masks, 1, 0).astype(np.int32) if name == "multilabel" else label
    task = tasks.make(name, classes, terms=parse_terms("ce+0.1*boundary+0.01*hausdorff"))
    targets = task.targets({"image": None, "label": stored, "name": "x"})
    assert set(targets) == set(task.fill) == {"label", "boundary_distances", "hausdorff_distances"}
    masks = masks[..., 1:] if name == "binary" else masks
    expected = losses.signed_distances(label, 2)[..., -masks.shape[-1] :]
    np.testing.assert_array_equal(targets["boundary_distances"], expected)
    np.testing.assert_array_equal(targets["hausdorff_distances"], losses.boundary_distances(masks))
    logits, batch = np.ones((1, *masks.shape), np.float32), {key: value[None] for key, value in targets.items()}
    parts = [
        losses.cross_entropy(logits, batch["label"], task.mode),
        0.1 * losses.boundary_loss(logits, batch["label"], task.mode, distances=batch["boundary_distances"]),
        0.01 * losses.hausdorff_loss(logits, batch["label"], task.mode, distances=batch["hausdorff_distances"]),
    ]
    np.testing.assert_allclose(task.loss(logits, batch), sum(parts), rtol=1e-6)
    grown = task.moved(targets, 2.0, (False, True))
    np.testing.assert_array_equal(grown["boundary_distances"], 2 * expected)
    assert grown["label"] is targets["label"]
