"""The thresholds by which star-convex objects of a data set are found best."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Int32, Int64, Integer

from fcn.instances.boundaries import renumbered
from fcn.instances.polygons import covered
from fcn.instances.stars import Stars, suppress
from fcn.metrics import Metric
from fcn.metrics.instances import Matching, match_all

THRESHOLDS = tuple(np.round(np.arange(0.1, 0.91, 0.025), 3).tolist())
OVERLAPS = (0.3, 0.4, 0.5)
CRITERIA = (0.3, 0.5, 0.7)


class StarThresholds(NamedTuple):
    """What the options of the task `stardist` should be.

    Attributes:
        threshold: the least probability.
        overlap: from which the less probable object falls.
        ap: the mean of what is reached at an IoU of 0.3, 0.5 and 0.7.
    """

    threshold: float
    overlap: float
    ap: float


class StarTuning(Metric[Int64[np.ndarray, "overlaps thresholds 3 3"]]):
    """A metric whose predictions are `candidates` of low probability; it computes `StarThresholds`.

    What `stardist` searches by golden section is counted here for all thresholds at once: a polygon is suppressed by more
    probable ones only, so that those above a higher threshold stay what they are. As there, the mean accuracy at three overlaps
    decides, of all images together.

    Args:
        thresholds: of the probability, rising.
        overlaps: of suppression.
        min_size: objects of fewer pixels are left out.
    """

    def __init__(self, thresholds: Sequence[float] = THRESHOLDS, overlaps: Sequence[float] = OVERLAPS, *, min_size: int = 0):
        self.thresholds, self.overlaps, self.min_size = tuple(thresholds), tuple(overlaps), min_size

    def init(self):
        """No image."""
        return np.zeros((len(self.overlaps), len(self.thresholds), len(CRITERIA), 3), np.int64)

    def count(self, predictions: Any, labels: Any):
        """Matches the objects of each image of a batch, at all thresholds; not compiled."""
        counts = self.init()
        for stars, true in zip(predictions, labels, strict=True):
            for row, overlap in zip(counts, self.overlaps):
                row += self._counted(suppress(stars, overlap), np.asarray(true))
        return counts

    def merge(self, state, other):
        """The images of both."""
        return state + other

    def compute(self, state) -> StarThresholds:
        """The best thresholds; of equal ones the lowest.

        Raises:
            ValueError: no image has an object, so that all are equal.
        """
        if not state[..., [0, 2]].any():  # matched and missed
            raise ValueError("no image has an object; thresholds cannot be tuned")
        ap = np.array([[np.mean([Matching(tp, fp, fn, 0.0).ap for tp, fp, fn in at.tolist()]) for at in row] for row in state])
        row, column = np.unravel_index(np.argmax(ap), ap.shape)
        return StarThresholds(self.thresholds[column], self.overlaps[row], float(ap[row, column]))

    def _counted(self, kept: Stars, true: Integer[np.ndarray, "h w"]) -> Int64[np.ndarray, "thresholds 3 3"]:
        """Objects that are matched, invented and missed; each threshold, from the highest on, adds those behind the others."""
        found = np.zeros(true.shape, np.int32)
        polygons, done, rows = kept.polygons().astype(np.float64), 0, []
        for threshold in reversed(self.thresholds):
            until = int(np.sum(kept.probabilities > threshold))
            _paint_behind(found, polygons[done:until], done + 1)
            done = until
            matched = match_all(true, renumbered(found, self.min_size), CRITERIA)
            rows.append([(one.tp, one.fp, one.fn) for one in matched])
        return np.array(rows[::-1], np.int64)


def _paint_behind(image: Int32[np.ndarray, "h w"], polygons, first: int) -> None:
    """Adds objects where there are none, each numbered one more than that before it."""
    for number, polygon in enumerate(polygons, first):
        box, mask = covered(polygon, image.shape)
        image[box][mask & (image[box] == 0)] = number
