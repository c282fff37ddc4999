"""Convolutions to few features, and their gradients by the kernel, as one product with all taps at once, for CPUs.

The product [positions, C] [C, taps O], whose results are shifted and summed, reads the images once, and its columns are many
where O alone would be few. XLA's own takes one processor for most such shapes. Milliseconds (3x3, float32, two processors of
an AMD EPYC Zen 4; batch, height x width, channels -> features):

    shape                       native    shifts
    2, 112x112, 192 -> 12       25        11
    2,   56x56, 240 -> 12       12        4.1
    2,   56x56, 300 -> 16       10        5.9
    2,   28x28, 256 -> 12       3.3       1.1
    2, 224x224,  96 -> 12       33        32
    2, 224x224,  96 -> 16       33        60

Largest error against float64, relative to the largest result (256 to 12 channels at 64x64; convolution | gradient by the
kernel): 0.2e-6 | 0.5e-6 in float32, 2.3e-3 | 2.5e-3 in bfloat16.

The gradient by the kernel is one product of the images with the gradients by the output, shifted to where each tap saw the
image, or, where channels are few, too, of shifted images with shifted gradients. There blocks of rows are computed one after
the other, and their copies are multiplied while they are in the cache: 16 to 16 at 2 x 224x224 takes 2.1 ms in place of 4.0, if
the processors share that cache, and 4.3 if not. Milliseconds (Zen 5) beside XLA's own, windows of the images (im2col) and the
better of Winograd's:

    kernel; shape                    native   im2col   Winograd   shifts
    3x3; 2, 224x224,   3 -> 16       1.4      1.4      1.8        0.9
    3x3; 2, 224x224,   8 -> 32       6.3      3.9      3.7        2.3
    3x3; 2, 224x224,  16 -> 16       8.9      3.2      4.7        2.1
    3x3; 2, 224x224,  16 -> 32       10       5.5      5.8        3.6
    3x3; 2, 112x112,  16 -> 16       1.8      1.1      0.9        0.6
    3x3; 2, 224x224,  64 -> 16       38       40       13         14
    3x3; 2, 224x224, 272 -> 16       121      142      40         34
    3x3; 2, 112x112, 464 -> 16       49       38       20         9.4
    3x3; 2,   28x28, 512 -> 16       4.0      6.2      1.5        1.3
    3x3; 2,     7x7, 784 -> 16       1.0      0.5      0.3        0.1
    7x7; 2,     7x7, 512 ->  1       3.2      0.6                 0.1
"""

import functools
import operator
from itertools import pairwise

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from fcn.kernels.blocks import number_of_blocks
from fcn.kernels.fusion import computed_once, sum_in_turn
from fcn.kernels.padding import Pads, pad_images, place
from fcn.kernels.products import sum_over_positions
from fcn.kernels.windows import output_size

FEW_CHANNELS = 32
"""Of images whose gradient is computed in blocks that stay in the cache; those of more channels are slower in so many."""
FEWEST_CHANNELS = 16
"""Those with up to so many, and up to twice as many features, gain most."""


def convolve_shifts(
    x: Float[Array, "n h2 w2 c"], kernel: Float[Array, "kh kw c o"], pads: Pads, dilation: tuple[int, int]
) -> Float[Array, "n h w o"]:
    """A convolution with stride 1 and zeros around the images, ((top, bottom), (left, right)); sums are at least float32."""
    (n, height, width, c), (kh, kw, _, o), sums = x.shape, kernel.shape, jnp.promote_types(x.dtype, jnp.float32)
    h, w = output_size((height, width), (kh, kw), (1, 1), pads, dilation)
    columns = kernel.astype(sums).transpose(2, 0, 1, 3).reshape(c, kh * kw * o)
    y = (x.astype(sums).reshape(-1, c) @ columns).reshape(n, height, width, kh * kw * o)
    y = place(y, pads, h + (kh - 1) * dilation[0], w + (kw - 1) * dilation[1])
    shifts = [(i * dilation[0], j * dilation[1]) for i in range(kh) for j in range(kw)]
    shifted = (y[:, i : i + h, j : j + w, t * o : (t + 1) * o] for t, (i, j) in enumerate(shifts))
    return functools.reduce(operator.add, shifted).astype(x.dtype)


def shifts_gradient(
    x: Float[Array, "n h2 w2 c"],
    dy: Float[Array, "n h w o"],
    kernel_size: tuple[int, int],
    pads: Pads,
    dilation: tuple[int, int],
) -> Float[Array, "kh kw c o"]:
    """The gradient by the kernel of a convolution with stride 1, from its input and the gradient by its output.

    One product [P, C]^T [P, kh kw O] over the P pixels of `x`, each with the gradients of all the outputs that see it. Where
    less is written that way, [P, kw C]^T [P, kh O]: as many pixels of a row, with the gradients of a column of outputs.
    """
    (n, _, w, o), (_, height, width, c), (kh, kw), (down, right) = dy.shape, x.shape, kernel_size, dilation
    (top, _), (left, _), dtype, sums = *pads, x.dtype, jnp.promote_types(x.dtype, jnp.float32)
    x, dy = x.astype(sums), computed_once(dy.astype(sums))
    of_x, of_dy = [(0, width)], [(left - j * right, left - j * right + width) for j in range(kw)]
    by_columns, by_taps = _written((kh, kw, c, o))
    if by_columns < by_taps:
        of_x, of_dy = [(j * right - left, j * right - left + w) for j in range(kw)], [(0, w)]

    def product(block, x, dy):
        first, last = block
        pixels = [_part(x, (first, last), columns) for columns in of_x]
        rows = [(first + top - i * down, last + top - i * down) for i in range(kh)]
        outputs = [_part(dy, part, columns) for part in rows for columns in of_dy]
        a, b = (jnp.concatenate(parts, -1) for parts in (pixels, outputs))
        return sum_over_positions(a.reshape(-1, a.shape[-1]), b.reshape(-1, b.shape[-1]))

    written = 4 * n * height * width * (len(of_x) * c + kh * len(of_dy) * o)
    count = number_of_blocks(height, written, cached=c <= FEW_CHANNELS)
    edges = [height * number // count for number in range(count + 1)]
    total = sum_in_turn(product, list(pairwise(edges)), x, dy)
    return total.reshape(len(of_x), c, kh, len(of_dy), o).transpose(2, 0, 3, 1, 4).reshape(kh, kw, c, o).astype(dtype)


def fewer_than_windows(kernel_shape: tuple[int, int, int, int]) -> bool:
    """Whether `shifts_gradient` writes less than the windows of the images and the gradient by the output are."""
    kh, kw, c, o = kernel_shape
    return min(_written(kernel_shape)) < kh * kw * c + o


def pays_in_cached_blocks(kernel_shape: tuple[int, int, int, int], dilation: tuple[int, int]) -> bool:
    """Whether channels and features are so few that `shifts_gradient` is faster in blocks than other forms, whatever it writes.

    With several devices there is one block.
    """
    few = kernel_shape[2] <= FEWEST_CHANNELS and kernel_shape[3] <= 2 * FEWEST_CHANNELS
    return few and kernel_shape[:2] == (3, 3) and dilation == (1, 1) and jax.device_count() == 1


def _written(kernel_shape):
    """Numbers for each pixel in the two forms of the product."""
    kh, kw, c, o = kernel_shape
    return kw * c + kh * o, c + kh * kw * o


def _part(x, rows, columns):
    """Rows and columns from the first of two numbers up to the second; zeros where they lie outside of `x`."""
    return pad_images(x, ((-rows[0], rows[1] - x.shape[1]), (-columns[0], columns[1] - x.shape[2])))
