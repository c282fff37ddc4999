"""Convolutions of few channels on strips of the image side by side, for CPUs and JAX before 0.12.

XLA's library for convolutions (YNNPACK) divided the columns of an output among processors, not its rows, and with so few
channels only from 1024 columns on. An image cut into strips, which are put side by side as one wide image, has as many. Both
processors work then; the price is a copy of the output, for which one processor alone gets nothing. Milliseconds (float32, two
processors of an AMD EPYC Zen 5; batch, height x width, channels -> features), with JAX 0.10.2; with 0.12 the second takes 1.9:

    kernel          shape                    image    strips
    7x7 stride 2    2, 224x224,  3 -> 64     2.0      1.5
    7x7 stride 2    2, 224x224,  3 -> 96     4.3      2.3
    7x7 stride 2    1, 512x512,  3 -> 64     5.2      3.6
    7x7 stride 2    1, 512x512,  3 -> 96     14       6.0
    3x3             2, 224x224, 16 -> 48     6.7      4.8
    3x3             2, 224x224, 32 -> 16     4.7      3.8
    3x3             2, 224x224, 64 -> 16     6.0      7.7
"""

from collections.abc import Sequence

import jax.numpy as jnp
from jaxtyping import Array, Float

from fcn.layers.forms import leaves_processors_idle
from fcn.layers.native import native_convolution
from fcn.layers.padding import Pads, place
from fcn.layers.windows import output_size

COLUMNS = 1024
"""Of the wide image's output."""


def pays_in_strips(output: Sequence[int], kernel_shape: Sequence[int], strides: Sequence[int]) -> bool:
    """Whether a convolution is faster on strips, for the shapes of its output [n, h, w, o] and kernel [kh, kw, c, o]: large
    kernels with strides for the channels of an image, and 3x3 kernels for maps of many pixels and few channels.

    At least three strips of some rows each have to come together.
    """
    (n, h, w, _), (kh, kw, channels, features) = output, kernel_shape
    large = min(kh, kw) >= 7 and channels <= 4 and features > 32 and min(strides) > 1 and h * w >= 2**13
    narrow = min(channels, features) >= 16 and channels <= 32 and features <= 48  # with fewer, in pairs
    small = (kh, kw) == (3, 3) and narrow and max(strides) == 1 and n * h * w >= 2**15
    return leaves_processors_idle() and (large or small) and h >= 64 and 64 <= w <= COLUMNS // 3


def convolve_strips(
    x: Float[Array, "n h2 w2 c"], kernel: Float[Array, "kh kw c o"], strides: tuple[int, int], pads: Pads
) -> Float[Array, "n h w o"]:
    """A convolution of images with zeros around them, ((top, bottom), (left, right))."""
    n, kernel_size = x.shape[0], kernel.shape[:2]
    h, w = output_size(x.shape[1:3], kernel_size, strides, pads, (1, 1))
    # Columns of a strip with those whose windows reach into the next one; an even number can make a convolution slower.
    width = -(-((w - 1) * strides[1] + kernel_size[1]) // strides[1]) | 1
    rows = -(-h // -(-COLUMNS // width))
    count = -(-h // rows)
    step, height = rows * strides[0], (rows - 1) * strides[0] + kernel_size[0]
    x = place(x, pads, (count - 1) * step + height, width * strides[1])
    wide = jnp.concatenate([x[:, i * step : i * step + height] for i in range(count)], 2)
    beyond = (0, 0), (0, max(0, kernel_size[1] - strides[1]))
    y = native_convolution(wide, kernel, strides, beyond, (1, 1))
    y = y.reshape(n, rows, count, width, kernel.shape[3])[:, :, :, :w].swapaxes(1, 2)
    return y.reshape(n, count * rows, w, kernel.shape[3])[:, :h]
