"""Operations that move pixels, in any number of dimensions. All of a sample become one map, hence one resampling."""

import dataclasses
import functools
import itertools
import math
from typing import Annotated, ClassVar

import jax
import jax.numpy as jnp
import numpy as np
import scipy  # which loads its parts when they are first used
from jaxtyping import Array, Float, Float32, Key

from fcn.data.augment.operation import Geometric, Number, Operation, Span, factor, uniform
from fcn.data.augment.resampling import Places
from fcn.ranges import Range


@dataclasses.dataclass(frozen=True, kw_only=True)
class Flip(Geometric):
    """Mirrors an axis of the image: 0 is from top to bottom, 1 from left to right."""

    axis: Annotated[int, Range(0, 2)] = 1
    probability: Annotated[Number, Range(0, 1)] = 0.5

    plain: ClassVar[bool] = True

    @property
    def stream(self):
        return f"Flip{self.axis}"

    def matrix(self, key, size):
        if self.axis >= len(size):
            raise ValueError(f"Flip.axis is {self.axis}; an image of {len(size)} axes has 0 to {len(size) - 1}")
        return jnp.eye(len(size) + 1).at[self.axis, self.axis].set(-1)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Rotate90(Geometric):
    """Turns by 0, 90, 180 or 270 degrees in the plane of the last two axes; by 0 or 180 where their lengths differ."""

    def matrix(self, key, size):
        _plane(self, size)
        quarters = jax.random.randint(key, (), 0, 4)
        if size[-1] != size[-2]:
            quarters = quarters // 2 * 2
        cosine, sine = jnp.array([1.0, 0, -1, 0])[quarters], jnp.array([0.0, 1, 0, -1])[quarters]
        return _turned(cosine, sine, (len(size) - 2, len(size) - 1), len(size))


@dataclasses.dataclass(frozen=True, kw_only=True)
class Rotate(Geometric):
    """Turns by any angle, drawn anew for each plane of two axes: one for images, three for volumes.

    Attributes:
        degrees: the largest angle, either way.
        oblong: the largest angle where the longest axis has more than 1.5 times the pixels of the shortest; None: the same.
    """

    degrees: Annotated[Number, Range(0, 180)] = 15.0
    oblong: Annotated[Number | None, Range(0, 180)] = None

    def matrix(self, key, size):
        _plane(self, size)
        widest = self.degrees if self.oblong is None or max(size) <= 1.5 * min(size) else self.oblong
        planes = list(itertools.combinations(range(len(size)), 2))
        angles = widest * (2 * jax.random.uniform(key, (len(planes),)) - 1)
        radians = jnp.deg2rad(angles)
        turns = [_turned(jnp.cos(a), jnp.sin(a), plane, len(size)) for a, plane in zip(radians, planes)]
        return functools.reduce(product, turns)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Scale(Geometric):
    """Enlarges by a factor, the same for all axes; half of the factors are below 1 where 1 lies in the range.

    Attributes:
        range: of the factor.
        logarithmic: draws its logarithm evenly instead.
    """

    range: Annotated[Span, Range(0.01, 100)] = (0.8, 1.25)
    logarithmic: bool = False

    plain: ClassVar[bool] = True

    def matrix(self, key, size):
        low, high = self.range
        by = jnp.exp(uniform(key, (math.log(low), math.log(high)))) if self.logarithmic else factor(key, self.range)
        return _diagonal(jnp.broadcast_to(1 / by, (len(size),)))


@dataclasses.dataclass(frozen=True, kw_only=True)
class Stretch(Geometric):
    """Enlarges each axis by a factor of its own."""

    range: Annotated[Span, Range(0.01, 100)] = (0.9, 1.1)

    def matrix(self, key, size):
        return _diagonal(1 / factor(key, self.range, (len(size),)))


@dataclasses.dataclass(frozen=True, kw_only=True)
class Shear(Geometric):
    """Slants axes along those after them, by up to so many degrees either way; areas stay."""

    degrees: Annotated[Number, Range(0, 60)] = 10.0

    def matrix(self, key, size):
        _plane(self, size)
        axes = len(size)
        slants = jnp.tan(jnp.deg2rad(self.degrees * (2 * jax.random.uniform(key, (axes, axes)) - 1)))
        return jnp.eye(axes + 1).at[:axes, :axes].add(jnp.triu(slants, 1))


@dataclasses.dataclass(frozen=True, kw_only=True)
class Perspective(Geometric):
    """Looks from aside: along each axis one end comes nearer, by up to `amount`, and the other goes as far away."""

    amount: Annotated[Number, Range(0, 0.4)] = 0.1

    def matrix(self, key, size):
        axes = len(size)
        tilt = self.amount * (2 * jax.random.uniform(key, (axes,)) - 1) / (np.array(size, np.float32) / 2)
        return jnp.eye(axes + 1).at[axes, :axes].set(tilt)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Translate(Geometric):
    """Moves along each axis by up to a share of its length, either way, in whole pixels."""

    share: Annotated[Number, Range(0, 1)] = 0.1

    plain: ClassVar[bool] = True

    def matrix(self, key, size):
        axes, reach = len(size), self.share * np.array(size, np.float32)
        steps = jnp.round(reach * (2 * jax.random.uniform(key, (axes,)) - 1))
        return jnp.eye(axes + 1).at[:axes, axes].set(steps)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Elastic(Operation):
    """Bends: a coarse grid of random shifts, made smooth by cubic splines, as in U-Net (2015, section 3.1).

    Attributes:
        sigma: standard deviation of the shifts, in pixels.
        points: of the grid along each axis, the first and the last one on the outermost pixels.
    """

    sigma: Annotated[Number, Range(0, 1000)] = 10.0
    points: Annotated[int, Range(2, 64)] = 3

    def shifts(self, key: Key[Array, ""], size: tuple[int, ...]) -> Places:
        """How far from each pixel of the result its source lies, along each axis."""
        coarse = self.sigma * jax.random.normal(key, (len(size), *[self.points] * len(size)))
        for axis, length in enumerate(size, start=1):
            along = jnp.tensordot(spline_weights(length, self.points), coarse, axes=(1, axis), precision="highest")
            coarse = jnp.moveaxis(along, 0, axis)
        return list(coarse)


@functools.cache
def spline_weights(length: int, points: int) -> Float32[np.ndarray, "length points"]:
    """The matrix by which values at `points` places, even from the first to the last pixel, become a natural cubic spline."""
    if length == 1:
        return np.eye(1, points, dtype=np.float32)
    knots = np.linspace(0, length - 1, points)
    spline = scipy.interpolate.CubicSpline(knots, np.eye(points), bc_type="natural")
    return spline(np.arange(length)).astype(np.float32)


def product(a: Float[Array, "m m"], b: Float[Array, "m m"]) -> Float[Array, "m m"]:
    """Of two matrices in full precision; `b` is applied first."""
    return jnp.matmul(a, b, precision="highest")


def local_scale(matrix: Float[Array, "m m"]) -> Float[Array, ""]:
    """The factor by which a map to the source enlarges the middle of the image: the mean one over the axes."""
    return jnp.abs(_determinant(slopes(matrix))) ** (-1 / (matrix.shape[0] - 1))


def slopes(matrix: Float[Array, "m m"]) -> Float[Array, "n n"]:
    """The derivatives of a map to the source in the middle of the image, where the divisor is 1."""
    axes = matrix.shape[0] - 1
    matrix = matrix / matrix[axes, axes]
    rows, tilt = matrix[:axes], matrix[axes, :axes]
    return rows[:, :axes] - rows[:, axes:] * tilt


def _determinant(matrix):
    if len(matrix) == 1:
        return matrix[0, 0]
    rest = matrix[1:]
    minors = [jnp.concatenate([rest[:, :j], rest[:, j + 1 :]], 1) for j in range(len(matrix))]
    return sum((-1) ** j * matrix[0, j] * _determinant(minor) for j, minor in enumerate(minors))


def _diagonal(values: Float[Array, " axes"]) -> Float[Array, "m m"]:
    return jnp.diag(jnp.append(values, 1.0))


def _turned(cosine, sine, plane: tuple[int, int], axes: int) -> Float[Array, "m m"]:
    i, j = plane
    matrix = jnp.eye(axes + 1).at[i, i].set(cosine).at[j, j].set(cosine)
    return matrix.at[i, j].set(sine).at[j, i].set(-sine)


def _plane(operation: Operation, size: tuple[int, ...]) -> None:
    if len(size) < 2:
        raise ValueError(f"{type(operation).__name__} needs two axes; the image has {len(size)}: leave it out")
