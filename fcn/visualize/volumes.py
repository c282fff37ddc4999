"""Pictures of volumes: three slices through a point, one across each axis, side by side."""

from collections.abc import Sequence

import numpy as np
from jaxtyping import Shaped, UInt8

from fcn.visualize.signals import HEIGHT, band, curve

_GAP = 2


def middle_of(label: Shaped[np.ndarray, "d h w"], ignore_index: int = 255) -> tuple[int, int, int]:
    """The point of a volume that shows most: the median place of what has a class above 0, else the middle."""
    places = np.nonzero((label > 0) & (label != ignore_index))
    if not places[0].size:
        return label.shape[0] // 2, label.shape[1] // 2, label.shape[2] // 2
    x, y, z = (int(np.median(along)) for along in places)
    return x, y, z


def slices(
    values: Shaped[np.ndarray, "d h w *c"], point: Sequence[int], fill: int | float = 0
) -> Shaped[np.ndarray, "rows columns *c"]:
    """Three slices through a point, side by side; upwards and to the right run the axes of the volume that remain.

    Args:
        values: a volume, its labels, or anything of it.
        point: a voxel.
        fill: what lies between and below them.
    """
    parts = [np.moveaxis(np.take(values, place, axis), 1, 0)[::-1] for axis, place in enumerate(point)]
    height = max(part.shape[0] for part in parts)
    width = sum(part.shape[1] for part in parts) + _GAP * (len(parts) - 1)
    sheet = np.full((height, width, *parts[0].shape[2:]), fill, values.dtype)
    left = 0
    for part in parts:
        sheet[: part.shape[0], left : left + part.shape[1]] = part
        left += part.shape[1] + _GAP
    return sheet


def shown(values: Shaped[np.ndarray, "..."]) -> UInt8[np.ndarray, "..."]:
    """Values on the scale 0..255 as bytes; what lies beyond is clipped."""
    return np.clip(np.rint(np.asarray(values, np.float32)), 0, 255).astype(np.uint8)


def as_pictures(
    image: Shaped[np.ndarray, "..."], *maps: Shaped[np.ndarray, "..."], ignore_index: int = 255
) -> list[np.ndarray]:
    """An image and maps of it as pictures: three slices of a volume, a curve and bands of a signal, else as they are.

    Args:
        image: [H, W, C]; or on the scale 0..255 a volume [D, H, W, C], or a signal [L, C].
        maps: class numbers of its sides; the first decides where a volume is cut.
        ignore_index: what lies between the slices.
    """
    if image.ndim == 4:
        point = middle_of(maps[0], ignore_index)
        return [slices(shown(image), point), *(slices(np.asarray(each), point, ignore_index) for each in maps)]
    if image.ndim == 2:
        return [curve(image), *(band(np.asarray(each), HEIGHT * image.shape[1]) for each in maps)]
    return [image, *maps]
