"""Convolutions of images with few channels and strides: the pixels of a stride become channels.

With stride s, s x s neighbouring pixels are one with s s C channels, and a kernel of k x k taps one of k / s x k / s without
strides. cuDNN's kernels for matrix units want channels by the eight and more; of three it makes its slow ones.
"""

import jax.numpy as jnp
from jaxtyping import Array, Float

from fcn.kernels.padding import NO_PADS, Pads, place
from fcn.kernels.windows import output_size
from fcn.kernels.xla import native_convolution

MULTIPLE = 16
"""Channels are filled up to a multiple of so many, with zeros."""


def space_to_depth_convolution(
    x: Float[Array, "n h2 w2 c"], kernel: Float[Array, "kh kw c o"], strides: tuple[int, int], pads: Pads
) -> Float[Array, "n h w o"]:
    """A convolution without dilation."""
    size = output_size(x.shape[1:3], kernel.shape[:2], strides, pads, (1, 1))
    taps = [-(-k // s) for k, s in zip(kernel.shape[:2], strides)]
    rows, columns = ((n + k - 1) * s for n, k, s in zip(size, taps, strides))
    x = _fold(place(x, pads, rows, columns), strides)
    beyond = [(0, k * s - size) for k, s, size in zip(taps, strides, kernel.shape)]
    kernel = jnp.pad(kernel, (*beyond, (0, 0), (0, 0)))
    kernel = jnp.moveaxis(_fold(jnp.moveaxis(kernel, -1, 0), strides), 0, -1)
    return native_convolution(x, kernel, (1, 1), NO_PADS, (1, 1))


def _fold(x, strides):
    """[N, H, W, C] to [N, H / s, W / s, s s C], filled up."""
    (n, h, w, c), (sh, sw) = x.shape, strides
    x = x.reshape(n, h // sh, sh, w // sw, sw, c).transpose(0, 1, 3, 2, 4, 5).reshape(n, h // sh, w // sw, sh * sw * c)
    return jnp.pad(x, ((0, 0), (0, 0), (0, 0), (0, -x.shape[-1] % MULTIPLE)))
