"""3x3 convolutions with stride 1 by Winograd's algorithm, for CPUs.

Four neighbouring results of a convolution with three taps take twelve multiplications, but only six once inputs and kernel have
been transformed: y = A^T [(G k) * (B^T x)] (Lavin and Gray, "Fast Algorithms for Convolutional Neural Networks", CVPR 2016,
section 4, F(4, 3)). The six are matrix products over the channels here, so the arithmetic runs at the speed of a matrix product
while there is less of it:

* `rows`: along the rows only, with the three columns in one longer sum; half of the multiplications.
* `tiles`: along rows and columns, F(4x4, 3x3); a quarter. The transformed kernel is four times as large as the kernel, which
  costs more than it saves where there are few pixels.

The interpolation points are 0, +-sqrt(1/2), +-sqrt(2) and infinity in place of the paper's 0, +-1, +-2: a third of its error.
"""

import functools
import operator
from typing import Literal

import jax.numpy as jnp
import numpy as np
from jax import lax
from jaxtyping import Array, Float

from fcn.kernels.blocks import number_of_blocks
from fcn.kernels.padding import NO_PADS, Pads, place
from fcn.kernels.products import matmul, sum_over_positions
from fcn.kernels.space_to_batch import batch_to_space, space_to_batch

MANY_BLOCKS = 4
"""With so many the gradient transforms its images anew: a training step of a U-Net at 512x512 takes 2 to 7 percent longer and
500 MB less."""

Along = Literal["rows", "tiles"]


def winograd_convolution(
    x: Float[Array, "n h2 w2 c"],
    kernel: Float[Array, "3 3 c o"],
    pads: Pads,
    along: Along,
    dilation: tuple[int, int] = (1, 1),
    alone: bool = False,
) -> Float[Array, "n h w o"]:
    """A convolution with stride 1.

    Args:
      x: the images.
      kernel: the kernel.
      pads: zeros around the images, ((top, bottom), (left, right)).
      along: "rows" or "tiles".
      dilation: distance of the kernel's taps, (rows, columns).
      alone: whether one device has all processors.

    Returns:
      [N, H, W, O] in the type of `x`; the sums are at least float32.
    """
    (n, h, w), (c, o) = _size(x, pads, dilation), kernel.shape[2:]
    if dilation != (1, 1):
        y = winograd_convolution(space_to_batch(x, pads, (h, w), dilation, (2, 2)), kernel, NO_PADS, along, alone=alone)
        return batch_to_space(y, dilation)[:, :h, :w]
    kernel, rows, across = kernel.astype(_sum_type(x)), -(-h // 4), -(-w // 4)
    if along == "rows":
        blocks = _blocks(rows, 6 * n * w * (3 * c + o), alone)
        x = place(x, pads, 4 * rows + 2, w + 2)
        kernel = _transform(_KERNEL, kernel).reshape(6, 3 * c, o)
    else:
        blocks = _blocks(rows, 36 * n * across * (c + o), alone)
        x = place(x, pads, 4 * rows + 2, 4 * across + 2)
        kernel = _transform(_KERNEL_OF_TILES, kernel.reshape(9, c, o))

    def block(start, down):
        part = _part(x, 4 * start, 4 * down + 2)
        if along == "rows":
            y = matmul(_input_rows(part, down), kernel).reshape(6, n, down, w, o)
            return jnp.stack(_combine(_OUTPUT, y), 2).reshape(n, 4 * down, w, o)
        y = matmul(_tiles(_INPUT, part, down, across), kernel).reshape(6, 6, n, down, across, o)
        columns = lax.optimization_barrier(jnp.stack(_combine(_OUTPUT, y), 4))
        return jnp.stack(_combine(_OUTPUT, columns), 2).reshape(n, 4 * down, 4 * across, o)

    return jnp.concatenate([block(*where).astype(x.dtype) for where in blocks], 1)[:, :h, :w]


def winograd_gradient(
    x: Float[Array, "n h2 w2 c"],
    dy: Float[Array, "n h w o"],
    pads: Pads,
    along: Along,
    dilation: tuple[int, int] = (1, 1),
    alone: bool = False,
) -> Float[Array, "3 3 c o"]:
    """The gradient with respect to the kernel of a convolution with stride 1."""
    (n, h, w, o), c = dy.shape, x.shape[-1]
    if dilation != (1, 1):
        x, dy = space_to_batch(x, pads, (h, w), dilation, (2, 2)), space_to_batch(dy, NO_PADS, (h, w), dilation)
        return winograd_gradient(x, dy, NO_PADS, along, alone=alone)
    rows, across = -(-h // 4), -(-w // 4)
    floats = 6 * n * w * (3 * c + o) if along == "rows" else 36 * n * across * (c + o)
    width = w if along == "rows" else 4 * across
    x, dy = place(x, pads, 4 * rows + 2, width + 2), place(dy, NO_PADS, 4 * rows, width)

    def block(start, down):
        part, cotangent = _part(x, 4 * start, 4 * down + 2), _part(dy, 4 * start, 4 * down)
        if along == "rows":
            return sum_over_positions(_input_rows(part, down), _lines(_OUTPUT.T, cotangent, down).reshape(6, -1, o))
        return sum_over_positions(_tiles(_INPUT, part, down, across), _tiles(_OUTPUT.T, cotangent, down, across))

    total = functools.reduce(operator.add, (block(*where) for where in _blocks(rows, floats, alone, of_gradient=True)))
    matrix = _KERNEL if along == "rows" else _KERNEL_OF_TILES
    return _transform(matrix.T, total.reshape(len(matrix), -1)).reshape(3, 3, c, o).astype(x.dtype)


# The matrices B^T, G and A^T of F(4, 3).
_R, _S = np.sqrt([0.5, 2])
_INPUT = np.array(
    [
        [1, 0, -2.5, 0, 1, 0],
        [0, -_S, -2, _R, 1, 0],
        [0, _S, -2, -_R, 1, 0],
        [0, -_R, -0.5, _S, 1, 0],
        [0, _R, -0.5, -_S, 1, 0],
        [0, 1, 0, -2.5, 0, 1],
    ]
)
_KERNEL = np.array([[6, 0, 0], [-4, -4 * _R, -2], [-4, 4 * _R, -2], [1, _S, 2], [1, -_S, 2], [0, 0, 6]]) / 6
_OUTPUT = np.array(
    [[1, 1, 1, 1, 1, 0], [0, _R, -_R, _S, -_S, 0], [0, 0.5, 0.5, 2, 2, 0], [0, _R / 2, -_R / 2, 2 * _S, -2 * _S, 1]]
)
_KERNEL_OF_TILES = np.einsum("bj,ai->baij", _KERNEL, _KERNEL).reshape(36, 9)  # the 36 are in the order (column, row)


def _tiles(matrix, x, down, across):
    """The matrix [6, taps] along rows and columns of all tiles, 4 apart: [n, h, w, c] -> [36, n * down * across, c]."""
    lines = _lines(matrix, x, down)
    columns = [lines[:, :, :, j : j + 4 * across - 3 : 4] for j in range(matrix.shape[1])]
    return jnp.stack(_combine(matrix, columns)).reshape(36, -1, x.shape[-1])


def _input_rows(x, down):
    """[n, 4 down + 2, w + 2, c] -> [6, n * down * w, 3 c], the three columns beside each other."""
    width, channels = x.shape[2] - 2, x.shape[3]
    lines = _lines(_INPUT, x, down)
    return jnp.concatenate([lines[:, :, :, j : j + width] for j in range(3)], -1).reshape(6, -1, 3 * channels)


def _lines(matrix, x, down):
    """The matrix [6, taps] along the rows of all tiles: [6, n, down, w, c]."""
    lines = jnp.stack(_combine(matrix, [x[:, i : i + 4 * down - 3 : 4] for i in range(matrix.shape[1])]))
    return lax.optimization_barrier(lines)  # fused with what follows, it would compile for a second


def _combine(matrix, parts):
    """The matrix [rows, k] times k equally shaped arrays, as a list of arrays."""
    return [sum(factor * part for factor, part in zip(row, parts) if factor) for row in matrix.tolist()]


def _transform(matrix, array):
    """The matrix times the first axis, in the array's type."""
    return jnp.tensordot(matrix.astype(array.dtype), array, 1)


def _size(x, pads, dilation):
    """Batch, rows and columns of the output."""
    n, *sides = x.shape[:3]
    return n, *(side + sum(pad) - 2 * d for side, pad, d in zip(sides, pads, dilation))


def _sum_type(x):
    return jnp.promote_types(x.dtype, jnp.float32)


def _part(x, start, size):
    return x[:, start : start + size].astype(_sum_type(x))


def _blocks(rows: int, floats_per_row: int, alone: bool, *, of_gradient: bool = False) -> list[tuple[int, int]]:
    """First row and number of rows of each block, in rows of tiles.

    Where there are many, those of the gradient are not the convolution's: XLA would keep the images that the convolution has
    transformed, more than twice as large as the images, until the gradient wants the same.
    """
    down = -(-rows // number_of_blocks(rows, 4 * rows * floats_per_row, alone))
    if of_gradient and -(-rows // down) >= MANY_BLOCKS:
        down += 1
    return [(start, min(down, rows - start)) for start in range(0, rows, down)]
