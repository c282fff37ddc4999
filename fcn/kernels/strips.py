"""Convolutions of few channels on strips of the image side by side, for CPUs and JAX before 0.12.

XLA's library for convolutions (YNNPACK) divided the columns of an output among processors, not its rows, and with so few
channels only from 1024 columns on. An image cut into strips, which are put side by side as one wide image, has as many. Both
processors work then; the price is a copy of the output, for which one processor alone gets nothing, and which costs little
where something elementwise follows. Milliseconds (float32, bias and ReLU included, two processors of an AMD EPYC Zen 5; batch,
height x width, channels -> features), with JAX 0.10.2; with 0.12 the second takes 2.1, and the sixth 0.54:

    kernel          shape                    image    strips
    7x7 stride 2    2, 224x224,  3 -> 64     2.1      1.4
    7x7 stride 2    2, 224x224,  3 -> 96     4.9      2.2
    7x7 stride 2    1, 512x512,  3 -> 64     5.5      3.8
    7x7 stride 2    1, 512x512,  3 -> 96     10       6.7
    3x3 stride 2    2, 224x224,  3 -> 48     0.55     0.59
    3x3 stride 2    2, 224x224,  3 -> 64     0.80     0.69
      and a max-pool after it                1.3      0.87
    3x3             2, 224x224, 16 -> 48     7.2      5.5
    3x3             2, 224x224, 32 -> 16     5.2      4.6
    3x3             2, 224x224, 64 -> 16     8.0      10
    where both columns are in fours (`fcn.kernels.fours`):
    7x7 stride 2    2, 224x224,  3 -> 80     4.3      3.0
    3x3             2, 224x224, 25 -> 25     8.9      6.5
    3x3             2, 224x224, 21 -> 48     12       8.4

Largest error against float64, relative to the largest result (7x7, stride 2, 3 to 64 channels, 128x128): 0.5e-6 in float32,
2.1e-3 in bfloat16.
"""

from collections.abc import Sequence

import jax.numpy as jnp
from jaxtyping import Array, Float

from fcn.kernels.forms import leaves_processors_idle
from fcn.kernels.fours import convolve_fours, pays_in_fours
from fcn.kernels.padding import Pads, place
from fcn.kernels.windows import output_size
from fcn.kernels.xla import native_convolution

COLUMNS = 4096
"""Of the wide image's output: with four times those 1024 it was as fast or faster."""
WIDEST = 341
"""Columns of an image's output; up to 256 were measured."""


def pays_in_strips(output: Sequence[int], kernel_shape: Sequence[int], strides: Sequence[int]) -> bool:
    """Whether a convolution is faster on strips, for the shapes of its output [n, h, w, o] and kernel [kh, kw, c, o]: large
    kernels, or many features, with strides for the channels of an image, and 3x3 kernels for maps of many pixels and few
    channels.
    """
    (n, h, w, _), (kh, kw, channels, features) = output, kernel_shape
    much = (min(kh, kw) >= 7 and features > 32) or ((kh, kw) == (3, 3) and features >= 64)
    stem = much and channels <= 4 and min(strides) > 1 and h * w >= 2**13
    narrow = min(channels, features) >= 16 and channels <= 32 and features <= 48  # with fewer, in pairs
    small = (kh, kw) == (3, 3) and narrow and max(strides) == 1 and n * h * w >= 2**15
    return leaves_processors_idle() and (stem or small) and h >= 64 and 64 <= w <= WIDEST


def convolve_strips(
    x: Float[Array, "n h2 w2 c"], kernel: Float[Array, "kh kw c o"], strides: tuple[int, int], pads: Pads
) -> Float[Array, "n h w o"]:
    """A convolution of images with zeros around them, ((top, bottom), (left, right))."""
    n, (*kernel_size, channels, features) = x.shape[0], kernel.shape
    h, w = output_size(x.shape[1:3], kernel_size, strides, pads, (1, 1))
    # Columns of a strip with those whose windows reach into the next one; an even number can make a convolution slower.
    width = -(-((w - 1) * strides[1] + kernel_size[1]) // strides[1]) | 1
    rows = -(-h // -(-COLUMNS // width))
    count = -(-h // rows)
    step, height = rows * strides[0], (rows - 1) * strides[0] + kernel_size[0]
    columns, steps = width * strides[1], -(-height // step)
    x = place(x, pads, (count + steps - 1) * step, columns)
    # All strips' first steps of rows, all second ones ...: few slices of all images, as a slice for each strip is a copy each.
    parts = [x[:, i * step : (i + count) * step].reshape(n, count, step, columns, channels) for i in range(steps)]
    wide = jnp.concatenate(parts, 2)[:, :, :height].swapaxes(1, 2).reshape(n, height, count * columns, channels)
    beyond = (0, 0), (0, max(0, kernel_size[1] - strides[1]))
    convolution = convolve_fours if pays_in_fours(channels, features) else native_convolution
    y = convolution(wide, kernel, strides, beyond, (1, 1))
    y = y.reshape(n, rows, count, width, features)[:, :, :, :w].swapaxes(1, 2)
    return y.reshape(n, count * rows, w, features)[:, :h]
