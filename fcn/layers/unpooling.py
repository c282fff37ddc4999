"""2x2 max-pooling that remembers where the largest values lay, and its counterpart that puts values back there.

Both are comparisons with the four places of a window, so that no direction needs a scatter. Windows of signals have two places,
those of volumes eight.
"""

import itertools
from collections.abc import Sequence

import jax.numpy as jnp
import numpy as np
from jax import lax
from jaxtyping import Array, Float, UInt8


def max_pool_with_indices(
    x: Float[Array | np.ndarray, "b *spatial c"], *, ceil_mode: bool = False
) -> tuple[Float[Array, "b *pooled c"], UInt8[Array, "b *pooled c"]]:
    """The largest value of every 2x2 window, and its place in the window.

    Of equal values the first counts, of several NaN the last, and it takes the whole gradient (all as in PyTorch).

    Args:
      x: feature maps [B, H, W, C], [B, L, C] or [B, D, H, W, C].
      ceil_mode: at odd sides, also take the last row or column, as windows of their own; otherwise they are left out.

    Returns:
      Values and indices, [B, H / 2, W / 2, C], rounded up with `ceil_mode` and else down. Indices are 0 and 1 in the upper
      row of a window, 2 and 3 in the lower (in the next layer of a volume 4 to 7).

    Raises:
      ValueError: a side of 1 without `ceil_mode`, which leaves nothing.
    """
    x = jnp.asarray(x)
    sides = x.shape[1:-1]
    if not ceil_mode and any(side < 2 for side in sides):
        window = _text((2,) * len(sides))
        raise ValueError(f"a map of {_text(sides)} has no room for a window of {window}; pad it, or take ceil_mode=True")
    if ceil_mode:
        x = jnp.pad(x, ((0, 0), *((0, side % 2) for side in sides), (0, 0)), constant_values=-jnp.inf)
    x = x[:, *(slice(side // 2 * 2) for side in x.shape[1:-1])]
    places = (x[:, *(slice(i, None, 2) for i in start)] for start in itertools.product((0, 1), repeat=len(sides)))
    largest = next(places)
    indices = jnp.zeros(largest.shape, jnp.uint8)
    for place, other in enumerate(places, start=1):
        larger = (other > largest) | jnp.isnan(other)
        largest, indices = jnp.where(larger, other, largest), jnp.where(larger, jnp.uint8(place), indices)
    return largest, indices


def max_unpool(
    x: Float[Array | np.ndarray, "b *spatial c"], indices: UInt8[Array, "b *spatial c"], size: Sequence[int]
) -> Float[Array, "b *larger c"]:
    """Every value at its place in a 2x2 window, zero elsewhere.

    Badrinarayanan, Kendall, Cipolla, "SegNet", PAMI 2017, section 3 and figure 3.

    Args:
      x: feature maps [B, H, W, C], [B, L, C] or [B, D, H, W, C].
      indices: where each value belongs, as `max_pool_with_indices` gives them.
      size: (H', W') of the result, between 2 H - 1 and 2 H + 1 rows, other sides likewise: the size of what was pooled.

    Returns:
      [B, H', W', C].

    Raises:
      ValueError: a size that does not pool to that of `x`.
    """
    x = jnp.asarray(x)
    batch, *sides, channels = x.shape
    if len(size) != len(sides) or any(abs(side - 2 * old) > 1 for side, old in zip(size, sides)):
        raise ValueError(f"size={tuple(size)} does not pool to {_text(sides)}; give sides of at most 1 beside the double")
    window = np.arange(2 ** len(sides), dtype=np.uint8).reshape((2, 1) * len(sides))
    between = range(2, 2 * len(sides) + 1, 2)
    y = jnp.where(jnp.expand_dims(indices, between) == window, jnp.expand_dims(x, between), jnp.zeros((), x.dtype))
    y = y.reshape(batch, *(2 * side for side in sides), channels)
    missing = [side - 2 * old for side, old in zip(size, sides)]
    return lax.pad(y, jnp.zeros((), x.dtype), [(0, 0, 0), *((0, m, 0) for m in missing), (0, 0, 0)])


def _text(sides):
    return "x".join(map(str, sides))
