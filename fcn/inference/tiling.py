"""How a network sees an image in parts: exactly where that can be, else blended."""

import dataclasses
import functools
import warnings
from collections.abc import Callable, Hashable, Iterator, Sequence
from typing import Any

import jax.numpy as jnp
import numpy as np
from jaxtyping import Num

from fcn.inference.blended import blended_strips, positions
from fcn.inference.field import ReceptiveField, receptive_field
from fcn.inference.probabilities import refuse_mean
from fcn.inference.program import Kind, Program
from fcn.inference.tiles import Part, Tile, exact_tiles, in_all_views, suits
from fcn.inference.views import View


@dataclasses.dataclass(frozen=True)
class Parts:
    """The parts of an image's result, which are computed one after the other.

    Attributes:
        count: how many there are.
        after: those that follow the first ones, so that work that was interrupted goes on.
    """

    count: int
    after: Callable[[int], Iterator[Part]]


def whole_in_one(image: Num[Any, "h w c"], compute: Callable[[np.ndarray], np.ndarray]) -> Parts:
    """An image that is seen whole."""
    (height, width, _), place = image.shape, (slice(0, image.shape[0]), slice(0, image.shape[1]))

    def after(start):
        if start == 0:
            whole = image if isinstance(image, np.ndarray) else image[np.ix_(range(height), range(width))]
            yield Part(place, compute(whole))

    return Parts(1, after)


class Tiling:
    """Divides images among tiles.

    Args:
        program: what is computed of them.
        border: "network" or "mirror"; see `Predictor`.
    """

    def __init__(self, program: Program, border: str):
        self._program, self._mirrored = program, border == "mirror"
        self._fields: dict[Hashable, ReceptiveField | str] = {}
        self._told: set[str] = set()

    def parts(self, image: Num[Any, "h w c"], kind: Kind, tile: int, views: Sequence[View]) -> Parts:
        """What is computed of an image."""
        size = image.shape[:2]
        more = self._program.beyond(size)
        try:
            field, around = self._field_around(size[0] + more[0], size[1] + more[1], views)
        except ValueError as error:
            return self._blended(image, kind, tile, views, str(error))
        if not all(suits(side, tile) for side in field):
            wide = max(map(max, field.halo))
            reason = f"the network's halo of {wide} pixels is larger than the tile of {tile}"
            return self._blended(image, kind, tile, views, reason)
        tiles = exact_tiles(size, field, tile, around, more)
        if self._program.dropout.samples:
            self._tell("all tiles drop the same features")

        def after(start):
            for i in range(start, len(tiles), self._program.at_once):
                yield from self._computed(tiles[i : i + self._program.at_once], image, kind, views)

        return Parts(len(tiles), after)

    def _computed(self, tiles: Sequence[Tile], image, kind: Kind, views) -> Iterator[Part]:
        """The parts of tiles that are computed at once; to the last ones as many are added as there must be."""
        read = [tile.read(image) for tile in tiles]
        read += read[-1:] * (self._program.at_once - len(tiles))
        found = self._program(np.concatenate(read), kind, views, bare=True)
        for tile, values in zip(tiles, found, strict=False):
            yield Part(tile.place, values[tile.inner])

    def _blended(self, image, kind: Kind, tile: int, views, reason: str) -> Parts:
        refuse_mean(self._program.task, f"tiles would be blended ({reason}): take a larger tile, or none")
        self._tell("tiles are blended", f": {reason}")
        averaged: Kind = kind if kind in ("uncertainty", "all") else "logits"
        compute = functools.partial(self._program.whole, kind=averaged, views=views)

        def after(start):
            for part in blended_strips(compute, image, tile, start, self._program.at_once):
                made = part.values if kind == averaged else np.asarray(self._program.made(kind, jnp.asarray(part.values)))
                yield Part(part.place, made)

        return Parts(len(positions(image.shape[0], tile)), after)

    def _tell(self, what: str, reason: str = ""):
        """Warns once of what makes the result another than that of the whole image."""
        if what not in self._told:
            self._told.add(what)
            warnings.warn(f"{what}, so that the result is not that of the whole image{reason}", stacklevel=3)

    def _field_around(self, height: int, width: int, views) -> tuple[ReceptiveField, Sequence[tuple[int, int]]]:
        """The receptive field for images of this size, seen in all views, and what is mirrored around them."""
        turned, seen = any(view.turns % 2 for view in views), len(views) > 1
        general = [self._looked_at("any", None)]
        around: Sequence[tuple[int, int]] = ((0, 0), (0, 0))
        if hasattr(self._program.model, "input_margins"):
            around = self._program.model.input_margins(height, width)
        elif self._mirrored:
            around = (in_all_views(general, turned) if seen else general[0]).halo
        rows, columns = height + sum(around[0]), width + sum(around[1])
        sizes = [(rows, columns), (columns, rows)] if turned else [(rows, columns)]
        fields = [self._field(size) for size in dict.fromkeys(sizes)]
        return (in_all_views(fields, turned) if seen else fields[0]), around

    def _field(self, size: tuple[int, int]) -> ReceptiveField:
        """Each rest that sides leave by the alignment is looked at once."""
        height, width = (side % step for side, step in zip(size, self._looked_at("any", None).alignment))
        return self._looked_at((height, width), size)

    def _looked_at(self, rest: Hashable, size: tuple[int, int] | None) -> ReceptiveField:
        if rest not in self._fields:
            try:
                self._fields[rest] = receptive_field(self._program.model, self._program.preprocessing.channels, size)
            except ValueError as error:
                self._fields[rest] = str(error)
        found = self._fields[rest]
        if isinstance(found, str):
            raise ValueError(found)
        return found
