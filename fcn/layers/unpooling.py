"""2x2 max-pooling that remembers where the largest values lay, and its counterpart that puts values back there.

Both are comparisons with the four places of a window, so that no direction needs a scatter.
"""

from collections.abc import Sequence

import jax.numpy as jnp
import numpy as np
from jax import lax
from jaxtyping import Array, Float, UInt8


def max_pool_with_indices(
    x: Float[Array | np.ndarray, "b h w c"], *, ceil_mode: bool = False
) -> tuple[Float[Array, "b h2 w2 c"], UInt8[Array, "b h2 w2 c"]]:
    """The largest value of every 2x2 window, and its place in the window.

    Of equal values the first counts, of several NaN the last, and it takes the whole gradient (all as in PyTorch).

    Args:
      x: feature maps [B, H, W, C].
      ceil_mode: at odd sides, also take the last row or column, as windows of their own; otherwise they are left out.

    Returns:
      Values and indices, [B, H / 2, W / 2, C], rounded up with `ceil_mode` and else down. Indices are 0 and 1 in the upper
      row of a window, 2 and 3 in the lower.

    Raises:
      ValueError: a side of 1 without `ceil_mode`, which leaves nothing.
    """
    x = jnp.asarray(x)
    batch, height, width, channels = x.shape
    if (height < 2 or width < 2) and not ceil_mode:
        raise ValueError(f"a map of {height}x{width} has no room for a window of 2x2; pad it, or take ceil_mode=True")
    if ceil_mode:
        pads = ((0, 0), (0, height % 2), (0, width % 2), (0, 0))
        x = jnp.pad(x, pads, constant_values=-jnp.inf)
    x = x[:, : x.shape[1] // 2 * 2, : x.shape[2] // 2 * 2]
    largest, indices = x[:, ::2, ::2], jnp.zeros((batch, x.shape[1] // 2, x.shape[2] // 2, channels), jnp.uint8)
    for place in (1, 2, 3):
        other = x[:, place // 2 :: 2, place % 2 :: 2]
        larger = (other > largest) | jnp.isnan(other)
        largest, indices = jnp.where(larger, other, largest), jnp.where(larger, jnp.uint8(place), indices)
    return largest, indices


def max_unpool(
    x: Float[Array | np.ndarray, "b h w c"], indices: UInt8[Array, "b h w c"], size: Sequence[int]
) -> Float[Array, "b h2 w2 c"]:
    """Every value at its place in a 2x2 window, zero elsewhere.

    Badrinarayanan, Kendall, Cipolla, "SegNet", PAMI 2017, section 3 and figure 3.

    Args:
      x: feature maps [B, H, W, C].
      indices: where each value belongs, as `max_pool_with_indices` gives them.
      size: (H', W') of the result, between 2 H - 1 and 2 H + 1 rows, columns likewise: the size of what was pooled.

    Returns:
      [B, H', W', C].

    Raises:
      ValueError: a size that does not pool to that of `x`.
    """
    x = jnp.asarray(x)
    batch, height, width, channels = x.shape
    missing = [side - 2 * old for side, old in zip(size, (height, width), strict=True)]
    if any(abs(m) > 1 for m in missing):
        raise ValueError(f"size={tuple(size)} does not pool to {height}x{width}; give sides of at most 1 beside the double")
    window = np.arange(4, dtype=np.uint8).reshape(2, 1, 2, 1)
    here = indices[:, :, None, :, None, :] == window
    y = jnp.where(here, x[:, :, None, :, None, :], jnp.zeros((), x.dtype))
    y = y.reshape(batch, 2 * height, 2 * width, channels)
    return lax.pad(y, jnp.zeros((), x.dtype), [(0, 0, 0), *((0, m, 0) for m in missing), (0, 0, 0)])
