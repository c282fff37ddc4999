"""Convolutions with kernels of size 1, as the matrix products which they are."""

import jax.numpy as jnp
from jaxtyping import Array, Float

from fcn.kernels.mode import is_xla
from fcn.kernels.products import multiply
from fcn.kernels.xla import native_pointwise


def convolve_pointwise(x: Float[Array, "*positions c"], kernel: Float[Array, "*ones c o"]) -> Float[Array, "*positions o"]:
    """The product of [positions, C] and [C, O]; `kernel` may have axes of length 1 in front."""
    if is_xla():
        return native_pointwise(x, kernel)
    channels, features = kernel.shape[-2:]
    positions = x.reshape(-1, channels) if x.size else jnp.zeros((0, channels), x.dtype)
    return multiply(positions, kernel.reshape(channels, features)).reshape(*x.shape[:-1], features)
