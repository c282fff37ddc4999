"""Exact tiles: an image in parts, each with as much around it as its logits see."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Num, Shaped

from fcn.inference.field import ReceptiveField, Side


class Cut(NamedTuple):
    """A tile, along rows or columns.

    Attributes:
        start: its first row of the image, which may have margins.
        first, stop: the logits' rows that it gives.
    """

    start: int
    first: int
    stop: int


class Tile(NamedTuple):
    """What is read of an image, and where its logits belong.

    Attributes:
        image: [1, h, w, C]; all tiles of an image have one size.
        inner: rows and columns of the tile's own logits that are exact.
        place: those of the image's logits that they are.
    """

    image: np.ndarray
    inner: tuple[slice, slice]
    place: tuple[slice, slice]


def suits(side: Side, tile: int) -> bool:
    """Whether tiles of this size are worth it: less is read around them than is kept, in each direction."""
    return max(side.halo) <= tile


def tile_side(length: int, tile: int, side: Side) -> int:
    """Rows that are read for each tile, so that at least `tile` are kept: as many more than the image's as it may be moved by.

    A network may treat borders by the rest that the side of its image leaves; tiles leave the same.
    """
    wanted = tile + -tile % side.alignment + sum(side.halo)
    return min(length, wanted + (length - wanted) % side.alignment)


def cuts(length: int, read: int, side: Side) -> list[Cut]:
    """The tiles along a side of an image, of which each reads so many rows. Every row of the logits is in one.

    Args:
        length: rows of the image, with margins.
        read: what `tile_side` gave.
        side: the receptive field, for images of such sides.
    """
    before, behind = side.margins
    end = length - before - behind
    if read >= length:
        return [Cut(0, 0, end)]
    step = (read - sum(side.halo)) // side.alignment * side.alignment
    starts = [*range(0, length - read, step), length - read]
    stops = [*(start + read - side.halo[1] - before for start in starts[:-1]), end]
    return [Cut(*cut) for cut in zip(starts, [0, *stops[:-1]], stops)]


def exact_tiles(
    image: Num[np.ndarray, "h w c"],
    field: ReceptiveField,
    tile: int,
    around: Sequence[tuple[int, int]] = ((0, 0), (0, 0)),
    more: Sequence[int] = (0, 0),
) -> Iterator[Tile]:
    """An image in tiles whose logits, put together, are those of the whole image, up to rounding.

    The outermost tiles end where the image does, so that the network sees its borders there and nowhere else. Of an image that
    lies on a disk (`numpy.memmap`) one tile at a time is read.

    Args:
        image: any size.
        field: the network's, for images of this size with all that is put around.
        tile: rows and columns that are kept of each, at least.
        around: rows and columns of mirrored image before and behind it; for valid convolutions at least their margins.
        more: how often the last row and the last column are repeated before that.

    Yields:
        Tiles, row by row; each pixel of the image is in the place of one.
    """
    rows, columns = (
        list(_along(length, repeats, pads, tile, side))
        for length, repeats, pads, side in zip(image.shape, more, around, field, strict=False)
    )
    for here, inner, place in rows:
        for there, beside, column in columns:
            yield Tile(image[np.ix_(here, there)][None], (inner, beside), (place, column))


def _along(length, more, pads, tile, side) -> Iterator[tuple[np.ndarray, slice, slice]]:
    """For tiles along a side: the image's rows that are read, the tile's logits that are kept, the rows that they are of."""
    places = np.pad(np.pad(np.arange(length), (0, more), mode="edge"), pads, mode="symmetric")
    read, shift = tile_side(len(places), tile, side), pads[0] - side.margins[0]
    for cut in cuts(len(places), read, side):
        first, stop = max(cut.first, shift), min(cut.stop, shift + length)
        if first < stop:
            inner = slice(first - cut.start, stop - cut.start)
            yield places[cut.start : cut.start + read], inner, slice(first - shift, stop - shift)


def put_together(
    compute: Callable[[np.ndarray], np.ndarray], tiles: Iterable[Tile], size: Sequence[int]
) -> Shaped[np.ndarray, "h w ..."]:
    """What is computed of each tile, [1, h, w, ...], as one array of the image's size.

    Args:
        compute: a tile's images -> one result for each of its logits.
        tiles: what `exact_tiles` gives.
        size: height and width of the image.
    """
    out: np.ndarray | None = None
    for tile in tiles:
        found = np.asarray(compute(tile.image))[0][tile.inner]
        out = np.empty((*size, *found.shape[2:]), found.dtype) if out is None else out
        out[tile.place] = found
    assert out is not None
    return out
