"""Volumes at another spacing: linear for values, the nearest voxel for labels."""

from collections.abc import Sequence

import numpy as np
import scipy  # which loads its parts when they are first used
from jaxtyping import Float32, Integer, Shaped

from fcn.data.reading.images import nearest_rows


def size_at(size: Sequence[int], spacing: Sequence[float], wanted: Sequence[float]) -> tuple[int, ...]:
    """The voxels that a volume has at a wanted spacing, so that it covers about what it covered."""
    return tuple(max(1, round(length * own / new)) for length, own, new in zip(size, spacing, wanted, strict=True))


def resample(values: Shaped[np.ndarray, "*spatial c"], size: Sequence[int]) -> Float32[np.ndarray, "*size c"]:
    """Values at so many voxels along each axis, linearly; both cover the same space, as images do that are resized."""
    values = np.asarray(values, np.float32)
    if values.shape[:-1] == tuple(size):
        return values
    factors = [new / old for new, old in zip(size, values.shape)]
    channels = [
        scipy.ndimage.zoom(channel, factors, order=1, mode="nearest", grid_mode=True) for channel in np.moveaxis(values, -1, 0)
    ]
    return np.stack(channels, -1)


def resample_label(label: Integer[np.ndarray, "*spatial"], size: Sequence[int]) -> Integer[np.ndarray, "*size"]:
    """A label at so many voxels along each axis: each takes the voxel that holds its middle."""
    return label[np.ix_(*(nearest_rows(old, new) for old, new in zip(label.shape, size, strict=True)))]
