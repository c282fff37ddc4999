"""Tasks of several classes a pixel and of values: what becomes of logits and labels, against NumPy."""

import jax
import numpy as np
import pytest

from fcn import losses, tasks
from fcn.losses import parse_terms
from fcn.metrics import Errors
from fcn.tasks.regression import Regression

NAN = np.nan


def measured(task, logits, labels):
    metric = task.metric()
    counts = metric.count(task.prediction(task.scores(logits)), task.truth({"label": labels}))
    result = metric.compute(metric.merge(metric.init(), jax.device_get(counts)))
    return task.scalars(result, "val/"), task.table(result)


def test_each_class_has_a_sigmoid_of_its_own():
    task = tasks.make("multilabel", ["tall", "round"], terms=parse_terms("ce"), threshold=0.4)
    logits = np.array([[[[2.0, -0.1], [-3.0, 1.0]], [[0.0, -2.0], [-1.0, 4.0]]]], np.float32)
    labels = np.array([[[[1, 1], [0, 1]], [[0, 255], [255, 0]]]], np.int32)
    assert task.channels == 2 and task.fill == {"label": 255}
    p = 1 / (1 + np.exp(-logits))
    each = -np.log(np.where(labels == 1, p, 1 - p))[labels != 255]
    np.testing.assert_allclose(task.loss(logits, {"label": labels}), each.mean(), rtol=1e-6)
    (masks,) = task.decode(logits)
    np.testing.assert_array_equal(masks, [[[1, 1], [0, 1]], [[1, 0], [0, 1]]])
    scalars, table = measured(task, logits, labels)
    assert scalars == pytest.approx(
        {"val/miou": (1 / 2 + 2 / 3) / 2, "val/mean_f1": (2 / 3 + 4 / 5) / 2, "val/iou/tall": 1 / 2, "val/iou/round": 2 / 3}
    )
    counts = task.metric().count(task.prediction(task.scores(logits)), labels)
    (image,) = task.image_scalars(counts)
    assert image == pytest.approx({"miou": 7 / 12, "iou/tall": 1 / 2, "iou/round": 2 / 3})
    assert table.splitlines()[2].split() == ["tall", "50.0", "66.7", "50.0", "100.0"]
    scores = np.asarray(task.scores(logits))[0]
    assert task.summary(scores) == "round 75%, tall 50%"
    files = task.files(np.zeros((2, 2, 3), np.uint8), scores)
    assert tuple(files) == task.suffixes == ("overlay.png", "mask_tall.png", "mask_round.png")
    np.testing.assert_array_equal(files["mask_round.png"], [[255, 255], [0, 255]])
    assert task.panel(np.zeros((1, 2, 2, 3), np.uint8), labels, scores[None]).shape[-1] == 3


def test_terms_may_be_their_text_and_classes_may_not():
    assert tasks.make("multilabel", ["a"], terms="ce+2*dice").terms == parse_terms("ce+2*dice")
    with pytest.raises(ValueError, match="classes is the text 'cells'; give a list of names"):
        tasks.make("multilabel", "cells")


def test_a_class_that_occurs_nowhere_is_undefined():
    task = tasks.make("multilabel", ["a", "b"])
    scalars, _ = measured(task, np.full((1, 1, 1, 2), -5.0, np.float32), np.array([[[[0, 255]]]], np.int32))
    assert set(scalars.values()) == {None}


def test_values_are_learnt_on_their_own_scale():
    task = tasks.make("regression", ["depth", "flow"], mean=(10.0, 0.0), std=(2.0, 0.5))
    labels = np.array([[[[12.0, 1.0], [NAN, -1.0]]]], np.float32)
    logits = np.array([[[[0.5, 2.0], [7.0, 1.0]]]], np.float32)
    standardised = (labels - [10, 0]) / [2, 0.5]
    np.testing.assert_allclose(
        task.loss(logits, {"label": labels}), losses.huber_loss(logits, standardised.astype(np.float32)), rtol=1e-6
    )
    (values,) = task.decode(logits)
    np.testing.assert_allclose(values, [[[11, 1], [24, 0.5]]])
    scalars, table = measured(task, logits, labels)
    assert scalars == pytest.approx(
        {"val/mae": 0.875, "val/rmse": (1 + np.sqrt(1.125)) / 2, "val/mae/depth": 1.0, "val/mae/flow": 0.75}
    )
    assert table.splitlines()[1].split() == ["depth", "1", "1"]
    scalars, _ = measured(task, np.array([[[[np.inf, 2.0], [7.0, 1.0]]]], np.float32), labels)
    assert scalars == pytest.approx({"val/mae": None, "val/rmse": None, "val/mae/depth": None, "val/mae/flow": 0.75})
    assert task.summary(values) == "depth 11 to 24, mean 17.5, flow 0.5 to 1, mean 0.75"
    files = task.files(np.zeros((1, 2, 3), np.uint8), values)
    assert tuple(files) == task.suffixes and files["values.png"].shape == (1, 4, 3)
    np.testing.assert_array_equal(files["values.npy"], values)
    assert task.panel(np.zeros((1, 1, 2, 3), np.uint8), labels, values[None]).shape[-1] == 3
    assert np.isnan(task.fill["label"])


def test_scale_is_that_of_the_known_values():
    samples = [{"label": np.array([[[1.0], [NAN]]], np.float32)}, {"label": np.array([[[5.0], [3.0]]], np.float32)}]
    fitted = Regression(classes=["depth"]).fitted(samples)
    assert fitted.mean == (3.0,) and fitted.std == pytest.approx((np.std([1, 5, 3]),))
    nothing = Regression(classes=["depth"]).fitted([{"label": np.full((1, 1, 1), 7.0, np.float32)}])
    assert (nothing.mean, nothing.std) == ((7.0,), (1.0,))


def test_errors_of_many_batches_are_those_of_all_values():
    rng = np.random.default_rng(0)
    predictions, labels = rng.normal(size=(2, 3, 2, 4, 5, 2)).astype(np.float32)
    labels[0, 0, 0, 0, 0] = NAN
    metric = Errors(2)
    state = metric.init()
    for batch in zip(predictions, labels):
        state = metric.update(state, *batch)
    error = (predictions - labels).reshape(-1, 2)
    result = metric.compute(state)
    np.testing.assert_allclose(result.mae, np.nanmean(np.abs(error), 0), rtol=1e-6)
    np.testing.assert_allclose(result.rmse, np.sqrt(np.nanmean(error**2, 0)), rtol=1e-6)
    images = Regression(classes=["x", "y"]).image_scalars(state)
    each = np.nanmean(np.abs(predictions - labels).reshape(6, 20, 2), 1)
    np.testing.assert_allclose([[image["mae/x"], image["mae/y"]] for image in images], each, rtol=1e-6)
    np.testing.assert_allclose([image["mae"] for image in images], each.mean(1), rtol=1e-6)
    with pytest.raises(ValueError, match="must have the same shape"):
        metric.count(predictions[0], labels[0, :1])


@pytest.mark.parametrize(
    "task", [tasks.make("multilabel", ["a", "b"], threshold=0.3), tasks.make("regression", ["z"], mean=(3.0,), std=(0.5,))]
)
def test_a_task_survives_json(task):
    assert tasks.from_json(tasks.to_json(task), task.classes, task.palette) == task


@pytest.mark.parametrize(
    ("name", "classes", "options", "message"),
    [
        ("multilabel", ["a/b", "c"], {}, "class 'a/b' cannot name a file"),
        ("multilabel", ["Car", "car"], {}, "class 'Car' cannot name a file"),
        ("multilabel", ["a"], {"terms": parse_terms("l1")}, "the loss 'l1' is of values; the task 'multilabel' takes 'ce'"),
        ("regression", ["z"], {"terms": parse_terms("ce")}, "the loss 'ce' is of classes; the task 'regression' takes 'huber'"),
        ("regression", ["z"], {"mean": (1.0, 2.0)}, "mean has 2 values for 1 channels"),
        ("regression", ["z"], {"std": (0.0,)}, "std is .0.0,.; it must be above 0"),
    ],
)
def test_tasks_that_are_refused(name, classes, options, message):
    with pytest.raises(ValueError, match=message):
        tasks.make(name, classes, **options)
