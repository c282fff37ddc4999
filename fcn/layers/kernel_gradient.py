"""Kernel gradients of convolutions as matrix products, for CPUs.

On a CPU, XLA's own gradient by the kernel slows down as the cotangent grows: from 30 GF/s to 4 once that has more than some
8 MB, where the forward pass runs at ten times that. The two forms here make plain matrix products of it, and walk over blocks
of rows that stay in the cache, since writing a fresh buffer costs as much as the arithmetic.

* `im2col_gradient`: any kernel, stride and dilation; one product of the stacked windows with the cotangent.
* `winograd_gradient`: 3x3 with stride 1; the transposed algorithm of F(4x4, 3x3), 36 products over a sixteenth of the
  positions (Lavin and Gray, "Fast Algorithms for Convolutional Neural Networks", CVPR 2016, section 4). Its relative error is
  about 1e-5 in float32.

Milliseconds of processor time (float32, AMD EPYC Zen 4; batch, height x width, channels in -> out):

    shape                             native   im2col   Winograd
    16, 128x128,   3 ->  16           8       17         28
    16, 128x128,  16 ->  16          60       59         40
    16,  64x64,   16 ->  16          10       16         10
     8,  90x120,  24 ->  24          31       37         21
     8,  90x120,  32 ->  32          55       64         34
     8,  90x120,  48 ->  48         344      102         51
     8,  90x120,  64 ->  64         928      204        112
     4,  64x64,  256 -> 256        1830      376        225
     8,  22x30,  128 -> 128          74       40         22
     8,  11x15,  256 -> 256          37       37         28
     8,   5x7,   512 -> 512          40        -        131
     8, 256x256,   3 ->  64         425      102        197
    others
    5x5, 8,  90x120, 64 -> 64      2270      608
    3x3 stride 2, 4, 256x256, 64 -> 64    707      206
    7x7 stride 2, 8, 256x256,  3 -> 64    461       88
"""

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jaxtyping import Array, Float

Pads = tuple[tuple[int, int], tuple[int, int]]

BLOCK_BYTES = 2**21
"""About the size of a core's second-level cache."""


def im2col_gradient(
    x: Float[Array, "n h2 w2 c"],
    dy: Float[Array, "n h w o"],
    kernel_size: tuple[int, int],
    strides: tuple[int, int] = (1, 1),
    pads: Pads = ((0, 0), (0, 0)),
    dilation: tuple[int, int] = (1, 1),
) -> Float[Array, "kh kw c o"]:
    """The gradient by the kernel of a convolution, as one product [P, kh kw C]^T [P, O] over P positions.

    Args:
      x: the input.
      dy: the gradient by the output.
      kernel_size: (kh, kw).
      strides: of the convolution, (rows, columns).
      pads: zeros around the input, ((top, bottom), (left, right)).
      dilation: distance of the kernel's taps, (rows, columns).

    Returns:
      [kh, kw, C, O] in the type of `x`; the sums are at least float32.
    """
    (n, h, w, o), c, (kh, kw), (sh, sw) = dy.shape, x.shape[-1], kernel_size, strides
    rows, count = _blocks(h, 4 * n * w * (kh * kw * c + o))
    reach = (rows - 1) * sh + (kh - 1) * dilation[0] + 1
    x = _place(x, pads, (rows * count - rows) * sh + reach, (w - 1) * sw + (kw - 1) * dilation[1] + 1)
    dy = _place(dy, ((0, 0), (0, 0)), rows * count, w)

    def product(block):
        window = _rows(x, block * rows * sh, reach)
        taps = [window[:, i * dilation[0] :, j * dilation[1] :] for i in range(kh) for j in range(kw)]
        taps = [tap[:, : (rows - 1) * sh + 1 : sh, : (w - 1) * sw + 1 : sw] for tap in taps]
        columns = jnp.concatenate(taps, -1).reshape(-1, kh * kw * c)
        return lax.dot_general(columns, _rows(dy, block * rows, rows).reshape(-1, o), (((0,), (0,)), ((), ())))

    return _sum_over_blocks(product, count).reshape(kh, kw, c, o).astype(x.dtype)


def winograd_gradient(
    x: Float[Array, "n h2 w2 c"], dy: Float[Array, "n h w o"], pads: Pads = ((0, 0), (0, 0))
) -> Float[Array, "3 3 c o"]:
    """`im2col_gradient` of a 3x3 kernel with stride 1, by Winograd's F(4x4, 3x3)."""
    (n, h, w, o), c = dy.shape, x.shape[-1]
    across = -(-w // 4)
    down, count = _blocks(-(-h // 4), 4 * 36 * n * across * (c + o))
    x = _place(x, pads, 4 * down * count + 2, 4 * across + 2)
    dy = _place(dy, ((0, 0), (0, 0)), 4 * down * count, 4 * across)

    def product(block):
        tiles = _tiles(_INPUT, _rows(x, 4 * down * block, 4 * down + 2), down, across)
        cotangents = _tiles(_OUTPUT.T, _rows(dy, 4 * down * block, 4 * down), down, across)
        return lax.dot_general(tiles, cotangents, (((1,), (1,)), ((0,), (0,))))

    total = _sum_over_blocks(product, count).reshape(6, 6, c, o)
    columns = _combine(_KERNEL.T, list(total))
    return _combine(_KERNEL.T, [columns[:, a] for a in range(6)]).astype(x.dtype)


# The matrices B^T, G and A^T of F(4, 3).
_INPUT = np.array(
    [
        [4, 0, -5, 0, 1, 0],
        [0, -4, -4, 1, 1, 0],
        [0, 4, -4, -1, 1, 0],
        [0, -2, -1, 2, 1, 0],
        [0, 2, -1, -2, 1, 0],
        [0, 4, 0, -5, 0, 1],
    ]
)
_KERNEL = np.array([[6, 0, 0], [-4, -4, -4], [-4, 4, -4], [1, 2, 4], [1, -2, 4], [0, 0, 24]], np.float32) / 24
_OUTPUT = np.array([[1, 1, 1, 1, 1, 0], [0, 1, -1, 2, -2, 0], [0, 1, 1, 4, 4, 0], [0, 1, -1, 8, -8, 1]])


def _tiles(matrix, x, down, across):
    """The matrix [6, taps] along rows and columns of all tiles, 4 apart: [n, h, w, c] -> [36, n * down * across, c].

    The 36 values of a tile are in the order (column, row).
    """
    (n, h, w, c), taps = x.shape, range(matrix.shape[1])
    x = x.reshape(n, h, w * c)
    lines = _combine(matrix, [x[:, i : i + 4 * down - 3 : 4] for i in taps]).reshape(6 * n * down, w, c)
    return _combine(matrix, [lines[:, j : j + 4 * across - 3 : 4] for j in taps]).reshape(36, -1, c)


def _combine(matrix, parts):
    """The matrix [rows, k] times k equally shaped arrays [...]: [rows, ...]. One sum compiles faster than a stack of sums."""
    columns = matrix.T.astype(parts[0].dtype).reshape(*matrix.T.shape, *(1,) * parts[0].ndim)
    return sum(column * part for column, part in zip(columns, parts))


def _blocks(rows: int, bytes_per_row: int) -> tuple[int, int]:
    """Rows of a block, and how many blocks cover all rows.

    Where there are several devices, the arrays may be split over them, and a loop would communicate in every turn: one block.
    """
    if jax.device_count() > 1:
        return rows, 1
    count = -(-rows // max(1, BLOCK_BYTES // bytes_per_row))
    block = -(-rows // count)
    return block, -(-rows // block)


def _place(x, pads, rows, columns):
    """The padded image, with zeros below and to the right, or cut, so that it has the given size."""
    (top, _), (left, _) = pads
    x = x[:, : max(0, rows - top), : max(0, columns - left)]
    bottom, right = rows - top - x.shape[1], columns - left - x.shape[2]
    return lax.pad(x, jnp.zeros((), x.dtype), ((0, 0, 0), (top, bottom, 0), (left, right, 0), (0, 0, 0)))


def _rows(x, start, size):
    """Some rows, in the type in which they are summed."""
    return lax.dynamic_slice_in_dim(x, start, size, 1).astype(jnp.promote_types(x.dtype, jnp.float32))


def _sum_over_blocks(product, count):
    if count == 1:
        return product(0)
    zeros = jnp.zeros_like(jax.eval_shape(product, 0))
    return lax.fori_loop(0, count, lambda block, total: total + product(block), zeros)
