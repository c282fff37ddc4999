"""Extending images whose size a network cannot take, and cutting them; signals and volumes likewise."""

from collections.abc import Sequence

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float


def extend(x: Float[Array | np.ndarray, "b *spatial c"], *size: int) -> Float[Array, "b *extended c"]:
    """Repeats the last row and the last column until the image has the given (height, width), at least its own.

    Pixel (i, j) stays pixel (i, j): what a network says of the image is the upper left corner of what it says of the result.
    """
    return jnp.pad(x, ((0, 0), *((0, new - old) for old, new in zip(x.shape[1:-1], size)), (0, 0)), mode="edge")


def extend_to_multiple(x: Float[Array | np.ndarray, "b *spatial c"], multiple: int) -> Float[Array, "b *extended c"]:
    """`extend` to the next sides that divide by `multiple`."""
    return extend(x, *(side + -side % multiple for side in x.shape[1:-1]))


def extend_to_least(x: Float[Array | np.ndarray, "b *spatial c"], least: int) -> Float[Array, "b *extended c"]:
    """`extend` to sides of at least `least`."""
    return extend(x, *(max(side, least) for side in x.shape[1:-1]))


def crop(x: Float[Array, "b *spatial c"], size: Sequence[int]) -> Float[Array, "b *cropped c"]:
    """The upper left part of an image, (height, width): what was before `extend`."""
    return x[:, *map(slice, size)]
