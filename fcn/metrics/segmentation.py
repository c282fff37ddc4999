"""Metrics of class maps over a data set: one state, from which every score is taken, of all images or of each."""

import functools
from collections.abc import Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Integer

from fcn.metrics.confusion import SegmentationMetrics, confusion_matrix, segmentation_metrics
from fcn.metrics.protocol import Metric
from fcn.metrics.scores import Counts, counts_of, divide, score


class SegmentationState(NamedTuple):
    """What was counted.

    Attributes:
        matrix: integers [K, K], the confusion matrix of all images, row = label, column = prediction.
        images: integers [N, K], the counts of each image, in the order in which they came.
    """

    matrix: Integer[Array | np.ndarray, "k k"]
    images: Counts


class Segmentation(Metric[SegmentationState]):
    """One class for each pixel: `score("iou", state.images)`, `cohen_kappa(state.matrix)`, `compute(state)`.

    Args:
        num_classes: K.
        ignore_index: the label of pixels that do not count.
    """

    def __init__(self, num_classes: int, ignore_index: int = 255):
        self.num_classes, self.ignore_index = num_classes, ignore_index

    def init(self) -> SegmentationState:
        """No image."""
        k = self.num_classes
        return SegmentationState(np.zeros((k, k), np.int64), Counts(*np.zeros((4, 0, k), np.int64)))

    def count(
        self, predictions: Integer[Array | np.ndarray, "b *pixels"], labels: Integer[Array | np.ndarray, "b *pixels"]
    ) -> SegmentationState:
        """Counts a batch, int32; may be compiled. Class ids as in `confusion_matrix`."""
        count = functools.partial(confusion_matrix, num_classes=self.num_classes, ignore_index=self.ignore_index)
        matrices = jax.vmap(count)(predictions, labels)
        return SegmentationState(matrices.sum(0), counts_of(matrices))

    def merge(self, state: SegmentationState, other: SegmentationState) -> SegmentationState:
        """Both, int64."""
        matrix = np.asarray(state.matrix, np.int64) + np.asarray(other.matrix, np.int64)
        return SegmentationState(matrix, behind(state.images, other.images))

    def compute(self, state: SegmentationState) -> SegmentationMetrics:
        """The metrics of the confusion matrix."""
        return segmentation_metrics(np.asarray(state.matrix))


class Multilabel(Metric[Counts]):
    """Several classes for each pixel, or one object (K = 1): `score("f1", state)`. A state is the counts of each image, [N, K].

    Args:
        num_classes: K.
        ignore_index: the label of entries that do not count.
    """

    def __init__(self, num_classes: int = 1, ignore_index: int = 255):
        self.num_classes, self.ignore_index = num_classes, ignore_index

    def init(self) -> Counts:
        """No image."""
        return Counts(*np.zeros((4, 0, self.num_classes), np.int64))

    def count(
        self, predictions: Integer[Array | np.ndarray, "b *pixels k"], labels: Integer[Array | np.ndarray, "b *pixels k"]
    ) -> Counts:
        """Counts a batch, int32; may be compiled.

        Args:
            predictions: 0 or 1.
            labels: 0, 1 or `ignore_index`; what is no 0 or 1 does not count.

        Raises:
            ValueError: for shapes that do not match, or another number of classes.
        """
        if predictions.shape != labels.shape or labels.shape[-1] != self.num_classes:
            shapes = f"predictions {predictions.shape} and labels {labels.shape}"
            raise ValueError(f"{shapes} must have the same shape, with {self.num_classes} classes as the last axis")
        labels, predicted = jnp.asarray(labels, jnp.int32), jnp.asarray(predictions) == 1
        valid = (labels != self.ignore_index) & ((labels == 0) | (labels == 1))
        pixels = tuple(range(1, labels.ndim - 1))

        def total(entries):
            return jnp.sum(entries & valid, axis=pixels, dtype=jnp.int32)

        true = labels == 1
        return Counts(total(predicted & true), total(predicted & ~true), total(~predicted & true), total(~predicted & ~true))

    def merge(self, state: Counts, other: Counts) -> Counts:
        """The images of both, int64."""
        return behind(state, other)

    def compute(self, state: Counts) -> Counts:
        """The counts of all images together, int64 [K]."""
        return Counts(*(np.asarray(count, np.int64).sum(0) for count in state))


def image_scalars(images: Counts, classes: Sequence[str], *, exclusive: bool = True) -> list[dict[str, float | None]]:
    """The metrics of each image by name: "miou", "pixel_accuracy", "iou/CLASS"; None where undefined.

    Args:
        images: integers [N, K].
        classes: K names.
        exclusive: whether a pixel has one class; only then is there a "pixel_accuracy".
    """
    columns = {"miou": np.array([float(score("iou", Counts(*one))) for one in zip(*images)])}
    if exclusive:
        columns["pixel_accuracy"] = divide(np.sum(images.tp, -1), np.sum(images.tp, -1) + np.sum(images.fn, -1))
    columns |= {f"iou/{name}": iou for name, iou in zip(classes, np.asarray(score("iou", images, None)).T, strict=True)}
    rows = zip(*columns.values(), strict=True)
    return [{name: None if np.isnan(value) else float(value) for name, value in zip(columns, row)} for row in rows]


def behind(first: Counts, second: Counts) -> Counts:
    """The images of both, int64."""
    return Counts(*(np.concatenate([a, b]).astype(np.int64) for a, b in zip(first, second)))
