"""The thresholds of star-convex objects: counted at once as if each were tried, and the best of them."""

import numpy as np
import pytest

from fcn import tasks
from fcn.instances import Stars, paint, suppress
from fcn.instances.tuning import CRITERIA, StarTuning
from fcn.metrics.instances import match_all


def crowd():
    """Twelve discs in a row that overlap more and more, of probabilities that fall and rise, and their truth: every second."""
    columns = 8 + np.cumsum([14, 13, 12, 11, 10, 9, 8, 7, 6, 6, 5, 5])
    points = np.stack([np.full(12, 12), columns], -1)
    probabilities = np.array([0.9, 0.35, 0.8, 0.3, 0.7, 0.32, 0.62, 0.5, 0.55, 0.2, 0.45, 0.25])
    order = np.argsort(-probabilities)
    stars = Stars(points[order], np.full((12, 16), 6.0, np.float32), probabilities[order])
    even = Stars(points[::2], np.full((6, 16), 6.0, np.float32), np.ones(6))
    return stars, paint(even, (24, 128))


def test_counts_are_those_of_each_threshold_tried():
    stars, true = crowd()
    metric = StarTuning((0.1, 0.4, 0.6), (0.1, 0.3, 0.5))
    counts = metric.count([stars, stars], [true, true])
    for row, overlap in zip(counts, metric.overlaps, strict=True):
        for found, threshold in zip(row, metric.thresholds, strict=True):
            kept = suppress(Stars(*(part[stars.probabilities > threshold] for part in stars)), overlap)
            expected = match_all(true, paint(kept, true.shape), CRITERIA)
            assert found.tolist() == [[2 * one.tp, 2 * one.fp, 2 * one.fn] for one in expected]
    assert len(np.unique(counts, axis=0)) == 3  # each makes a difference
    np.testing.assert_array_equal(metric.merge(counts, metric.init()), counts)


def test_the_best_thresholds_are_found():
    """Of four discs those of 0.9 and 0.5 are true; that of 0.6 shares more than 0.3 of its area, and less than 0.4."""
    points = np.array([[10, 10], [10, 16], [30, 10], [30, 30]])
    probabilities = np.array([0.9, 0.6, 0.5, 0.31])
    stars = Stars(points, np.full((4, 32), 6.0, np.float32), probabilities)
    true = paint(Stars(points[[0, 2]], stars.distances[:2], probabilities[:2]), (40, 40))
    metric = StarTuning()
    assert metric.compute(metric.count([stars], [true])) == pytest.approx((0.325, 0.3, 1.0))
    with pytest.raises(ValueError, match="no image has an object; thresholds cannot be tuned"):
        metric.compute(metric.count([stars], [true * 0]))


def test_a_task_tells_what_to_tune():
    task = tasks.make("stardist", ["cell"], rays=8, min_size=3)
    tuning = task.tuning()
    scores = np.zeros((9, 9, 9), np.float32)
    scores[4, 4] = [0.2, *[3.0] * 8]
    stars = tuning.prediction(scores)
    assert stars.points.tolist() == [[4, 4]] and tuning.metric().min_size == 3 and not task.prediction(scores).any()
    assert tasks.make("flows", ["cell"]).tuning() is None
