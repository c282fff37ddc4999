"""Images brought to a common exposure one by one: each by its own percentiles, or its own mean and deviation."""

import numpy as np
from jaxtyping import Float, Shaped, UInt8

from fcn.data.reading.depth import to_bytes
from fcn.preprocessing import PerImage

PERCENTILES = (1, 99.8)
DEVIATIONS = 3
"""So many deviations below the mean are black, and as many above are white."""


def stretched(values: Shaped[np.ndarray, "h w c"], how: PerImage) -> UInt8[np.ndarray, "h w c"]:
    """Values of any type as 0..255, each channel by its own range; what lies outside is clipped.

    Args:
        values: as they are stored; NaN and infinite ones count for nothing, and become black or white.
        how: "percentiles": from the percentile 1 to 99.8. "z-score": from three deviations below the mean to three above.
    """
    parts = [_stretched(values[..., c], how) for c in range(values.shape[-1])]
    return np.stack(parts, -1)


def _stretched(channel: Shaped[np.ndarray, "h w"], how: PerImage) -> UInt8[np.ndarray, "h w"]:
    known = channel[np.isfinite(channel)] if channel.dtype.kind == "f" else channel.ravel()
    low, high = own_range(known.astype(np.float64), how) if known.size else (0.0, 1.0)
    exact = channel.astype(np.float32 if channel.dtype.itemsize < 4 else np.float64)
    return to_bytes(exact, (low, high if high > low else low + 1))


def own_range(values: Float[np.ndarray, " n"], how: PerImage) -> tuple[float, float]:
    """What of some values is black and what is white."""
    if how == "percentiles":
        low, high = np.percentile(values, PERCENTILES)
        return float(low), float(high)
    middle, reach = float(values.mean()), DEVIATIONS * (float(values.std()) or 1.0)
    return middle - reach, middle + reach
