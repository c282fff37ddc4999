"""Values of volumes and signals on the scale that networks are given: float32, whose 0 and 255 a range or statistics decide."""

import numpy as np
from jaxtyping import Float32, Shaped

from fcn.data.reading.depth import ValueRange
from fcn.data.reading.stretch import own_range
from fcn.preprocessing import PerImage

SCALE = 255.0
_MOST = 100_000
"""Values of a volume that percentiles are taken of."""
FOREGROUND = (0.5, 99.5)
"""The percentiles of the values at labelled classes that are 0 and 255 where nothing else is asked for, as nnU-Net's of CT."""


def scaled(
    values: Shaped[np.ndarray, "*spatial c"], how: PerImage | None, value_range: ValueRange | None = None
) -> Float32[np.ndarray, "*spatial c"]:
    """Values of any type on the scale 0..255, neither rounded nor, but for a range, clipped.

    Args:
        values: as they are stored; NaN and infinite ones become what lies outside (`padding_of`).
        how: each channel is brought there by its own percentiles 1 and 99.8 ("percentiles"), or by its mean and deviation
            ("z-score"): 127.5, and 42.5 a deviation.
        value_range: without it, the stored values that become 0 and 255; others are clipped to it.
    """
    channels = [_scaled(values[..., c], how, value_range) for c in range(values.shape[-1])]
    return np.stack(channels, -1)


def padding_of(how: PerImage | None) -> float:
    """What lies outside of a volume on that scale: its mean where values are z-scored, else the lowest."""
    return SCALE / 2 if how == "z-score" else 0.0


def _scaled(channel, how, value_range) -> Float32[np.ndarray, "*spatial"]:
    exact = np.asarray(channel, np.float64)
    known = np.isfinite(exact)
    if how is None:
        low, high = value_range or (0, 1)
        exact = np.clip(exact, low, high)
    else:
        low, high = own_range(exact[known], how) if known.any() else (0.0, 1.0)
    made = (exact - low) * (SCALE / ((high - low) or 1.0))
    return np.where(known, made, padding_of(how)).astype(np.float32)


def thinned(values: Shaped[np.ndarray, "..."]) -> Shaped[np.ndarray, " n"]:
    """Those that are finite of at least `_MOST` values, evenly spread, or of all."""
    some = values.reshape(-1)[:: max(1, values.size // _MOST)]
    return some[np.isfinite(some)]


def foreground_range(values: Shaped[np.ndarray, " n"]) -> ValueRange:
    """The range of values at labelled classes, as `FOREGROUND` says; rising, and 0..1 of no value."""
    if not values.size:
        return 0.0, 1.0
    low, high = map(float, np.percentile(np.asarray(values, np.float64), FOREGROUND))
    return low, high if high > low else low + 1
