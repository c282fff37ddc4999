"""Sizes of arrays, and what the taps of a kernel see of images that are padded already."""

from collections.abc import Sequence
from typing import Any

import jax.numpy as jnp
from jaxtyping import Array, Float

from fcn.environment import largest
from fcn.kernels.padding import Pads


def is_static(shape: Sequence[Any]) -> bool:
    """Whether all sizes are numbers. Programs for any size (`jax.export`) have symbols among them, and take XLA's own forms."""
    return all(isinstance(size, int) for size in shape)


def output_size(
    size: Sequence[Any], kernel_size: Sequence[int], strides: Sequence[int], pads: Pads, dilation: Sequence[int]
) -> tuple[Any, ...]:
    """Rows and columns of a convolution's output (more or fewer sides likewise); 0 where the kernel does not fit."""
    settings = zip(size, kernel_size, strides, pads, dilation)
    return tuple(largest(0, (n + sum(pad) - (k - 1) * d - 1) // s + 1) for n, k, s, pad, d in settings)


def seen_by_taps(
    x: Float[Array, "*batch h w c"],
    kernel_size: Sequence[int],
    size: Sequence[int],
    strides: Sequence[int],
    dilation: Sequence[int],
) -> list[Float[Array, "*batch h2 w2 c"]]:
    """The pixels under each tap, row by row of the kernel, for an output of this size."""

    def under(tap, axis):
        start = tap * dilation[axis]
        return slice(start, start + size[axis] * strides[axis], strides[axis])

    kh, kw = kernel_size
    return [x[..., under(i, 0), under(j, 1), :] for i in range(kh) for j in range(kw)]


def stack_windows(
    x: Float[Array, "n h w c"],
    size: Sequence[int],
    kernel_size: Sequence[int],
    strides: Sequence[int],
    dilation: Sequence[int],
) -> Float[Array, "positions windows"]:
    """The windows of all positions as rows, [n h w, kh kw c]."""
    taps = seen_by_taps(x, kernel_size, size, strides, dilation)
    return jnp.concatenate(taps, -1).reshape(-1, len(taps) * x.shape[-1])


def copies(kernel_shape: Sequence[int]) -> tuple[int, int]:
    """Numbers for each pixel in the two products that the kernel's gradient is of shifted arrays: by columns, and by taps."""
    kh, kw, c, o = kernel_shape
    return kw * c + kh * o, c + kh * kw * o
