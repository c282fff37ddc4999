"""Which rows of an image the rows of an array are made of, and what operations do to that.

A row depends on an interval of the image's rows. What lies before the image (padding, repeated rows, weights that are others at
the border) counts as -infinity, what lies behind it as infinity: a row whose interval is finite has the same value wherever the
image is cut farther away. All is meant for columns as well.
"""

import dataclasses
import math
from collections.abc import Sequence
from fractions import Fraction
from typing import Any

import numpy as np

NOTHING, BEFORE, BEHIND = (np.array([[a], [b]]) for a, b in ((np.inf, -np.inf), (-np.inf, -np.inf), (np.inf, np.inf)))
FEWEST = 8
"""Times that weights must repeat to be taken for those of a scale; adaptive pooling has fewer windows."""
_SAME_WEIGHT = 1e-3
"""Of float32 interpolation at places up to some thousands; with align_corners weights drift by far more over a map."""


class SizeDependent(ValueError):
    """An operation sees all rows, or treats them by their place in the image; the message goes on after a layer's name."""


@dataclasses.dataclass(frozen=True)
class Rows:
    """Where the rows of an array come from.

    Attributes:
        axis: of the array, along which they lie.
        bounds: [2, n]: the first and the last row of the image that each depends on; infinity, then -infinity for none.
        step: rows of the image from one row to the next.
    """

    axis: int
    bounds: np.ndarray
    step: Fraction = Fraction(1)

    @property
    def count(self) -> int:
        """The number of rows."""
        return self.bounds.shape[1]

    def at(self, axis: int) -> "Rows":
        """The same rows, along another axis."""
        return dataclasses.replace(self, axis=axis)

    def taken(self, rows: slice) -> "Rows":
        """Some of the rows."""
        return dataclasses.replace(self, bounds=self.bounds[:, rows], step=self.step * (rows.step or 1))

    def repeated(self, factor: int) -> "Rows":
        """Each row `factor` times."""
        return dataclasses.replace(self, bounds=np.repeat(self.bounds, factor, 1), step=self.step / factor)

    def grouped(self, factor: int) -> "Rows":
        """One row for each `factor`."""
        groups = self.bounds.reshape(2, -1, factor)
        return dataclasses.replace(self, bounds=union(np.moveaxis(groups, 2, 0)), step=self.step * factor)

    def windowed(self, size: int, stride: int = 1, pads=(0, 0), spacing: int = 1, dilation: int = 1) -> "Rows":
        """The windows of a convolution or a pool.

        Args:
            size: of a window.
            stride: from a window to the next.
            pads: rows before and behind; negative ones are cut off.
            spacing: distance to which the rows are drawn apart, by zeros, before that.
            dilation: distance of the rows in a window.
        """
        spread = np.repeat(NOTHING, (self.count - 1) * spacing + 1, 1)
        spread[:, ::spacing] = self.bounds
        spread = _padded(spread, pads, spacing)
        count = (spread.shape[1] - (size - 1) * dilation - 1) // stride + 1
        starts = range(0, size * dilation, dilation)
        taps = [spread[:, start : start + (count - 1) * stride + 1 : stride] for start in starts]
        return dataclasses.replace(self, bounds=union(taps), step=self.step * stride / spacing)

    def resampled(self, weights: np.ndarray) -> "Rows":
        """Weighted sums of rows, by a matrix [new, old].

        Raises:
            SizeDependent: the weights are not those of a scale that is the same everywhere.
        """
        new, old = weights.shape
        regular = _regular(weights)
        if math.gcd(new, old) < FEWEST or 2 * regular.sum() < new:
            raise SizeDependent(f"resizes {old} rows to {new}, with other weights for each size of the image")
        seen = weights != 0
        first = np.where(seen, self.bounds[0], np.inf).min(1)
        last = np.where(seen, self.bounds[1], -np.inf).max(1)
        before = ~regular & (np.arange(new) < new // 2)
        first[before], last[~regular & ~before] = -np.inf, np.inf
        return dataclasses.replace(self, bounds=np.stack([first, last]), step=self.step * old / new)


def all_rows(count: int, axis: int) -> Rows:
    """The rows of the image itself."""
    return Rows(axis, np.tile(np.arange(count, dtype=float), (2, 1)))


def union(bounds: Sequence[np.ndarray] | np.ndarray) -> np.ndarray:
    """The intervals that hold those of each [2, n]."""
    stack = np.stack(list(bounds))
    return np.stack([stack[:, 0].min(0), stack[:, 1].max(0)])


def joined(parts: Sequence[Rows | None], counts: Sequence[int]) -> Rows:
    """Rows one behind the other. The longest part is taken for the image, the others (None: constants) for its border."""
    main = max((i for i, part in enumerate(parts) if part is not None), key=lambda i: counts[i])
    bounds = []
    for i, (part, count) in enumerate(zip(parts, counts)):
        own = np.repeat(NOTHING, count, 1) if part is None else part.bounds
        side = BEFORE if i < main else BEHIND
        bounds.append(own if i == main else union([own, np.repeat(side, count, 1)]))
    longest: Any = parts[main]
    return dataclasses.replace(longest, bounds=np.concatenate(bounds, 1))


def _padded(bounds, pads, spacing):
    """The zeros nearest to rows that were drawn apart are such as lie between them."""
    sides = []
    for pad, beyond in zip(pads, (BEFORE, BEHIND)):
        near = min(max(pad, 0), spacing - 1)
        sides.append([np.repeat(beyond, max(pad, 0) - near, 1), np.repeat(NOTHING, near, 1)])
    cut = slice(max(-pads[0], 0), bounds.shape[1] - max(-pads[1], 0))
    return np.concatenate([*sides[0], bounds[:, cut], *sides[1][::-1]], 1)


def _regular(weights):
    """Which rows of a matrix have the weights of those in its middle, moved along."""
    new, old = weights.shape
    periods = math.gcd(new, old)
    block, shift, middle = new // periods, old // periods, periods // 2
    pattern = weights[middle * block : (middle + 1) * block]
    regular = np.zeros((periods, block), bool)
    for period in range(periods):
        moved, by = np.zeros_like(pattern), (period - middle) * shift
        into = slice(max(by, 0), old + min(by, 0))
        moved[:, into] = pattern[:, max(-by, 0) : old - max(by, 0)]
        regular[period] = np.abs(weights[period * block : (period + 1) * block] - moved).max(1) <= _SAME_WEIGHT
    return regular.ravel()
