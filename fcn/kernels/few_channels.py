"""Convolutions of few channels, for which XLA's library on CPUs (YNNPACK) is slow.

* **Pairs.** Two neighbouring columns of the output see four columns of the image; as one position with twice the features
  they take a third more multiplications, but half as many windows, and few features fill no more than one vector. Where
  YNNPACK would leave processors idle, one row more than the image has is computed and cut off again: such a convolution XLA
  gives to Eigen, which divides all positions.
* **Strips**, before JAX 0.12. YNNPACK divided the columns of an output among processors, not its rows, and with so few
  channels only from 1024 columns on. An image cut into strips, which are put side by side as one wide image, has as many.
  Both processors work then; the price is a copy of the output, for which one processor alone gets nothing, and which costs
  little where something elementwise follows.
* **Padded channels**, before JAX 0.12. It was slow for numbers of channels that four does not divide (odd ones, for 17 to 32
  features), depending on how many vectors of 16 features there are.
"""

import jax.numpy as jnp
from jaxtyping import Array, Float

from fcn.kernels.padding import Pads, place
from fcn.kernels.windows import output_size
from fcn.kernels.xla import native_convolution

COLUMNS = 4096
"""Of the strips' wide image: with four times those 1024 it was as fast or faster."""


def convolve_pairs(
    x: Float[Array, "n h2 w2 c"], kernel: Float[Array, "kh kw c o"], pads: Pads, another_row: bool = False
) -> Float[Array, "n h w o"]:
    """A convolution with stride 1 and zeros around the images, ((top, bottom), (left, right)); sums are at least float32."""
    (kh, kw, c, o), ((top, bottom), (left, right)) = kernel.shape, pads
    h, w = output_size(x.shape[1:3], (kh, kw), (1, 1), pads, (1, 1))
    dtype, sums = x.dtype, jnp.promote_types(x.dtype, jnp.float32)
    x, kernel = x.astype(sums), kernel.astype(sums)
    shifted = [jnp.pad(kernel, ((0, 0), (column, 1 - column), (0, 0), (0, 0))) for column in range(2)]
    of_pairs = jnp.stack(shifted, 3).reshape(kh, kw + 1, c, 2 * o)
    more = max(0, x.shape[1] + 1 - h) if another_row else 0
    y = native_convolution(x, of_pairs, (1, 2), ((top, bottom + more), (left, right + w % 2)), (1, 1))
    return y.reshape(x.shape[0], h + more, w + w % 2, o)[:, :h, :w].astype(dtype)


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
