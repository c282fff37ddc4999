"""The mean over the pixels of all devices whose targets are known."""

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float


def mean_of(
    values: Float[Array, "*pixels"], *, known: Bool[Array | np.ndarray, "*pixels"], axis_name: str | None = None
) -> Float[Array, ""]:
    """Sum over count of the pixels that are known, both summed over the `pmap` axis first; 0 where there is none."""
    total, count = jnp.sum(jnp.where(known, values, 0)), jnp.sum(known).astype(jnp.float32)
    if axis_name is not None:
        total, count = jax.lax.psum((total, count), axis_name)
    return total / jnp.maximum(count, 1)
