"""Confusion matrices and metrics against slow loops and closed forms."""

import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from fcn import metrics as fcn_metrics
from fcn.metrics import format_table, segmentation_metrics

confusion_matrix = jax.jit(fcn_metrics.confusion_matrix, static_argnames=("num_classes", "ignore_index"))


def slow_matrix(predictions, labels, k, ignore_index=255):
    matrix = np.zeros((k, k), np.int64)
    for prediction, label in zip(predictions.ravel(), labels.ravel()):
        if label != ignore_index and label in range(k) and prediction in range(k):
            matrix[label, prediction] += 1
    return matrix


def example(k, shape=(3, 9, 11), seed=0):
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, k, shape).astype(np.int32)
    labels[rng.random(shape) < 0.2] = 255
    return rng.integers(0, k, shape).astype(np.int32), labels


@pytest.mark.parametrize("k", [1, 2, 11, 150, 255])
@pytest.mark.parametrize("compiled", [False, True], ids=["eager", "jit"])
def test_matrix_equals_a_loop_over_pixels(k, compiled):
    predictions, labels = example(k)
    count = confusion_matrix if compiled else fcn_metrics.confusion_matrix
    matrix = count(predictions, labels, k)
    assert matrix.dtype == jnp.int32 and matrix.shape == (k, k)
    np.testing.assert_array_equal(matrix, slow_matrix(predictions, labels, k))


@pytest.mark.parametrize("dtype", [np.uint8, np.int16, np.int32])
def test_any_integer_type_and_rank(dtype):
    """uint8 would overflow in label * K + prediction."""
    predictions, labels = example(21)
    expected = slow_matrix(predictions, labels, 21)
    for shape in [(297,), (27, 11), (3, 9, 11)]:
        matrix = confusion_matrix(predictions.reshape(shape).astype(dtype), labels.reshape(shape).astype(dtype), 21)
        np.testing.assert_array_equal(matrix, expected)


def test_what_is_no_class_is_not_counted():
    predictions, labels = example(4)
    predictions[0, 0], labels[0, 1] = [-1, 4, 255, -9, 16, 3, 2, 1, 0, -1, 20], [-1, 4, 254, -9, 16, 3, 2, 1, 0, -1, 20]
    np.testing.assert_array_equal(confusion_matrix(predictions, labels, 4), slow_matrix(predictions, labels, 4))


@pytest.mark.parametrize("ignore_index", [-1, 0, 3, 99])
def test_other_ignore_indices(ignore_index):
    predictions, labels = example(4)
    labels = np.where(labels == 255, ignore_index, labels)
    matrix = confusion_matrix(predictions, labels, 4, ignore_index=ignore_index)
    np.testing.assert_array_equal(matrix, slow_matrix(predictions, labels, 4, ignore_index))
    assert not 0 <= ignore_index < 4 or not np.any(matrix[ignore_index])


def test_all_ignored():
    assert not np.any(confusion_matrix(np.zeros((2, 3, 3), np.int32), np.full((2, 3, 3), 255), 3))


def test_counts_beyond_the_integers_of_float32():
    """2^24 + 1 is the first integer that float32 cannot hold."""
    labels = jnp.zeros((1, 4096, 4097), jnp.uint8)
    assert int(confusion_matrix(labels, labels, 2)[0, 0]) == 4096 * 4097 > 2**24


def test_counts_beyond_the_integers_of_int32():
    matrix = np.array([[2**40 + 1, 1], [0, 2**40]], np.int64)
    metrics = segmentation_metrics(matrix)
    assert metrics.pixel_accuracy == (2**41 + 1) / (2**41 + 2)


def test_shapes_must_match(unchecked):
    with pytest.raises(ValueError, match=r"\(1, 2, 3\).*\(1, 3, 2\)"):
        confusion_matrix(np.zeros((1, 2, 3), np.int32), np.zeros((1, 3, 2), np.int32), 2)


def test_metrics_equal_their_definitions():
    predictions, labels = example(6)
    metrics = segmentation_metrics(slow_matrix(predictions, labels, 6))
    counted = labels != 255
    p, t = predictions[counted], labels[counted]
    iou, dice, accuracy, share = [], [], [], []
    for c in range(6):
        both, either = np.sum((p == c) & (t == c)), np.sum((p == c) | (t == c))
        iou.append(both / either)
        dice.append(2 * both / (np.sum(p == c) + np.sum(t == c)))
        accuracy.append(both / np.sum(t == c))
        share.append(np.mean(t == c))
    np.testing.assert_allclose(metrics.iou, iou, rtol=1e-12)
    np.testing.assert_allclose(metrics.dice, dice, rtol=1e-12)
    np.testing.assert_allclose(metrics.accuracy, accuracy, rtol=1e-12)
    assert metrics.pixel_accuracy == pytest.approx(np.mean(p == t), rel=1e-12)
    assert metrics.mean_iou == pytest.approx(np.mean(iou), rel=1e-12)
    assert metrics.mean_accuracy == pytest.approx(np.mean(accuracy), rel=1e-12)
    assert metrics.frequency_weighted_iou == pytest.approx(np.dot(share, iou), rel=1e-12)
    assert metrics.absent == ()


def test_a_class_absent_from_labels_and_predictions_is_in_no_mean():
    full = np.array([[3, 1], [2, 4]])
    sparse = np.zeros((4, 4), np.int64)
    sparse[np.ix_([0, 2], [0, 2])] = full
    expected, metrics = segmentation_metrics(full), segmentation_metrics(sparse)
    for name in ("pixel_accuracy", "mean_accuracy", "mean_iou", "frequency_weighted_iou"):
        assert getattr(metrics, name) == getattr(expected, name)
    assert metrics.absent == (1, 3)
    for values in (metrics.iou, metrics.dice, metrics.accuracy):
        assert np.isnan(values).tolist() == [False, True, False, True]


def test_a_class_predicted_but_never_labelled_has_iou_zero():
    metrics = segmentation_metrics(np.array([[3, 1], [0, 0]]))
    assert metrics.iou.tolist() == [0.75, 0.0] and metrics.dice[1] == 0
    assert metrics.mean_iou == 0.375
    assert np.isnan(metrics.accuracy[1]) and metrics.mean_accuracy == 0.75  # no label of class 1 to get right
    assert metrics.frequency_weighted_iou == 0.75
    assert metrics.absent == ()


def test_a_class_never_predicted_has_iou_zero():
    metrics = segmentation_metrics(np.array([[3, 0], [1, 0]]))
    assert metrics.iou.tolist() == [0.75, 0.0] and metrics.accuracy.tolist() == [1.0, 0.0]


@pytest.mark.filterwarnings("error")
def test_no_pixel_at_all():
    metrics = segmentation_metrics(np.zeros((2, 2), np.int32))
    assert all(math.isnan(v) for v in (metrics.pixel_accuracy, metrics.mean_iou, metrics.frequency_weighted_iou))
    assert metrics.absent == (0, 1)
    assert set(metrics.scalars(["a", "b"]).values()) == {None}
    assert "nan" not in format_table(metrics, ["a", "b"])


@pytest.mark.parametrize(
    "matrix, message",
    [
        (np.zeros((2, 3), np.int64), r"square.*\(2, 3\)"),
        (np.zeros((2, 2), np.float32), "float32"),
        (np.array([[-1, 0], [0, 1]]), "int64"),
    ],
)
def test_refuses_what_is_no_confusion_matrix(unchecked, matrix, message):
    with pytest.raises(ValueError, match=message):
        segmentation_metrics(matrix)


def test_scalars_name_every_metric():
    metrics = segmentation_metrics(np.array([[3, 1, 0], [0, 0, 0], [0, 0, 0]]))
    assert metrics.scalars(["sky", "road", "cow"], "val/") == {
        "val/miou": 0.375,
        "val/pixel_accuracy": 0.75,
        "val/mean_accuracy": 0.75,
        "val/frequency_weighted_iou": 0.75,
        "val/iou/sky": 0.75,
        "val/iou/road": 0.0,
        "val/iou/cow": None,
    }
    with pytest.raises(ValueError, match="2 class names for 3 classes"):
        metrics.scalars(["sky", "road"])


def test_table():
    table = format_table(segmentation_metrics(np.array([[3, 1, 0], [0, 0, 0], [0, 0, 0]])), ["sky", "a_long_name", "cow"])
    assert table.splitlines() == [
        "class             IoU      Dice  accuracy",
        "-----------------------------------------",
        "sky              75.0      85.7      75.0",
        "a_long_name       0.0       0.0         -",
        "cow                 -         -         -",
        "-----------------------------------------",
        "mean             37.5      42.9      75.0",
        "pixel accuracy 75.0   frequency-weighted IoU 75.0",
        "absent from labels and predictions, in no mean: cow",
    ]


def test_table_of_odd_names():
    names = ["道路", "x" * 60, "\x1b[31mred\n"]
    table = format_table(segmentation_metrics(np.diag([1, 1, 0])), names).splitlines()
    assert table[2] == "道路" + " " * 36 + "     100.0     100.0     100.0"
    assert table[3] == "x" * 39 + "…     100.0     100.0     100.0"
    assert table[4].startswith(r"\x1b[31mred\n ") and table[-1].endswith(r"in no mean: \x1b[31mred\n")


def test_a_list_of_many_absent_classes_is_broken_into_lines():
    table = format_table(segmentation_metrics(np.diag([1] + 50 * [0])), [f"class {i}" for i in range(51)])
    assert max(map(len, table.splitlines())) <= 80 and table.endswith("class 50")
