"""Segmentation metrics from one integer confusion matrix: counted on the device, evaluated on the host.

    total = np.zeros((k, k), np.int64)
    for batch in batches:
        total += np.asarray(confusion_matrix(logits.argmax(-1), labels, k))
    metrics = segmentation_metrics(total)

Definitions: Long, Shelhamer, Darrell, "Fully Convolutional Networks for Semantic Segmentation", CVPR 2015, section 5.
"""

import dataclasses
import textwrap
from collections.abc import Sequence

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int32, Integer

from fcn.metrics.scores import divide
from fcn.text import columns, pad, short_name


def confusion_matrix(
    predictions: Integer[Array | np.ndarray, "*pixels"],
    labels: Integer[Array | np.ndarray, "*pixels"],
    num_classes: int,
    *,
    ignore_index: int = 255,
) -> Int32[Array, "{num_classes} {num_classes}"]:
    """Counts pixels by label (row) and prediction (column); integers throughout, so that every count is exact.

    Args:
        predictions: [B, H, W] integers 0..K-1 (any number of axes).
        labels: [B, H, W] integers 0..K-1 or `ignore_index`.
        num_classes: K; static under `jit`.
        ignore_index: the label of pixels that do not count. Pixels whose label or prediction is outside 0..K-1 do not count
            either, because a compiled function cannot raise; `fcn.data.check_source` finds such labels.

    Returns:
        int32 [K, K]; exact up to 2^31 pixels. Add the matrices of several batches as int64 on the host.

    Raises:
        ValueError: for shapes that do not match.
    """
    if predictions.shape != labels.shape:
        raise ValueError(f"predictions {predictions.shape} and labels {labels.shape} must have the same shape")
    predictions, labels = jnp.asarray(predictions, jnp.int32), jnp.asarray(labels, jnp.int32)
    counted = (labels != ignore_index) & (labels >= 0) & (labels < num_classes)
    counted &= (predictions >= 0) & (predictions < num_classes)
    cell = jnp.where(counted, labels * num_classes + predictions, num_classes**2)  # one cell more, for what is not counted
    counts = jnp.zeros(num_classes**2 + 1, jnp.int32).at[cell.ravel()].add(1)
    return counts[:-1].reshape(num_classes, num_classes)


@dataclasses.dataclass(frozen=True, eq=False)
class SegmentationMetrics:
    """The metrics of one confusion matrix; all in 0..1, NaN where undefined.

    Attributes:
        pixel_accuracy: share of the pixels whose prediction is their label.
        mean_accuracy: mean of `accuracy` over the classes that occur in the labels.
        mean_iou: mean of `iou` over the classes that occur in labels or predictions.
        frequency_weighted_iou: mean of `iou` weighted by the pixels of each class in the labels.
        iou: float64 [K], intersection over union; 0 for a class that is predicted but never labelled.
        dice: float64 [K], 2 iou / (1 + iou), also called F1.
        accuracy: float64 [K], share of the class's pixels that are predicted so (recall).
        absent: ids of the classes that occur in neither labels nor predictions; their metrics are NaN and in no mean.
    """

    pixel_accuracy: float
    mean_accuracy: float
    mean_iou: float
    frequency_weighted_iou: float
    iou: Float[np.ndarray, " k"]
    dice: Float[np.ndarray, " k"]
    accuracy: Float[np.ndarray, " k"]
    absent: tuple[int, ...]

    def scalars(self, classes: Sequence[str], prefix: str = "") -> dict[str, float | None]:
        """The metrics by name, for logs: "miou", "pixel_accuracy", ..., "iou/CLASS"; None where undefined."""
        _check_names(classes, len(self.iou))
        values = {
            "miou": self.mean_iou,
            "pixel_accuracy": self.pixel_accuracy,
            "mean_accuracy": self.mean_accuracy,
            "frequency_weighted_iou": self.frequency_weighted_iou,
            **{f"iou/{name}": float(value) for name, value in zip(classes, self.iou)},
        }
        return {prefix + name: None if np.isnan(value) else value for name, value in values.items()}


def segmentation_metrics(matrix: Integer[np.ndarray, "k k"]) -> SegmentationMetrics:
    """Evaluates a confusion matrix (row = label, column = prediction) on the host, in float64.

    Args:
        matrix: integers [K, K], not negative; int64 for the sum over a data set.

    Raises:
        ValueError: for a matrix that is not square, not of integers (float32 counts are wrong beyond 2^24) or negative.
    """
    matrix = _check_matrix(matrix)
    correct, labelled, predicted = np.diag(matrix), matrix.sum(1), matrix.sum(0)
    union = labelled + predicted - correct
    iou = divide(correct, union)
    accuracy = divide(correct, labelled)
    return SegmentationMetrics(
        pixel_accuracy=float(divide(correct.sum(), matrix.sum())),
        mean_accuracy=_mean(accuracy),
        mean_iou=_mean(iou),
        frequency_weighted_iou=float(divide(np.nansum(labelled * iou), labelled.sum())),
        iou=iou,
        dice=divide(2 * correct, labelled + predicted),
        accuracy=accuracy,
        absent=tuple(int(c) for c in np.flatnonzero(union == 0)),
    )


def format_table(metrics: SegmentationMetrics, classes: Sequence[str]) -> str:
    """A table for the terminal, in per cent: a line per class, the means, and which classes were left out of them.

    Long names are cut, control characters in them are escaped.
    """
    _check_names(classes, len(metrics.iou))
    classes = [short_name(name) for name in classes]
    width = max(5, *map(columns, classes))

    def percent(value):
        return "-" if np.isnan(value) else f"{100 * value:.1f}"

    def line(title, *values):
        return pad(title, width) + "".join(f"{percent(v):>10}" for v in values)

    rule = "-" * (width + 30)
    pixel_accuracy, weighted = percent(metrics.pixel_accuracy), percent(metrics.frequency_weighted_iou)
    table = [
        f"{'class':<{width}}{'IoU':>10}{'Dice':>10}{'accuracy':>10}",
        rule,
        *(line(*row) for row in zip(classes, metrics.iou, metrics.dice, metrics.accuracy)),
        rule,
        line("mean", metrics.mean_iou, _mean(metrics.dice), metrics.mean_accuracy),
        f"pixel accuracy {pixel_accuracy}   frequency-weighted IoU {weighted}",
    ]
    if metrics.absent:
        names = ", ".join(classes[c] for c in metrics.absent)
        table.append(textwrap.fill(f"absent from labels and predictions, in no mean: {names}", 80, subsequent_indent="  "))
    return "\n".join(table)


def _mean(values) -> float:
    """Mean of the values that are not NaN; NaN if there are none."""
    defined = values[~np.isnan(values)]
    return float(defined.mean()) if defined.size else float("nan")


def _check_matrix(matrix) -> np.ndarray:
    matrix = np.asarray(matrix)
    if matrix.ndim != 2 or matrix.shape[0] != matrix.shape[1]:
        raise ValueError(f"a confusion matrix is square, [K, K], not {matrix.shape}")
    if not np.issubdtype(matrix.dtype, np.integer):
        raise ValueError(f"counts must be integers, not {matrix.dtype}: float32 counts are wrong beyond 2^24 pixels")
    if (matrix < 0).any():
        raise ValueError("a confusion matrix has no negative counts; this one has overflowed: add batches as int64")
    return matrix.astype(np.int64)


def _check_names(classes: Sequence[str], count: int) -> None:
    if len(classes) != count:
        raise ValueError(f"{len(classes)} class names for {count} classes")
