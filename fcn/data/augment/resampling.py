"""Values of an array at any places: linear for images, nearest for labels. Places are a list with an array for each axis."""

import itertools
from typing import Literal

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Shaped

Boundary = Literal["ignore", "mirror"]
"""What lies outside of an image: nothing, or its mirror image, again and again."""
Places = list[Float[Array, "*out"]]


def grid(size: tuple[int, ...]) -> Places:
    """The places of all pixels of an array, from its centre: (n - 1) / 2 is 0."""
    axes = [jnp.arange(length, dtype=jnp.float32) - (length - 1) / 2 for length in size]
    return list(jnp.meshgrid(*axes, indexing="ij"))


def mapped(matrix: Float[Array, "m m"], places: Places) -> Places:
    """Places through a homogeneous matrix; by sums, as products of matrices are rounded to fewer bits on some devices."""
    axes = len(places)
    rows = [sum(matrix[i, j] * places[j] for j in range(axes)) + matrix[i, axes] for i in range(axes + 1)]
    return [row / rows[axes] for row in rows[:axes]]


def inside(places: Places, size: tuple[int, ...]) -> Bool[Array, "*out"]:
    """Which places lie in pixels of an array: pixel 0 reaches from -0.5 to 0.5."""
    found = jnp.ones(places[0].shape, bool)
    for place, length in zip(places, size):
        nearest = jnp.floor(place + 0.5)
        found &= (nearest >= 0) & (nearest < length)
    return found


def brought_inside(places: Places, size: tuple[int, ...], boundary: Boundary) -> Places:
    """Places outside of an array as those inside whose values they have: those of the edge, or the mirrored ones."""
    if boundary == "mirror":
        places = [_mirrored(place, length) for place, length in zip(places, size)]
    return [jnp.clip(place, 0, length - 1) for place, length in zip(places, size)]


def _mirrored(place: Float[Array, "*out"], length: int) -> Float[Array, "*out"]:
    """Mirrored at the outer edges of the first and the last pixel."""
    along = jnp.mod(place + 0.5, 2 * length)
    return jnp.where(along < length, along, 2 * length - along) - 0.5


def linear(array: Float[Array, "..."], places: Places) -> Float[Array, "..."]:
    """Values by linear interpolation between the nearest 2^axes pixels.

    Args:
        array: [*size, C].
        places: inside of the array, from `brought_inside`; [*out] for each axis.

    Returns:
        [*out, C]; at whole places the pixels themselves.
    """
    low = [jnp.floor(place) for place in places]
    shares = [place - start for place, start in zip(places, low)]
    total = jnp.zeros((), array.dtype)
    for corner in itertools.product((0, 1), repeat=len(places)):
        steps = zip(low, corner, array.shape)
        index = tuple(jnp.minimum(start.astype(int) + up, length - 1) for start, up, length in steps)
        weight = jnp.ones((), array.dtype)
        for share, up in zip(shares, corner):
            weight = weight * (share if up else 1 - share)
        total += weight[..., None] * array[index]
    return total


def nearest(array: Shaped[Array, "..."], places: Places) -> Shaped[Array, "..."]:
    """Values of the nearest pixel at places inside of the array, from `brought_inside`; of two the later one."""
    index = [jnp.floor(place + 0.5).astype(int) for place in places]
    return array[tuple(jnp.minimum(i, length - 1) for i, length in zip(index, array.shape))]


def at_pixels(
    chosen: Bool[Array | np.ndarray, "*size"],
    new: Shaped[Array | np.ndarray, "..."] | float | int,
    values: Shaped[Array | np.ndarray, "..."],
) -> Shaped[Array, "..."]:
    """New values, or one, at the pixels that are chosen; an array [*size] or [*size, K]."""
    return jnp.where(chosen.reshape(*chosen.shape, *[1] * (values.ndim - chosen.ndim)), new, values)
