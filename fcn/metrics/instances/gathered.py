"""Metrics of instance maps over a data set."""

import dataclasses
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Float, Int64, Integer

from fcn.metrics.instances.matching import Criterion, Matching, check_thresholds, match, match_all
from fcn.metrics.protocol import Metric

THRESHOLDS = tuple(round(0.5 + 0.05 * i, 2) for i in range(10))
Classes = Integer[np.ndarray, " ids"] | Sequence[int]


class InstanceState(NamedTuple):
    """Of each image and threshold: matched, invented and missed objects, int64 [N, T, 3], and the sum of overlaps, [N, T]."""

    counts: Int64[np.ndarray, "n t 3"]
    overlap: Float[np.ndarray, "n t"]


@dataclasses.dataclass(frozen=True, eq=False)
class InstanceMetrics:
    """What instance maps of a data set are worth.

    Attributes:
        thresholds: of overlap, T of them.
        pooled: all objects of all images together, at each threshold: `.ap`, `.f1`, `.pq` ...
        images: the same for each image, N lists.
        count_error: the mean over images of |predicted - true objects|.
        count_bias: the mean of predicted - true objects.
    """

    thresholds: tuple[float, ...]
    pooled: list[Matching]
    images: list[list[Matching]]
    count_error: float
    count_bias: float

    def mean(self, name: str) -> Float[np.ndarray, " t"]:
        """The mean over images of "ap", "f1", "pq" ... at each threshold; images without any object are left out."""
        values = np.array([[getattr(one, name) for one in image] for image in self.images]).reshape(-1, len(self.thresholds))
        defined = ~np.isnan(values)
        return np.where(defined, values, 0).sum(0) / np.where(defined.any(0), defined.sum(0), np.nan)

    @property
    def mean_ap(self) -> float:
        """The mean over thresholds of the pooled AP."""
        return float(np.mean([one.ap for one in self.pooled]))


class Instances(Metric[InstanceState]):
    """Instance maps against true ones: pooled, and image by image.

    Caicedo et al., "Nucleus segmentation across imaging experiments: the 2018 Data Science Bowl", Nature Methods 16, 2019.

    Args:
        thresholds: of overlap; 0.5, 0.55 ... 0.95 by default.
        criterion: what overlap is, as in `match`.
    """

    def __init__(self, thresholds: Sequence[float] = THRESHOLDS, criterion: Criterion = "iou"):
        check_thresholds(thresholds)
        self.thresholds = tuple(thresholds)
        self.criterion: Criterion = criterion

    def init(self) -> InstanceState:
        """No image."""
        return _state([], len(self.thresholds))

    def count(self, predictions: Any, labels: Any) -> InstanceState:
        """Matches the objects of each image of a batch; not compiled.

        Args:
            predictions: instance maps [H, W], one for each image.
            labels: the true ones, as `match` takes them.
        """
        rows = [match_all(t, p, self.thresholds, criterion=self.criterion) for p, t in zip(predictions, labels, strict=True)]
        return _state(rows, len(self.thresholds))

    def merge(self, state: InstanceState, other: InstanceState) -> InstanceState:
        """The images of both."""
        return InstanceState._make(np.concatenate(both) for both in zip(state, other))

    def compute(self, state: InstanceState) -> InstanceMetrics:
        """All metrics."""

        def matchings(counts, overlap):
            return [_matching(row, total) for row, total in zip(counts, overlap)]

        bias = state.counts[:, 0, 1] - state.counts[:, 0, 2]  # invented less missed
        error, mean = (float(each.mean()) if len(bias) else float("nan") for each in (np.abs(bias), bias))
        pooled = matchings(state.counts.sum(0), state.overlap.sum(0))
        return InstanceMetrics(self.thresholds, pooled, list(map(matchings, *state)), error, mean)


class Panoptic(Metric[InstanceState]):
    """Panoptic quality: objects match where their classes are the same and their IoU is above 0.5.

    Kirillov et al., "Panoptic Segmentation", CVPR 2019. A state counts by class in place of threshold: [N, K, 3] and [N, K].

    Args:
        num_classes: K.
    """

    def __init__(self, num_classes: int):
        self.num_classes = num_classes

    def init(self) -> InstanceState:
        """No image."""
        return _state([], self.num_classes)

    def count(self, predictions: Any, labels: Any) -> InstanceState:
        """Matches the objects of each image of a batch; not compiled.

        Args:
            predictions: for each image (instance map [H, W], class of each id: an array that ids are an index of).
            labels: the same, true; map ids below 0 for pixels that count nowhere.
        """
        return _state([self._match(*image) for image in zip(predictions, labels, strict=True)], self.num_classes)

    def _match(self, predicted, true) -> list[Matching]:
        above = float(np.nextafter(0.5, 1))
        (ids, classes), (found, called) = true, predicted
        return [match(_of_class(ids, classes, c), _of_class(found, called, c), above) for c in range(self.num_classes)]

    def merge(self, state: InstanceState, other: InstanceState) -> InstanceState:
        """The images of both."""
        return InstanceState._make(np.concatenate(both) for both in zip(state, other))

    def compute(self, state: InstanceState) -> list[Matching]:
        """Of each class, all images together: `.pq`, `.sq`, `.rq`; NaN for a class that is nowhere."""
        return [_matching(row, total) for row, total in zip(state.counts.sum(0), state.overlap.sum(0))]


def _state(rows: Sequence[Sequence[Matching]], size: int) -> InstanceState:
    """Of the matchings of each image, `size` of them."""
    counts = [[(one.tp, one.fp, one.fn) for one in row] for row in rows]
    overlap = [[one.overlap for one in row] for row in rows]
    return InstanceState(np.reshape(counts, (-1, size, 3)).astype(np.int64), np.reshape(overlap, (-1, size)).astype(float))


def _matching(counts: Int64[np.ndarray, " 3"], overlap: float) -> Matching:
    tp, fp, fn = map(int, counts)
    return Matching(tp, fp, fn, float(overlap))


def _of_class(ids, classes: Classes, wanted: int) -> np.ndarray:
    """The objects of one class; what is no object stays as it is."""
    classes = np.asarray(classes)
    return np.where((ids > 0) & (classes[np.maximum(ids, 0)] != wanted), 0, ids)
