"""Convolutions and their kernel gradients as one matrix product with the stacked windows, for CPUs; "wide", for GPUs.

Any kernel, stride and dilation. The convolution pays where there are few positions and much of a kernel: FCN's fc6 on 9x9
positions takes 154 ms instead of 396 (PyTorch: 152). Dilated kernels of few channels take it, too: nine products of 12 channels
each cost more than the memory of the windows (12 to 12 at 2 x 56x56: 0.20 ms, XLA's own 0.28; Zen 5).

XLA's own gradient with respect to the kernel slows down as the cotangent grows: from 30 GF/s to 4 once that has more than some
8 MB, where the forward pass runs at ten times that; the product walks over blocks of rows that stay in the cache.

FCN's fc6 has a kernel of 103 M numbers for a few positions. As a product a GPU reads it where it lies; cuDNN wants it
transposed, and its gradient is transposed back.
"""

import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Float

from fcn.kernels.padding import NO_PADS, Pads, pad_images, place
from fcn.kernels.products import matmul, sum_over_positions
from fcn.kernels.windows import output_size, stack_windows

BLOCK_BYTES = 2**21
"""About the size of a core's second-level cache."""


def im2col_convolution(
    x: Float[Array, "n h2 w2 c"],
    kernel: Float[Array, "kh kw c o"],
    strides: tuple[int, int],
    pads: Pads,
    dilation: tuple[int, int],
) -> Float[Array, "n h w o"]:
    """A convolution as one product [P, kh kw C] [kh kw C, O] over P positions; arguments as those of `im2col_gradient`.

    Returns:
      [N, H, W, O] in the type of `x`; the sums are at least float32.
    """
    n, *sides = x.shape[:3]
    (*kernel_size, _, o), sums = kernel.shape, jnp.promote_types(x.dtype, jnp.float32)
    size = output_size(sides, kernel_size, strides, pads, dilation)
    padded = pad_images(x.astype(sums), pads)
    columns = stack_windows(padded, size, kernel_size, strides, dilation)
    return matmul(columns, kernel.astype(sums).reshape(-1, o)).reshape(n, *size, o).astype(x.dtype)


def im2col_gradient(
    x: Float[Array, "n h2 w2 c"],
    dy: Float[Array, "n h w o"],
    kernel_size: tuple[int, int],
    strides: tuple[int, int] = (1, 1),
    pads: Pads = NO_PADS,
    dilation: tuple[int, int] = (1, 1),
    alone: bool = False,
) -> Float[Array, "kh kw c o"]:
    """The gradient with respect to the kernel of a convolution, as one product [P, kh kw C]^T [P, O] over P positions.

    Args:
      x: the input.
      dy: the gradient with respect to the output.
      kernel_size: (kh, kw).
      strides: of the convolution, (rows, columns).
      pads: zeros around the input, ((top, bottom), (left, right)).
      dilation: distance of the kernel's taps, (rows, columns).
      alone: whether the arrays are on one device: a loop over blocks would communicate in every turn.

    Returns:
      [kh, kw, C, O] in the type of `x`; the sums are at least float32.
    """
    (n, h, w, o), c, (kh, kw), (sh, sw) = dy.shape, x.shape[-1], kernel_size, strides
    rows, count = _blocks(h, 4 * n * w * (kh * kw * c + o)) if alone and h else (h, 1)
    reach = (rows - 1) * sh + (kh - 1) * dilation[0] + 1
    x = place(x, pads, (rows * count - rows) * sh + reach, (w - 1) * sw + (kw - 1) * dilation[1] + 1)
    dy = place(dy, NO_PADS, rows * count, w)

    def product(block):
        columns = stack_windows(_rows(x, block * rows * sh, reach), (rows, w), kernel_size, strides, dilation)
        return sum_over_positions(columns, _rows(dy, block * rows, rows).reshape(-1, o))

    return _sum_over_blocks(product, count).reshape(kh, kw, c, o).astype(x.dtype)


def _blocks(rows: int, bytes_per_row: int) -> tuple[int, int]:
    """Rows of a block, and how many blocks cover all rows."""
    count = -(-rows // max(1, BLOCK_BYTES // max(1, bytes_per_row)))
    block = -(-rows // count)
    return block, -(-rows // block)


def _rows(x, start, size):
    """Some rows, in the type in which they are summed."""
    return lax.dynamic_slice_in_dim(x, start, size, 1).astype(jnp.promote_types(x.dtype, jnp.float32))


def _sum_over_blocks(product, count):
    if count == 1:
        return product(0)
    zeros = jnp.zeros_like(jax.eval_shape(product, 0))
    return lax.fori_loop(0, count, lambda block, total: total + product(block), zeros)


def convolve_wide(
    x: Float[Array, "n h2 w2 c"], kernel: Float[Array, "kh kw c o"], strides: tuple, pads: Pads, dilation: tuple
) -> Float[Array, "n h w o"]:
    """A convolution whose factors and results are of the type of `x`; accelerators sum in float32."""
    size = output_size(x.shape[1:3], kernel.shape[:2], strides, pads, dilation)
    columns = stack_windows(pad_images(x, pads), size, kernel.shape[:2], strides, dilation)
    return (columns @ kernel.reshape(-1, kernel.shape[-1])).reshape(x.shape[0], *size, kernel.shape[-1])


def wide_input_gradient(
    dy: Float[Array, "n h w o"],
    kernel: Float[Array, "kh kw c o"],
    images_shape: tuple,
    strides: tuple,
    pads: Pads,
    dilation: tuple,
) -> Float[Array, "n h2 w2 c"]:
    """The gradient with respect to images of this shape; what the windows share is summed in float32 at least."""
    sums = jnp.promote_types(dy.dtype, jnp.float32)
    by_windows = (dy.reshape(-1, dy.shape[-1]) @ kernel.reshape(-1, kernel.shape[-1]).T).astype(sums)

    def stack(x):
        return stack_windows(pad_images(x, pads), dy.shape[1:3], kernel.shape[:2], strides, dilation)

    return jax.linear_transpose(stack, jax.ShapeDtypeStruct(images_shape, sums))(by_windows)[0].astype(dy.dtype)


def wide_kernel_gradient(
    x: Float[Array, "n h2 w2 c"], dy: Float[Array, "n h w o"], kernel_shape: tuple, strides: tuple, pads: Pads, dilation: tuple
) -> Float[Array, "kh kw c o"]:
    """The gradient with respect to a kernel of this shape."""
    columns = stack_windows(pad_images(x, pads), dy.shape[1:3], kernel_shape[:2], strides, dilation)
    return (columns.T @ dy.reshape(-1, dy.shape[-1])).reshape(kernel_shape)
