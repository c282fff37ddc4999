"""Calibration and precision-recall curves against loops and scikit-learn's definitions."""

import numpy as np
import pytest

from fcn.metrics import Calibration, PrecisionRecall
from fcn.visualize import plot_precision_recall, plot_reliability

RNG = np.random.default_rng(0)


def gathered(metric, predictions, labels):
    """Over two batches, merged."""
    parts = [metric.update(metric.init(), predictions[rows], labels[rows]) for rows in (slice(0, 2), slice(2, None))]
    return metric.compute(metric.merge(*parts))


def test_calibration_equals_a_loop_over_pixels():
    logits = RNG.normal(0, 2, (3, 8, 9, 4)).astype(np.float32)
    probabilities = np.exp(logits) / np.exp(logits).sum(-1, keepdims=True)
    labels = np.where(RNG.random((3, 8, 9)) < 0.5, logits.argmax(-1), RNG.integers(0, 4, (3, 8, 9)))
    labels[0, :3] = 255
    result = gathered(Calibration(bins=10), probabilities, labels)
    valid = labels.ravel() != 255
    confidence = probabilities.max(-1).ravel()[valid].astype(float)
    right = (probabilities.argmax(-1) == labels).ravel()[valid]
    gaps = []
    for m in range(10):
        inside = (confidence > m / 10) & (confidence <= (m + 1) / 10)
        assert result.counts[m] == inside.sum()
        if inside.any():
            np.testing.assert_allclose(
                [result.accuracy[m], result.confidence[m]], [right[inside].mean(), confidence[inside].mean()]
            )
            gaps.append((inside.sum(), abs(right[inside].mean() - confidence[inside].mean())))
        else:
            assert np.isnan(result.accuracy[m])
    assert result.ece == pytest.approx(sum(n * gap for n, gap in gaps) / valid.sum(), rel=1e-12)
    assert result.mce == pytest.approx(max(gap for _, gap in gaps), rel=1e-12)


def test_calibration_of_one_object():
    """0.9 right in nine of ten, 0.2 (that is, 0.8 for the background) right in all of five."""
    probabilities = np.array([0.9] * 10 + [0.2] * 5)[:, None]
    labels = np.array([1] * 9 + [0] + [0] * 5)
    result = gathered(Calibration(bins=20), probabilities, labels)
    assert result.ece == pytest.approx(5 * 0.2 / 15)
    assert result.mce == pytest.approx(0.2)
    assert result.counts[[15, 17]].tolist() == [5, 10]
    assert np.isnan(Calibration().compute(Calibration().init()).ece)


def slow_curve(probabilities, labels, thresholds):
    for t in thresholds:
        chosen = probabilities >= t
        tp = np.sum(chosen & (labels == 1))
        yield tp / chosen.sum() if chosen.any() else np.nan, tp / np.sum(labels == 1)


def test_the_curve_equals_a_loop_over_thresholds():
    labels = RNG.integers(0, 2, (4, 50))
    probabilities = np.round(
        np.clip(0.5 + (labels - 0.5) * 0.3 + RNG.normal(0, 0.2, labels.shape), 0, 0.95), 2
    )  # at thresholds
    labels[0, :20] = 255
    result = gathered(PrecisionRecall(bins=100), probabilities, labels)
    p, t = probabilities[labels != 255], labels[labels != 255]
    np.testing.assert_allclose(np.stack([result.precision, result.recall], 1), list(slow_curve(p, t, np.arange(100) / 100)))
    order = np.sort(np.unique(p))  # scikit-learn's average precision: over all different probabilities
    points = [*slow_curve(p, t, order), (1, 0)]
    expected = sum((points[i][1] - points[i + 1][1]) * points[i][0] for i in range(len(order)))
    assert result.average_precision == pytest.approx(expected, rel=1e-12)
    precision, recall = np.array(list(slow_curve(p, t, order))).T
    best = np.max(5 * precision * recall / (4 * precision + recall))
    assert result.f_beta(2).max() == pytest.approx(best)
    chosen = p >= result.best_threshold(2)
    assert 5 * np.sum(chosen & (t == 1)) / (chosen.sum() + 4 * t.sum()) == pytest.approx(best)


def test_of_equal_thresholds_the_middle_is_the_best():
    result = gathered(PrecisionRecall(bins=10), np.array([0.25, 0.3, 0.75, 0.7]), np.array([0, 0, 1, 1]))
    assert result.best_threshold() == 0.6  # 0.4 to 0.7 tell them apart
    assert result.average_precision == 1


@pytest.mark.parametrize(("metric", "shape"), [(Calibration(), (2, 1)), (PrecisionRecall(), (2,))])
def test_logits_are_no_probabilities(metric, shape):
    with pytest.raises(ValueError, match=r"from 0 to 1, these from -1 to 2; apply softmax or sigmoid first"):
        metric.count(np.reshape([-1.0, 2.0], shape), np.array([0, 1]))


@pytest.mark.parametrize("make", [Calibration, PrecisionRecall])
def test_there_is_at_least_one_bin(make):
    with pytest.raises(ValueError, match="bins is 0; it must be at least 1"):
        make(bins=0)


def test_diagrams_show_what_was_counted(tmp_path, monkeypatch):
    """The heights of bars and the points of the line, as matplotlib was told."""
    from fcn.visualize import plots

    drawn = []
    monkeypatch.setattr(plots, "_save", lambda figure, path: drawn.append(figure.axes[0]))
    reliability = gathered(Calibration(bins=4), np.array([0.9] * 3 + [0.6])[:, None], np.array([1, 1, 0, 1]))
    plot_reliability(reliability.confidence, reliability.accuracy, reliability.counts, tmp_path / "x.png")
    bars = [bar.get_height() for bar in drawn[0].patches]
    np.testing.assert_allclose(bars, [0, 0, 1, 2 / 3])
    curve = gathered(PrecisionRecall(bins=10), np.array([0.25, 0.5, 0.75, 0.8]), np.array([0, 1, 0, 1]))
    plot_precision_recall(curve.precision, curve.recall, tmp_path / "y.png")
    x, y = drawn[1].lines[0].get_data()
    np.testing.assert_allclose([x[0], y[0], x[-1], y[-1]], [1, 0.5, 0.5, 1])
