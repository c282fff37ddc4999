"""Which predicted object is which true one: exact, by the overlap of their pixels, one to one."""

import dataclasses
from collections.abc import Sequence
from typing import Literal, get_args

import numpy as np
import scipy  # which loads its parts when they are first used
from jaxtyping import Float, Int64

from fcn.errors import unknown
from fcn.metrics.instances.overlaps import Ids, Overlaps, overlaps

Criterion = Literal["iou", "iot", "iop"]


@dataclasses.dataclass(frozen=True, eq=False)
class Matching:
    """The objects of an image, or of several, that were found, invented and missed.

    Attributes:
        tp: true objects that are matched.
        fp: predicted objects that are not.
        fn: true objects that are not.
        overlap: the sum of the overlaps (IoU) of matched pairs.
        pairs: int64 [tp, 2], true and predicted id of each matched pair; of a single image.
    """

    tp: int
    fp: int
    fn: int
    overlap: float
    pairs: Int64[np.ndarray, "tp 2"] = dataclasses.field(default_factory=lambda: np.zeros((0, 2), np.int64), repr=False)

    @property
    def ap(self) -> float:
        """tp / (tp + fp + fn): accuracy, or average precision of the 2018 Data Science Bowl; NaN without any object."""
        return _quotient(self.tp, self.tp + self.fp + self.fn)

    @property
    def precision(self) -> float:
        """tp / (tp + fp); 0 where nothing is predicted."""
        return _quotient(self.tp, self.tp + self.fp, self.fn)

    @property
    def recall(self) -> float:
        """tp / (tp + fn); 0 where nothing is true."""
        return _quotient(self.tp, self.tp + self.fn, self.fp)

    @property
    def f1(self) -> float:
        """2 tp / (2 tp + fp + fn)."""
        return _quotient(2 * self.tp, 2 * self.tp + self.fp + self.fn)

    @property
    def rq(self) -> float:
        """Recognition quality, the same as F1. Kirillov et al., "Panoptic Segmentation", CVPR 2019, equation 2."""
        return self.f1

    @property
    def sq(self) -> float:
        """Segmentation quality, the mean overlap of matched pairs; 0 where none is."""
        return _quotient(self.overlap, self.tp, self.fp + self.fn)

    @property
    def pq(self) -> float:
        """Panoptic quality, sq * rq."""
        return self.sq * self.rq

    @property
    def mean_true_overlap(self) -> float:
        """The mean over true objects of their overlap, 0 for those that are not matched."""
        return _quotient(self.overlap, self.tp + self.fn, self.fp)


def match(true: Ids, predicted: Ids, threshold: int | float = 0.5, *, criterion: Criterion = "iou") -> Matching:
    """Matches the objects of two instance maps: as many as can be, of these the ones that overlap most.

    Schmidt et al., "Cell Detection with Star-Convex Polygons", MICCAI 2018, section 3; `stardist.matching`.

    Args:
        true: [H, W] (any rank) of one image: 0 for background, a number above 0 for each object, below 0 for pixels that
            count nowhere.
        predicted: the same shape, 0 and numbers above.
        threshold: the least overlap of a pair, above 0 and at most 1.
        criterion: what overlap is: "iou", the intersection over the union; "iot", over the true object; "iop", over the
            predicted one.

    Raises:
        ValueError: for maps of different shapes, ids below 0, a threshold that is no overlap, or an unknown criterion.
    """
    return match_all(true, predicted, [threshold], criterion=criterion)[0]


def match_all(true: Ids, predicted: Ids, thresholds: Sequence[int | float], *, criterion: Criterion = "iou") -> list[Matching]:
    """`match` at several thresholds; the maps are looked through once."""
    check_thresholds(thresholds)
    if criterion not in get_args(Criterion):
        raise unknown("criterion", criterion, get_args(Criterion))
    found = overlaps(true, predicted)
    areas = {"iot": lambda: found.true_areas[found.rows], "iop": lambda: found.predicted_areas[found.columns]}
    scores = found.iou if criterion == "iou" else found.shared / areas[criterion]()
    return [_matching(found, scores, threshold) for threshold in thresholds]


def _matching(found: Overlaps, scores: Float[np.ndarray, " pairs"], threshold: int | float) -> Matching:
    close = np.flatnonzero(scores >= threshold)
    chosen = close[assign(found.rows[close], found.columns[close], scores[close])]
    tp = len(chosen)
    pairs = np.stack([found.true_ids[found.rows[chosen]], found.predicted_ids[found.columns[chosen]]], -1)
    return Matching(tp, len(found.predicted_ids) - tp, len(found.true_ids) - tp, float(scores[chosen].sum()), pairs)


def assign(
    rows: Int64[np.ndarray, " pairs"],
    columns: Int64[np.ndarray, " pairs"],
    scores: Float[np.ndarray, " pairs"],
    threshold: int | float = 0.0,
) -> Int64[np.ndarray, " chosen"]:
    """The pairs of a one-to-one assignment: as many of at least `threshold` as can be, then the largest sum.

    Jonker, Volgenant, "A Shortest Augmenting Path Algorithm for Dense and Sparse Linear Assignment Problems", 1987.

    Args:
        rows, columns: the two objects of each pair, numbers from 0 on.
        scores: of each pair, 0 to 1.
        threshold: see above.

    Returns:
        The numbers of the pairs that are chosen, rising.
    """
    alone = (np.bincount(rows)[rows] == 1) & (np.bincount(columns)[columns] == 1)
    crowded = np.flatnonzero(~alone)
    if not len(crowded):
        return np.flatnonzero(alone)
    (ids, x), (others, y) = (np.unique(part[crowded], return_inverse=True) for part in (rows, columns))
    n, m = len(ids), len(others)
    gains = (scores[crowded] >= threshold) + scores[crowded] / (2 * min(n, m))
    # Each row has a column of its own besides, for no partner, so that all are assigned; 1 more for all changes nothing.
    x, y, gains = np.append(x, np.arange(n)), np.append(y, m + np.arange(n)), np.append(1 + gains, np.ones(n))
    graph = scipy.sparse.csr_array((gains, (x, y)), shape=(n, m + n))
    partner = scipy.sparse.csgraph.min_weight_full_bipartite_matching(graph, maximize=True)[1]
    return np.sort(np.concatenate([np.flatnonzero(alone), crowded[partner[x[: len(crowded)]] == y[: len(crowded)]]]))


def check_thresholds(thresholds: Sequence[int | float]) -> None:
    """Raises ValueError for what is no overlap."""
    wrong = [threshold for threshold in thresholds if not 0 < threshold <= 1]
    if wrong or not len(thresholds):
        raise ValueError(f"a threshold of overlap is above 0 and at most 1, such as 0.5, not {wrong[0] if wrong else 'none'}")


def _quotient(numerator: int | float, denominator: int, more: int = 0) -> float:
    """NaN where nothing was there at all (`more` counts what else there was), 0 where only the denominator is 0."""
    if denominator:
        return numerator / denominator
    return 0.0 if more else float("nan")
