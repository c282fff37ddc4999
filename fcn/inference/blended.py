"""Blended tiles: overlapping parts of an image, whose logits are averaged, with weights that fall towards a tile's borders.

As nnU-Net does (Isensee et al., Nature Methods 2021; version 2 of its code): for networks that see the whole image, or so much
of it that exact tiles would read more than they keep. The result is not that of the whole image.
"""

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
from jaxtyping import Float, Num
from scipy.ndimage import gaussian_filter

from fcn.inference.tiles import Part


def positions(length: int, tile: int) -> list[int]:
    """Where tiles begin along a side: as few as overlap by a half or more, evenly; 0, 112, 224 for tiles of 256 on 480."""
    if length <= tile:
        return [0]
    count = int(np.ceil((length - tile) / (tile / 2))) + 1
    return [int(np.round((length - tile) / (count - 1) * i)) for i in range(count)]


def importance(height: int, width: int) -> Float[np.ndarray, "{height} {width}"]:
    """The weight of each logit of a tile, float32: a Gaussian with an eighth of the tile as deviation, 1 in the middle."""
    weights = np.zeros((height, width))
    weights[height // 2, width // 2] = 1
    weights = gaussian_filter(weights, (height / 8, width / 8), mode="constant")
    weights[weights == 0] = weights[weights > 0].min()
    return (weights / weights.max()).astype(np.float32)


def blended_strips(
    compute: Callable[[np.ndarray], np.ndarray], image: Num[Any, "h w c"], tile: int, start: int = 0, at_once: int = 1
) -> Iterator[Part]:
    """The logits of an image, float32, from those of overlapping tiles: strips of its width, from top to bottom.

    A strip ends where the next row of tiles begins, so that no more than a row of tiles is held at once.

    Args:
        compute: images [B, h, w, C] -> logits [B, h, w, K], or other values that can be averaged.
        image: any size; a side that is smaller than a tile is seen whole.
        tile: rows and columns of a tile.
        start: the number of strips that are left out.
        at_once: B, the tiles that are given together; to the last ones of a row as many are added as there must be.
    """
    (height, width, _), tops = image.shape, positions(image.shape[0], tile)
    if start == len(tops):
        return
    rows, columns = min(height, tile), min(width, tile)
    weights = importance(rows, columns)[..., None]
    first = next(i for i, top in enumerate(tops) if top + rows > tops[start])
    logits, total = (np.zeros((rows, width, 1), np.float32) for _ in range(2))
    for i, top in enumerate(tops[first:], first):
        for sums in (logits, total):
            _move_up(sums, top - tops[max(i - 1, first)])
        for left, found in _computed(compute, image, top, rows, columns, positions(width, tile), at_once):
            logits = logits if logits.shape[2] == found.shape[2] else np.zeros((rows, width, found.shape[2]), np.float32)
            logits[:, left : left + columns] += weights * found
            total[:, left : left + columns] += weights
        stop = tops[i + 1] if i + 1 < len(tops) else height
        if i >= start:
            yield Part((slice(top, stop), slice(0, width)), logits[: stop - top] / total[: stop - top])


def _computed(compute, image, top, rows, columns, lefts, at_once) -> Iterator[tuple[int, np.ndarray]]:
    """What is computed of the tiles that begin in a row, and the column where each does."""
    for i in range(0, len(lefts), at_once):
        group = lefts[i : i + at_once]
        tiles = [image[np.ix_(range(top, top + rows), range(left, left + columns))] for left in group]
        yield from zip(group, np.asarray(compute(np.stack(tiles + tiles[-1:] * (at_once - len(group))))), strict=False)


def _move_up(sums: np.ndarray, rows: int) -> None:
    """Moves rows to the top by so many, piece by piece, so that no copy of all is made; 0 follows."""
    if rows == 0:
        return
    kept = len(sums) - rows
    for top in range(0, kept, rows):
        stop = min(top + rows, kept)
        sums[top:stop] = sums[top + rows : stop + rows]
    sums[kept:] = 0
