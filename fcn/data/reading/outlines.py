"""Masks from outlines and from run lengths, in NumPy alone."""

from collections.abc import Iterable, Sequence

import numpy as np
from jaxtyping import Bool, Float


def filled(polygons: Iterable[Float[np.ndarray, "_ 2"]], size: tuple[int, int]) -> Bool[np.ndarray, "h w"]:
    """The pixels whose centre lies in one of some polygons; pixel (row 0, column 0) covers 0..1 in x and in y.

    An outline that crosses itself is filled by the even-odd rule.

    Args:
        polygons: x and y of the corners of each.
        size: height and width.
    """
    mask = np.zeros(size, bool)
    for corners in polygons:
        mask |= _inside(corners, size)
    return mask


def _inside(corners: Float[np.ndarray, "_ 2"], size: tuple[int, int]) -> Bool[np.ndarray, "h w"]:
    """Each edge that crosses a row toggles all pixels of the row from there on."""
    height, width = size
    toggles = np.zeros((height, width + 1), np.uint8)
    for (x0, y0), (x1, y1) in zip(corners, np.roll(corners, -1, 0)):
        first, end = (int(np.clip(np.ceil(y - 0.5), 0, height)) for y in (min(y0, y1), max(y0, y1)))
        if first < end:
            rows = np.arange(first, end)
            x = x0 + (rows + 0.5 - y0) * (x1 - x0) / (y1 - y0)
            toggles[rows, np.clip(np.ceil(x - 0.5), 0, width).astype(int)] ^= 1  # a row comes once an edge
    return np.bitwise_xor.accumulate(toggles, axis=1)[:, :width].astype(bool)


def run_lengths(counts: Sequence[int], size: tuple[int, int]) -> Bool[np.ndarray, "h w"]:
    """COCO's uncompressed run lengths: of 0 and of 1 in turn, down the columns.

    Raises:
        ValueError: they are not as long as the image.
    """
    lengths = np.asarray(counts, np.int64)
    if lengths.sum() != size[0] * size[1] or (lengths < 0).any():
        raise ValueError(f"run lengths of {lengths.sum()} pixels for an image of {size[0]}x{size[1]}")
    return np.repeat(np.arange(len(lengths)) % 2 == 1, lengths).reshape(size, order="F")
