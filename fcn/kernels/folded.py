"""Convolutions of images with few channels and strides: the pixels of a stride become channels.

With stride s, s x s neighbouring pixels are one with s s C channels, and a kernel of k x k taps one of k / s x k / s without
strides. cuDNN's kernels for matrix units want channels by the eight and more; of three it makes its slow ones. Milliseconds on
an H200 (bfloat16; 16 images of 512x512, 7x7, stride 2, 3 -> 64; forward, gradient by kernel):

    cuDNN         0.63, 0.41
    folded        0.30, 0.25    12 channels
    filled up     0.26, 0.21    16 channels

Largest error against float64, relative to the largest result (3x3, stride 2, 3 to 16 channels, 128x128): 0.2e-6 in float32,
2.3e-3 in bfloat16.

On CPUs 3x3 kernels to few features, which are Eigen's there, gain by it, filled up as well. Milliseconds (float32, two
processors of an AMD EPYC Zen 5, JAX 0.10.2; with 0.12 the first takes 0.60 and 0.44; to 24 features and more, folding takes
longer):

    batch, size, channels -> features    image    folded
    2, 224x224, 3 -> 16                  0.62     0.47
    2, 224x224, 3 -> 8                   0.54     0.45
    1, 256x256, 3 -> 16                  0.44     0.31
    4, 512x512, 3 -> 16                  6.9      6.4
"""

from collections.abc import Sequence

import jax.numpy as jnp
from jaxtyping import Array, Float

from fcn.kernels.padding import NO_PADS, Pads, place
from fcn.kernels.windows import output_size
from fcn.kernels.xla import native_convolution

MULTIPLE = 16
"""Channels are filled up to a multiple of so many, with zeros."""


def pays_folded(kernel_shape: Sequence[int], strides: tuple[int, int]) -> bool:
    """Whether a convolution without dilation is faster on a CPU."""
    *sides, channels, features = kernel_shape
    return sides == [3, 3] and strides == (2, 2) and channels <= 4 and features <= 16


def convolve_folded(
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
