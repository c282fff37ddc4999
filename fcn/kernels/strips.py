"""Convolutions of few channels on strips of the image side by side, for CPUs and JAX before 0.12.

XLA's library for convolutions (YNNPACK) divided the columns of an output among processors, not its rows, and with so few
channels only from 1024 columns on. An image cut into strips, which are put side by side as one wide image, has as many. Both
processors work then; the price is a copy of the output, for which one processor alone gets nothing, and which costs little
where something elementwise follows.
"""

import jax.numpy as jnp
from jaxtyping import Array, Float

from fcn.kernels.padding import Pads, place
from fcn.kernels.windows import output_size
from fcn.kernels.xla import native_convolution

COLUMNS = 4096
"""Of the wide image's output: with four times those 1024 it was as fast or faster."""


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
    y = native_convolution(wide, kernel, strides, beyond, (1, 1))
    y = y.reshape(n, rows, count, width, features)[:, :, :, :w].swapaxes(1, 2)
    return y.reshape(n, count * rows, w, features)[:, :h]
