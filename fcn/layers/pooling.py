"""Max-pooling and average pooling."""

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Num

from fcn.kernels.padding import per_dimension
from fcn.kernels.pooling import pool_average, pool_max
from fcn.kernels.windows import is_static


def max_pool(
    x: Num[Array | np.ndarray, "b *spatial c"],
    window: int | tuple[int, ...] = 2,
    strides: int | tuple[int, ...] | None = None,
    *,
    padding: int | tuple[int, ...] = 0,
    ceil_mode: bool = False,
) -> Num[Array, "b *pooled c"]:
    """The largest value of every window, with PyTorch's rules for sizes.

    The gradient of a window goes to one element that has its largest value (as in PyTorch, whose choice among
    equal ones may differ).

    Args:
      x: feature maps [B, H, W, C], [B, L, C] or [B, D, H, W, C], floating point or integers.
      window: (rows, columns), a number for each spatial dimension, or one number for all.
      strides: distance of the windows, likewise; the window's size by default.
      padding: minus infinity around the maps, at most half a window, on both sides of each dimension.
      ceil_mode: also take the last window if it reaches over the lower or right border, as long as it starts inside the map
        or its upper or left padding.

    Returns:
      [B, H', W', C] with H' = floor((H + 2 padding - window) / stride) + 1, or with ceil in place of floor.

    Raises:
      ValueError: the padding is more than half the window, or the map is smaller than the window (PyTorch's error as well; a
        1x1 map has one 2x2 window with `ceil_mode` and none without); a size is a symbol of `jax.export`, and whether the last
        window of `ceil_mode` starts inside the map depends on it.
    """
    x = jnp.asarray(x)
    return pool_max(x, *_settings(x, window, strides, padding, ceil_mode))


def average_pool(
    x: Float[Array | np.ndarray, "b *spatial c"],
    window: int | tuple[int, ...] = 2,
    strides: int | tuple[int, ...] | None = None,
    *,
    padding: int | tuple[int, ...] = 0,
) -> Float[Array, "b *pooled c"]:
    """The mean of every window; zeros around the maps count, as in PyTorch by default.

    Args:
      x: feature maps [B, H, W, C], [B, L, C] or [B, D, H, W, C].
      window: (rows, columns), a number for each spatial dimension, or one number for all.
      strides: distance of the windows, likewise; the window's size by default.
      padding: zeros around the maps, at most half a window, on both sides of each dimension.

    Returns:
      [B, H', W', C] with H' = floor((H + 2 padding - window) / stride) + 1; sums are at least float32.

    Raises:
      ValueError: the padding is more than half the window, or the map is smaller than the window.
    """
    x = jnp.asarray(x)
    return pool_average(x, *_settings(x, window, strides, padding, ceil_mode=False))


def _settings(x, window, strides, padding, ceil_mode):
    """Window, strides and pads, for each spatial dimension."""
    dimensions = x.ndim - 2
    window, padding = per_dimension(window, dimensions), per_dimension(padding, dimensions)
    if any(2 * p > k or p < 0 for p, k in zip(padding, window)):
        raise ValueError(f"padding={padding} must be between 0 and half of window={window}")
    strides = window if strides is None else per_dimension(strides, dimensions)
    return window, strides, _pads(x, window, strides, padding, ceil_mode)


def _count(size: int, window: int, stride: int, padding: int, ceil_mode: bool) -> int:
    """How many windows fit."""
    room = size + 2 * padding - window
    count = (room + (stride - 1 if ceil_mode else 0)) // stride + 1
    if ceil_mode and (count - 1) * stride >= size + padding:
        count -= 1
    if count < 1:
        hint = "" if ceil_mode else "; pad it, or take ceil_mode=True"
        raise ValueError(f"a side of {size} with padding {padding} has no room for a window of {window}{hint}")
    return count


def _pads(x, window, strides, padding, ceil_mode):
    """What lies around the maps so that there are as many windows; a size that is a symbol is taken to have room for one."""
    pads = []
    for size, k, s, p in zip(x.shape[1:-1], window, strides, padding):
        if is_static((size,)):
            beyond = max(p, (_count(size, k, s, p, ceil_mode) - 1) * s + k - size - p)
        elif ceil_mode and s > k - p:
            settings = f"window {k}, stride {s} and padding {p}"
            raise ValueError(f"max_pool with {settings} in ceil_mode takes sizes that are numbers, not {size}")
        else:
            beyond = p + (-(size + 2 * p - k) % s if ceil_mode else 0)
        pads.append((p, beyond))
    return tuple(pads)
