"""Exact tiles: an image in parts, each with as much around it as its logits see."""

import itertools
import math
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, NamedTuple

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
    """What is read of an image, and where its logits belong; all tiles of an image have one size.

    Attributes:
        rows, columns: those of the image that are read, some of them twice at mirrored borders.
        inner: rows and columns of the tile's own logits that are exact.
        place: those of the image's logits that they are.
    """

    rows: np.ndarray
    columns: np.ndarray
    inner: tuple[slice, slice]
    place: tuple[slice, slice]

    def read(self, image: Num[Any, "h w c"]) -> Num[np.ndarray, "1 h2 w2 c"]:
        """The tile of an image, which alone is read if the image lies on a disk (`numpy.memmap`)."""
        return image[np.ix_(self.rows, self.columns)][None]


class Part(NamedTuple):
    """What was computed of a part of an image, and its rows and columns."""

    place: tuple[slice, slice]
    values: np.ndarray


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
    size: Sequence[int],
    field: ReceptiveField,
    tile: int,
    around: Sequence[tuple[int, int]] = ((0, 0), (0, 0)),
    more: Sequence[int] = (0, 0),
) -> list[Tile]:
    """Tiles of which the logits, put together, are those of the whole image, up to rounding.

    The outermost tiles end where the image does, so that the network sees its borders there and nowhere else.

    Args:
        size: height and width of the image.
        field: the network's, for images of this size with all that is put around.
        tile: rows and columns that are kept of each, at least.
        around: rows and columns of mirrored image before and behind it; for valid convolutions at least their margins.
        more: how often the last row and the last column are repeated before that.

    Returns:
        Tiles, row by row; each pixel of the image is in the place of one.
    """
    rows, columns = (
        list(_along(length, repeats, pads, tile, side))
        for length, repeats, pads, side in zip(size, more, around, field, strict=True)
    )
    return [
        Tile(here, there, (inner, beside), (place, column))
        for (here, inner, place), (there, beside, column) in itertools.product(rows, columns)
    ]


def _along(length, more, pads, tile, side) -> Iterator[tuple[np.ndarray, slice, slice]]:
    """For tiles along a side: the image's rows that are read, the tile's logits that are kept, the rows that they are of."""
    places = np.pad(np.pad(np.arange(length), (0, more), mode="edge"), pads, mode="symmetric")
    read, shift = tile_side(len(places), tile, side), pads[0] - side.margins[0]
    for cut in cuts(len(places), read, side):
        first, stop = max(cut.first, shift), min(cut.stop, shift + length)
        if first < stop:
            inner = slice(first - cut.start, stop - cut.start)
            yield places[cut.start : cut.start + read], inner, slice(first - shift, stop - shift)


def in_all_views(fields: Sequence[ReceptiveField], turned: bool) -> ReceptiveField:
    """The receptive field of a network that sees an image mirrored as well; `turned`: by 90 degrees, too.

    Args:
        fields: those of the image's size, and for turned images those of its width and height exchanged.
        turned: rows are columns in some views.
    """
    along = list(zip(*fields, strict=True))
    sides = [list(itertools.chain(*along))] * 2 if turned else along
    merged = []
    for own, same in zip(fields[0], sides, strict=True):
        wide, step = max(max(side.halo) for side in same), math.lcm(*(side.alignment for side in same))
        merged.append(own._replace(halo=(wide, wide), alignment=step))
    return ReceptiveField(*merged)


def put_together(parts: Iterable[Part], size: Sequence[int]) -> Shaped[np.ndarray, "h w ..."]:
    """The parts of an image's result as one array of its size."""
    out: np.ndarray | None = None
    for place, values in parts:
        out = np.empty((*size, *values.shape[2:]), values.dtype) if out is None else out
        out[place] = values
    assert out is not None
    return out
