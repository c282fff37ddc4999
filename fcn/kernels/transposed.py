"""Transposed convolutions.

With stride s, the output of images falls into s x s phases, each of which is an ordinary convolution of the input with every
s-th tap of the kernel. All phases together are one matrix product of [positions, m m C] and [m m C, s s O], where m =
ceil(k / s), and a shuffle of pixels. For a 2x2 kernel with stride 2 (U-Net) m is 1 and nothing is gathered at all. Signals and
volumes likewise.
"""

import math
from collections.abc import Sequence
from itertools import chain, product

import jax.numpy as jnp
from jaxtyping import Array, Float

from fcn.kernels.call import Call
from fcn.kernels.convolution import convolve
from fcn.kernels.mode import or_xla
from fcn.kernels.products import matmul
from fcn.kernels.table import choose
from fcn.kernels.xla import native_transposed


@or_xla(native_transposed)
def convolve_transposed(
    x: Float[Array, "b *spatial c"], kernel: Float[Array, "*taps i o"], strides: tuple[int, ...], groups: int = 1
) -> Float[Array, "b *larger o"]:
    """The transposed convolution without padding: [B, H, W, C] to [B, (H - 1) * s + kh, (W - 1) * s + kw, O]."""
    (n, *sides, _), (*taps, _, features), ones = x.shape, kernel.shape, (1,) * len(strides)
    size = [(side - 1) * s + k for side, s, k in zip(sides, strides, taps)]
    shapes = x.shape, kernel.shape, (n, *size, features)
    algorithm = choose(Call("transposed", "convolution", "other", *shapes, x.dtype, strides, groups=groups)).algorithm
    if algorithm == "convolution":
        return convolve(x, kernel, strides, tuple((k - 1, k - 1) for k in taps), ones, groups)
    window = [-(-k // s) for k, s in zip(taps, strides)]
    phases = _phases(kernel, window, strides, groups)
    if algorithm == "product":
        windows = _windows(x, window)
        y = matmul(windows.reshape(-1, windows.shape[-1]), phases.reshape(windows.shape[-1], -1))
    else:
        y = convolve(x, phases, ones, tuple((m - 1, m - 1) for m in window), ones, groups)
    counts = [side + m - 1 for side, m in zip(sides, window)]
    return _shuffled(y.reshape(n, *counts, groups, *strides, features // groups), len(sides))[:, *map(slice, size)]


def _phases(kernel, window, strides, groups):
    """[kh, kw, C / g, O] to the kernel of all phases at once, [mh, mw, C / g, g * sh * sw * (O / g)]."""
    *taps, channels, features = kernel.shape
    rank = len(taps)
    kernel = jnp.pad(kernel, (*((m * s - k, 0) for m, s, k in zip(window, strides, taps)), (0, 0), (0, 0)))
    kernel = kernel.reshape(*_alternately(window, strides), channels, groups, features // groups)
    kernel = kernel[*(slice(None), slice(None, None, -1)) * rank]
    order = *range(0, 2 * rank, 2), 2 * rank, 2 * rank + 1, *range(1, 2 * rank, 2), 2 * rank + 2
    return kernel.transpose(order).reshape(*window, channels, features * math.prod(strides))


def _windows(x, window):
    """All windows of mh x mw pixels that touch the image: [B, H + mh - 1, W + mw - 1, mh mw C]."""
    if set(window) == {1}:
        return x
    counts = [side + m - 1 for side, m in zip(x.shape[1:-1], window)]
    x = jnp.pad(x, ((0, 0), *((m - 1, m - 1) for m in window), (0, 0)))
    shifts = [x[:, *map(slice, start, map(sum, zip(start, counts)))] for start in product(*map(range, window))]
    return jnp.concatenate(shifts, -1)


def _shuffled(y, rank):
    """[B, H, W, g, sh, sw, O / g] to [B, H sh, W sw, O]."""
    y = y.transpose(0, *_alternately(range(1, rank + 1), range(rank + 2, 2 * rank + 2)), rank + 1, 2 * rank + 2)
    n, *sides, groups, features = y.shape
    return y.reshape(n, *(side * s for side, s in zip(sides[::2], sides[1::2])), groups * features)


def _alternately(first: Sequence[int], second: Sequence[int]) -> list[int]:
    """One of the first, one of the second, and so on."""
    return list(chain(*zip(first, second)))
