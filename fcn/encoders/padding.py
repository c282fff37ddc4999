"""Extending images whose size a network cannot take."""

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float


def extend(x: Float[Array | np.ndarray, "b h w c"], height: int, width: int) -> Float[Array, "b {height} {width} c"]:
    """Repeats the last row and the last column until the image has the given size, at least its own.

    Pixel (i, j) stays pixel (i, j): what a network says of the image is the upper left corner of what it says of the result.
    """
    return jnp.pad(x, ((0, 0), (0, height - x.shape[1]), (0, width - x.shape[2]), (0, 0)), mode="edge")


def extend_to_multiple(x: Float[Array | np.ndarray, "b h w c"], multiple: int) -> Float[Array, "b h2 w2 c"]:
    """`extend` to the next sides that divide by `multiple`."""
    _, height, width, _ = x.shape
    return extend(x, height + -height % multiple, width + -width % multiple)
