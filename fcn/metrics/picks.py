"""Metrics of picks: the moments at which something begins in a signal, such as the arrivals of waves in a seismogram."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Float32, Int
from scipy.signal import find_peaks

from fcn.metrics.protocol import Metric
from fcn.metrics.scores import divide


class Pick(NamedTuple):
    """A moment that is marked.

    Attributes:
        kind: the class, from 1 on; 0 is what lies between picks.
        sample: its number.
        probability: that of the class there; 1 of labels.
    """

    kind: int
    sample: int
    probability: float = 1.0


class PickState(NamedTuple):
    """What was counted.

    Attributes:
        counts: integers [N, K, 3] of each signal and class: hits, picks that are none, picks that were missed.
        residuals: float64 [hits, 2]: class, and how many samples later than the label the pick is.
    """

    counts: Int[np.ndarray, "n k 3"]
    residuals: Float[np.ndarray, "m 2"]


class PickScores(NamedTuple):
    """Of each class float64 [K], NaN where undefined; mean and deviation are those of the hits, in samples."""

    precision: Float[np.ndarray, " k"]
    recall: Float[np.ndarray, " k"]
    f1: Float[np.ndarray, " k"]
    mean: Float[np.ndarray, " k"]
    deviation: Float[np.ndarray, " k"]


def picks_in(probabilities: Float32[np.ndarray, "l k"], threshold: float = 0.5, distance: int = 50) -> list[Pick]:
    """The peaks of the probabilities of all classes but the first, in order of time.

    Zhu, Beroza, "PhaseNet", 2019: peaks of at least the threshold, the higher ones first, `distance` samples apart.
    """
    found = []
    for kind in range(1, probabilities.shape[1]):
        curve = np.pad(probabilities[:, kind], 1, constant_values=-1)  # a peak at an end is one
        peaks = find_peaks(curve, height=threshold, distance=distance)[0] - 1
        found += [Pick(kind, int(peak), float(probabilities[peak, kind])) for peak in peaks]
    return sorted(found, key=lambda pick: (pick.sample, pick.kind))


class Picks(Metric[PickState]):
    """Precision, recall and F1 of picks, and how far hits are from their labels.

    A pick is a hit where a label of its class lies within the tolerance; each label is hit once, by the nearest pick first.

    Args:
        kinds: K, the classes without the first.
        tolerance: samples.
    """

    def __init__(self, kinds: int, tolerance: int = 10):
        self.kinds, self.tolerance = kinds, tolerance

    def init(self) -> PickState:
        """No signal."""
        return PickState(np.zeros((0, self.kinds, 3), np.int64), np.zeros((0, 2)))

    def count(self, predictions: Sequence[Sequence[Pick]], labels: Sequence[Sequence[Pick]]) -> PickState:
        """Of a batch; on the host."""
        state = self.init()
        for found, true in zip(predictions, labels, strict=True):
            parts = [self._matched(kind, found, true) for kind in range(1, self.kinds + 1)]
            counts = np.array([counts for counts, _ in parts], np.int64).reshape(1, self.kinds, 3)
            state = self.merge(state, PickState(counts, np.concatenate([late for _, late in parts])))
        return state

    def merge(self, state: PickState, other: PickState) -> PickState:
        """The signals of both."""
        return PickState(*(np.concatenate(pair) for pair in zip(state, other, strict=True)))

    def compute(self, state: PickState) -> PickScores:
        """Of all signals together."""
        hits, wrong, missed = state.counts.sum(0).T
        late = [state.residuals[state.residuals[:, 0] == kind, 1] for kind in range(1, self.kinds + 1)]
        mean, deviation = (np.array([of(one) if one.size else np.nan for one in late]) for of in (np.mean, np.std))
        f1 = divide(2 * hits, 2 * hits + wrong + missed)
        return PickScores(divide(hits, hits + wrong), divide(hits, hits + missed), f1, mean, deviation)

    def _matched(self, kind, found, true) -> tuple[tuple[int, int, int], np.ndarray]:
        picks, labels = ([pick.sample for pick in each if pick.kind == kind] for each in (found, true))
        pairs = sorted((abs(pick - label), i, j) for i, pick in enumerate(picks) for j, label in enumerate(labels))
        hits: dict[int, int] = {}
        for far, i, j in pairs:
            if far <= self.tolerance and i not in hits and j not in hits.values():
                hits[i] = j
        late = [[kind, picks[i] - labels[j]] for i, j in hits.items()]
        return (len(hits), len(picks) - len(hits), len(labels) - len(hits)), np.reshape(np.array(late, np.float64), (-1, 2))
