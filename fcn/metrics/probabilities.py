"""Metrics of predicted probabilities, on the host: whether they mean what they say, and which threshold serves best."""

import dataclasses
from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Int64, Integer

from fcn.metrics.protocol import Metric
from fcn.metrics.scores import divide


class CalibrationState(NamedTuple):
    """Pixels by confidence: how many, how many of them right, and the sum of their confidence; [bins] each."""

    counts: Int64[np.ndarray, " bins"]
    correct: Int64[np.ndarray, " bins"]
    confidence: Float[np.ndarray, " bins"]


@dataclasses.dataclass(frozen=True, eq=False)
class Reliability:
    """A reliability diagram, and how far it is from the diagonal.

    Attributes:
        counts: int64 [bins], pixels whose confidence lies in each bin.
        confidence: float64 [bins], their mean confidence; NaN where there are none.
        accuracy: float64 [bins], the share of them that is right; NaN where there are none.
        ece: expected calibration error, the mean over pixels of |accuracy - confidence| of their bin.
        mce: maximum calibration error, the largest of these differences.
    """

    counts: Int64[np.ndarray, " bins"]
    confidence: Float[np.ndarray, " bins"]
    accuracy: Float[np.ndarray, " bins"]
    ece: float
    mce: float


class Calibration(Metric[CalibrationState]):
    """How often predictions are right, by how sure they are.

    Guo et al., "On Calibration of Modern Neural Networks", ICML 2017, section 2. The confidence of a pixel is the
    probability of the class that is predicted.

    Args:
        bins: M intervals ((m - 1) / M, m / M] of confidence; 15 in the paper.
        ignore_index: the label of pixels that do not count, beside those that are no class.
    """

    def __init__(self, bins: int = 15, ignore_index: int = 255):
        if bins < 1:
            raise ValueError(f"bins is {bins}; it must be at least 1")
        self.bins, self.ignore_index = bins, ignore_index

    def init(self) -> CalibrationState:
        """No pixel."""
        counts, correct = np.zeros((2, self.bins), np.int64)
        return CalibrationState(counts, correct, np.zeros(self.bins))

    def count(self, predictions: Float[np.ndarray, "*pixels k"], labels: Integer[np.ndarray, "*pixels"]) -> CalibrationState:
        """Counts a batch; not compiled.

        Args:
            predictions: probabilities [B, H, W, K], with K = 1 that of the one object.
            labels: class ids [B, H, W]; with K = 1 0 and 1.

        Raises:
            ValueError: for shapes that do not match, or what is no probability.
        """
        probabilities, labels = _checked(predictions, labels)
        if probabilities.shape[-1] == 1:
            probabilities = np.concatenate([1 - probabilities, probabilities], -1)
        valid = (labels != self.ignore_index) & (labels >= 0) & (labels < probabilities.shape[-1])
        chosen, labels = probabilities[valid], labels[valid]
        confidence = chosen.max(-1)
        bins = np.clip(np.ceil(confidence * self.bins).astype(int) - 1, 0, self.bins - 1)
        right = np.bincount(bins[chosen.argmax(-1) == labels], minlength=self.bins)
        sums = np.bincount(bins, confidence, self.bins)
        return CalibrationState(np.bincount(bins, minlength=self.bins), right, sums)

    def merge(self, state: CalibrationState, other: CalibrationState) -> CalibrationState:
        """The pixels of both."""
        return CalibrationState(*(a + b for a, b in zip(state, other)))

    def compute(self, state: CalibrationState) -> Reliability:
        """The diagram; its errors are NaN where nothing was counted."""
        confidence, accuracy = divide(state.confidence, state.counts), divide(state.correct, state.counts)
        gaps = np.where(state.counts > 0, np.abs(accuracy - confidence), 0)
        total = state.counts.sum()
        ece = float(divide((gaps * state.counts).sum(), total))
        return Reliability(state.counts, confidence, accuracy, ece, float(gaps.max()) if total else np.nan)


@dataclasses.dataclass(frozen=True, eq=False)
class Curve:
    """Precision and recall of the pixels whose probability is at least a threshold.

    Attributes:
        thresholds: float64 [n], rising from 0.
        precision: float64 [n]; NaN where nothing is predicted.
        recall: float64 [n], falling from 1; NaN without any object.
        average_precision: the area below the curve, by steps.
    """

    thresholds: Float[np.ndarray, " n"]
    precision: Float[np.ndarray, " n"]
    recall: Float[np.ndarray, " n"]
    average_precision: float

    def f_beta(self, beta: int | float = 1.0) -> Float[np.ndarray, " n"]:
        """F-beta at each threshold; 0 where nothing is predicted."""
        return np.nan_to_num(divide((1 + beta**2) * self.precision * self.recall, beta**2 * self.precision + self.recall))

    def best_threshold(self, beta: int | float = 1.0) -> float:
        """The threshold with the largest F-beta; of several the one in their middle."""
        values = self.f_beta(beta)
        best = np.flatnonzero(values == values.max())
        return float(self.thresholds[best[len(best) // 2]])


class PrecisionRecall(Metric[np.ndarray]):
    """The precision-recall curve of one object. A state is int64 [2, bins]: pixels by label and probability.

    Davis, Goadrich, "The Relationship Between Precision-Recall and ROC Curves", ICML 2006; the area as in scikit-learn.

    Args:
        bins: thresholds 0, 1 / bins, 2 / bins ...; between them the curve is not known.
        ignore_index: the label of pixels that do not count; what is no 0 or 1 does not count either.
    """

    def __init__(self, bins: int = 1000, ignore_index: int = 255):
        if bins < 1:
            raise ValueError(f"bins is {bins}; it must be at least 1")
        self.thresholds, self.ignore_index = np.arange(bins) / bins, ignore_index

    def init(self) -> np.ndarray:
        """No pixel."""
        return np.zeros((2, len(self.thresholds)), np.int64)

    def count(self, predictions: Float[np.ndarray, "*pixels"], labels: Integer[np.ndarray, "*pixels"]) -> np.ndarray:
        """Counts a batch; not compiled.

        Args:
            predictions: probabilities [B, H, W] of the object.
            labels: 0, 1 or `ignore_index` [B, H, W].

        Raises:
            ValueError: for shapes that do not match, or what is no probability.
        """
        probabilities, labels = _checked(np.asarray(predictions)[..., None], labels)
        bins = np.searchsorted(self.thresholds, probabilities[..., 0], side="right") - 1
        valid = labels != self.ignore_index
        return np.stack([np.bincount(bins[valid & (labels == c)], minlength=len(self.thresholds)) for c in (0, 1)])

    def merge(self, state: np.ndarray, other: np.ndarray) -> np.ndarray:
        """The pixels of both."""
        return state + other

    def compute(self, state: np.ndarray) -> Curve:
        """The curve."""
        fp, tp = np.cumsum(state[:, ::-1], 1)[:, ::-1]
        precision, recall = divide(tp, tp + fp), divide(tp, state[1].sum())
        steps = np.append(recall[:-1] - recall[1:], recall[-1])
        area = float(np.sum(steps * np.nan_to_num(precision)))  # nothing predicted, no step
        return Curve(self.thresholds, precision, recall, area)


def _checked(probabilities, labels) -> tuple[np.ndarray, np.ndarray]:
    probabilities, labels = np.asarray(probabilities, np.float64), np.asarray(labels)
    if probabilities.shape[:-1] != labels.shape:
        raise ValueError(f"labels {labels.shape} must have the shape of the pixels of the probabilities {probabilities.shape}")
    if probabilities.size and not (probabilities.min() >= 0 and probabilities.max() <= 1 + 1e-6):
        low, high = probabilities.min(), probabilities.max()
        raise ValueError(f"probabilities run from 0 to 1, these from {low:g} to {high:g}; apply softmax or sigmoid first")
    return probabilities, labels
