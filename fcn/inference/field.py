"""The receptive field of a network, from the network itself: what a logit sees, and where an image may be cut."""

import math
from fractions import Fraction
from typing import Any, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from fcn.inference.rows import Rows, SizeDependent, all_rows
from fcn.inference.rules import parameter
from fcn.inference.walk import Walk
from fcn.kernels import use

SMALLEST_SIDE, LARGEST_SIDE = 512, 8192
"""Maps of the smallest have rows enough for strides up to 64."""
_TRIES = 64
"""How many sides, one after the other, are tried for one that the network takes."""


class Side(NamedTuple):
    """The receptive field along rows, or along columns.

    Attributes:
        size: of the image's rows that a logit depends on, at most.
        stride: rows of the image from one row of the coarsest map to the next.
        alignment: rows by which the image may be moved so that the logits move with it.
        halo: rows before and behind those of which the logits are wanted that must be there for them to be exact.
        margins: rows before and behind that have no logits: 0 unless convolutions are valid.
        smallest: the smallest side that the network takes.
    """

    size: int
    stride: int
    alignment: int
    halo: tuple[int, int]
    margins: tuple[int, int]
    smallest: int


class ReceptiveField(tuple[Side, ...]):
    """What a logit sees along each side: rows and columns of an image. The attributes are those of `Side`."""

    def __new__(cls, *sides: Side):
        return super().__new__(cls, sides)

    def __getnewargs__(self) -> tuple[Side, ...]:
        """Of what copies and pickles are made."""
        return tuple(self)

    @property
    def rows(self) -> Side:
        """Along the height of an image or of a volume's slices."""
        return self[-2]

    @property
    def columns(self) -> Side:
        """Along the last side."""
        return self[-1]

    @property
    def size(self) -> tuple[int, ...]:
        """Rows and columns that a logit depends on, at most."""
        return tuple(side.size for side in self)

    @property
    def stride(self) -> tuple[int, ...]:
        """Of the coarsest map."""
        return tuple(side.stride for side in self)

    @property
    def alignment(self) -> tuple[int, ...]:
        """By which the image may be moved so that the logits move with it."""
        return tuple(side.alignment for side in self)

    @property
    def halo(self) -> tuple[tuple[int, int], ...]:
        """((top, bottom), (left, right)) that are read around what is kept of a tile."""
        return tuple(side.halo for side in self)

    @property
    def margins(self) -> tuple[tuple[int, int], ...]:
        """((top, bottom), (left, right)) by which logits are smaller than their image."""
        return tuple(side.margins for side in self)

    def legal_sizes(self, low: int, high: int) -> list[int]:
        """All heights from `low` to `high`, both included, that the network takes: 188, 204, ... 572, ... for `unet2015`."""
        step = self[0].alignment if any(self[0].margins) else 1
        return [size for size in range(self[0].smallest, high + 1, step) if size >= low]


def receptive_field(
    model: nn.Module, channels: int = 3, size: tuple[int, ...] | None = None, *, dimensions: int = 2
) -> ReceptiveField:
    """What a logit of a network in evaluation sees. The network is traced, not run; no table is asked.

    Args:
        model: images [B, H, W, C] -> logits [B, H', W', K]; signals and volumes likewise.
        channels: of the images.
        size: height and width of images, or the sides of a signal or a volume. Where these do not divide by its strides, a
            network may treat borders otherwise; what is said here holds for images whose sides leave the same rest by
            `alignment`. By default there is none.
        dimensions: 1 for signals, 2 for images, 3 for volumes, where no size says it.

    Raises:
        ValueError: a logit depends on the whole image, or on its place in it (global pooling, attention, statistics of the
            image, resizing by no whole factor); the message names the layer. Or a logit sees some 8000 rows or columns.
    """
    side, name = SMALLEST_SIDE, type(model).__name__
    while side <= LARGEST_SIDE:
        try:
            found = _at(model, channels, (side,) * (len(size) if size else dimensions), size)
        except SizeDependent as error:
            raise ValueError(f"{name} has no finite receptive field: {error}") from None
        if found is not None:
            return found
        side *= 2
    raise ValueError(f"{name} has no receptive field that is of use: at {LARGEST_SIDE} pixels the border is seen everywhere")


def _at(model, channels, sides, size) -> ReceptiveField | None:
    """By images of about these sides; None if all their logits see a border."""
    sides, traced = _first_legal(model, channels, sides)
    found, scales = _walked(traced, sides)
    if found is None:
        return None
    rest = sides if size is None else tuple(s + (want - s) % along.alignment for s, want, along in zip(sides, size, found))
    if not scales and rest == sides:
        return found
    more = tuple(s + 8 * along.alignment for s, along in zip(rest, found))
    again, others = _walked(_trace(model, channels, more), more)
    changed = [layer for layer, scale in scales if (layer, scale) not in others]
    if changed:
        raise SizeDependent(f"{changed[0]} resizes, by another factor for each size of the image")
    return again


def _first_legal(model, channels, start) -> tuple[tuple[int, ...], Any]:
    """The first sides from these on that the network takes, unless what it says against them is always the same."""
    said = ""
    for more in range(_TRIES):
        sides = tuple(side + more for side in start)
        try:
            return sides, _trace(model, channels, sides)
        except ValueError as error:
            if str(error) == said:
                raise
            said = str(error)
    raise ValueError(said)


def _trace(model, channels, sides):
    images = jax.ShapeDtypeStruct((1, *sides, channels), jnp.float32)
    with use("xla"):
        variables = jax.eval_shape(lambda x: model.init(jax.random.key(0), x), images)
        return jax.make_jaxpr(lambda variables, x: model.apply(variables, x))(variables, images)


def _walked(traced: Any, sides: tuple[int, ...]) -> tuple[ReceptiveField | None, list[tuple[str, Fraction]]]:
    """The receptive field, and the layers that resize, with the factor."""
    along = [_follow(traced, axis, count) for axis, count in enumerate(sides, start=1)]
    found, scales = [side for side, _ in along if side], [scale for _, some in along for scale in some]
    return (ReceptiveField(*found) if len(found) == len(sides) else None), scales


def _follow(traced, axis, count) -> tuple[Side | None, list[tuple[str, Fraction]]]:
    walk = Walk()
    *variables, _ = traced.jaxpr.invars
    inputs = [*(parameter(variable.aval.shape) for variable in variables), all_rows(count, axis)]
    (logits,) = walk.follow(traced.jaxpr, traced.consts, inputs)
    if not isinstance(logits, Rows) or logits.axis != axis or logits.step != 1:
        raise SizeDependent("the network gives no logits for each pixel")
    return _side(logits, count, walk), walk.scales


def _side(logits: Rows, count: int, walk: Walk) -> Side | None:
    """What the rows of the logits tell. Where it ends in the middle of an image, the image was too small."""
    alignment = math.lcm(*(step.numerator for step in walk.steps))
    inside = np.flatnonzero(np.isfinite(logits.bounds).all(0))
    if len(inside) < 2 * alignment:
        return None
    start, stop = int(inside[0]), int(inside[-1]) + 1
    first, last = logits.bounds[:, start:stop]
    bounds = np.stack([first, last])
    if not np.array_equal(bounds[:, alignment:], bounds[:, :-alignment] + alignment):
        raise SizeDependent("the network treats rows by their place in the image")
    lost = count - logits.count
    before, behind = lost // 2, lost - lost // 2
    smallest = 1
    if lost:
        smallest = count - alignment * int(min((n - 1) // (alignment / step) for n, step in walk.lengths))
    stride = math.ceil(max(walk.steps))
    halo = start + before, logits.count - stop + behind
    return Side(int((last - first).max()) + 1, stride, alignment, halo, (before, behind), smallest)
