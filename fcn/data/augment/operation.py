"""What an operation is: a frozen record with a probability and ranges, and a stream of random numbers of its own."""

import dataclasses
import zlib
from collections import Counter
from collections.abc import Iterator, Sequence
from typing import Annotated, ClassVar, TypeVar

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Key

from fcn.ranges import Range, check_fields

Number = float | int
Span = tuple[Number, Number]
"""The lowest and the highest value that is drawn."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Operation:
    """A random change to a sample.

    Attributes:
        probability: of the samples the share that is changed.
    """

    probability: Annotated[Number, Range(0, 1)] = 1.0

    def __post_init__(self):
        check_fields(self, f"{type(self).__name__}.")
        for name, value in vars(self).items():
            if isinstance(value, tuple) and value[0] > value[1]:
                raise ValueError(f"{type(self).__name__}.{name} is {value}; the lower value comes first: {value[::-1]}")

    @property
    def stream(self) -> str:
        """The name of the stream of random numbers."""
        return type(self).__name__


Op = TypeVar("Op", bound=Operation)


class Geometric(Operation):
    """An operation that moves pixels by a linear, affine or projective map."""

    plain: ClassVar[bool] = False
    """Whether it is made of flips, translations and one factor for all axes, of which every codec is told."""

    def matrix(self, key: Key[Array, ""], size: tuple[int, ...]) -> Float[Array, "m m"]:
        """The homogeneous matrix by which a place of the result is one of the source, in pixels from the centres of both.

        Args:
            key: decides everything that is random.
            size: of the result.
        """
        raise NotImplementedError


class Photometric(Operation):
    """An operation that changes values and leaves all where it is."""

    def change(self, key: Key[Array, ""], image: Float[Array, "*size c"]) -> Float[Array, "*size c"]:
        """The changed image; values are 0..255 or a little beyond."""
        raise NotImplementedError


def streams(key: Key[Array, ""], operations: Sequence[Op]) -> Iterator[tuple[Op, Array, Array]]:
    """Each operation with its key and whether this sample is changed, bool [].

    The numbers that an operation draws depend on the key, its name and how many of that name come before, not on the others.
    """
    seen: Counter[str] = Counter()
    for operation in operations:
        name = operation.stream
        own = jax.random.fold_in(key, zlib.crc32(f"{name} {seen[name]}".encode()) >> 1)
        chance, own = jax.random.split(own)
        seen[name] += 1
        yield operation, own, jax.random.uniform(chance) < operation.probability


def uniform(key: Key[Array, ""], span: Span, shape: tuple[int, ...] = ()) -> Float[Array, "..."]:
    """Numbers between two, each as likely."""
    low, high = span
    return low + (high - low) * jax.random.uniform(key, shape)


def factor(key: Key[Array, ""], span: Span, shape: tuple[int, ...] = ()) -> Float[Array, "..."]:
    """Factors between two; where 1 lies between them, half of the factors are below it, as in nnU-Net."""
    low, high = span
    if not low < 1 < high:
        return uniform(key, span, shape)
    chance = 2 * jax.random.uniform(key, shape)
    return jnp.where(chance < 1, low + (1 - low) * chance, 1 + (high - 1) * (chance - 1))


def some_channels(
    key: Key[Array, ""], probability: Number, new: Float[Array, "*size c"], old: Float[Array, "*size c"]
) -> Float[Array, "*size c"]:
    """The new values in channels drawn with a probability, the old ones in the others."""
    if probability == 1:
        return new
    chosen: Bool[Array, " c"] = jax.random.uniform(key, old.shape[-1:]) < probability
    return jnp.where(chosen, new, old)
