"""Blended tiles: overlapping parts of an image, whose logits are averaged, with weights that fall towards a tile's borders.

As nnU-Net does (Isensee et al., Nature Methods 2021; version 2 of its code): for networks that see the whole image, or so much
of it that exact tiles would read more than they keep. The result is not that of the whole image.
"""

from collections.abc import Callable

import numpy as np
from jaxtyping import Float, Num
from scipy.ndimage import gaussian_filter


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


def blended_logits(
    compute: Callable[[np.ndarray], np.ndarray], image: Num[np.ndarray, "h w c"], tile: int
) -> Float[np.ndarray, "h w k"]:
    """The logits of an image, float32, from those of overlapping tiles.

    Args:
        compute: images [1, h, w, C] -> logits [1, h, w, K].
        image: any size; a side that is smaller than a tile is seen whole.
        tile: rows and columns of a tile.
    """
    height, width = image.shape[:2]
    sides = min(height, tile), min(width, tile)
    weights, total = importance(*sides)[..., None], np.zeros((height, width, 1), np.float32)
    logits: np.ndarray | None = None
    for top in positions(height, tile):
        for left in positions(width, tile):
            place = slice(top, top + sides[0]), slice(left, left + sides[1])
            found = np.asarray(compute(image[place][None]))[0]
            logits = np.zeros((height, width, found.shape[-1]), np.float32) if logits is None else logits
            logits[place] += weights * found
            total[place] += weights
    assert logits is not None
    logits /= total
    return logits
