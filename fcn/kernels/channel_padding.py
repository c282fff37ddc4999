"""Convolutions with channels of zeros added up to a multiple of four, for CPUs and JAX before 0.12.

XLA's library for convolutions (YNNPACK) was slow for numbers of channels that four does not divide (odd ones, for 17 to 32
features), depending on how many vectors of 16 features there are.
"""

import jax.numpy as jnp
from jaxtyping import Array, Float

from fcn.kernels.padding import Pads
from fcn.kernels.xla import native_convolution


def channel_padded_convolution(
    x: Float[Array, "n h2 w2 c"],
    kernel: Float[Array, "kh kw c o"],
    strides: tuple[int, int],
    pads: Pads,
    dilation: tuple[int, int],
) -> Float[Array, "n h w o"]:
    """A convolution of images with zeros around them, ((top, bottom), (left, right))."""
    more = -x.shape[-1] % 4
    x = jnp.pad(x, ((0, 0), (0, 0), (0, 0), (0, more)))
    kernel = jnp.pad(kernel, ((0, 0), (0, 0), (0, more), (0, 0)))
    return native_convolution(x, kernel, strides, pads, dilation)
