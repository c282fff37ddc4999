"""Resizing by the name of the method, equal to PyTorch's `interpolate` (without `align_corners`)."""

from collections.abc import Sequence

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from fcn.errors import unknown
from fcn.kernels.windows import is_static
from fcn.layers.upsampling import resize_bilinear, resize_nearest

METHODS = ("nearest", "nearest-exact", "bilinear", "bicubic", "area")


def resize(x: Float[Array | np.ndarray, "b h w c"], size: Sequence[int], method: str) -> Float[Array, "b h2 w2 c"]:
    """Feature maps [B, H, W, C] in another size.

    Args:
      x: feature maps, floating point.
      size: (H', W'), any sizes of at least 1.
      method: "nearest" takes the pixel under the upper left corner of the new one, "nearest-exact" that under its centre;
        "bilinear"; "bicubic" (Keys, 1981, with a = -0.75); "area" averages the pixels that the new one touches, which is
        adaptive average pooling.

    Returns:
      [B, H', W', C] in the type of `x`.

    Raises:
      ValueError: a size under 1, an unknown method, or sizes that are symbols (`jax.export`) where it is neither "bilinear" nor
        a whole factor of "nearest".
    """
    if method not in METHODS:
        raise unknown("method of resizing", method, METHODS)
    if len(size) != 2 or any(side < 1 for side in size):
        raise ValueError(f"size={tuple(size)} is not (height, width) with sides of at least 1")
    x = jnp.asarray(x)
    if method == "bilinear":
        return resize_bilinear(x, size)
    factor = -(-size[0] // x.shape[1])
    if method == "nearest" and all(_repeats(old, new, factor) for old, new in zip(x.shape[1:3], size)):
        return resize_nearest(x, factor)[:, : size[0], : size[1]]
    for axis in (2, 1):
        old, new = x.shape[axis], size[axis - 1]
        if not is_static((old, new)) and old != new:
            raise ValueError(f"{method!r} from {old} to {new} pixels takes sizes that are numbers: export for one image size")
        if old != new and method.startswith("nearest"):
            x = jnp.take(x, _nearest(old, new, 0.5 if method == "nearest-exact" else 0.0), axis)
        elif old != new:
            x = _multiply(x, axis, (_cubic if method == "bicubic" else _averages)(old, new))
    return x


def _repeats(old: int, new: int, factor: int) -> bool:
    """Whether the nearest pixels are those of an enlargement by a whole factor, cropped at the end."""
    if not is_static((old, new, factor)):
        return new == old * factor
    return new <= old * factor and np.array_equal(_nearest(old, new, 0.0), np.arange(new) // factor)


def _nearest(old: int, new: int, place: float) -> np.ndarray:
    """The pixel for each new one, in float32 as PyTorch finds it."""
    scale = np.float32(old) / np.float32(new)
    return np.minimum(((np.arange(new, dtype=np.float32) + np.float32(place)) * scale).astype(int), old - 1)


def _cubic(old: int, new: int) -> np.ndarray:
    """The matrix [new, old] of cubic convolution; at the border the last pixel is repeated."""
    places = (np.arange(new) + 0.5) * (old / new) - 0.5
    matrix = np.zeros((new, old))
    for tap in range(-1, 3):
        pixels = np.floor(places).astype(int) + tap
        np.add.at(matrix, (np.arange(new), np.clip(pixels, 0, old - 1)), _keys(np.abs(places - pixels)))
    return matrix


def _keys(t: np.ndarray, a: float = -0.75) -> np.ndarray:
    near = ((a + 2) * t - (a + 3)) * t * t + 1
    far = ((a * t - 5 * a) * t + 8 * a) * t - 4 * a
    return np.where(t <= 1, near, np.where(t < 2, far, 0))


def _averages(old: int, new: int) -> np.ndarray:
    """The matrix [new, old] whose row i averages the pixels floor(i old / new) to ceil((i + 1) old / new)."""
    i, j = np.arange(new)[:, None], np.arange(old)
    inside = (j >= i * old // new) & (j < -(-(i + 1) * old // new))
    return inside / inside.sum(axis=1, keepdims=True)


def _multiply(x: Array, axis: int, matrix: np.ndarray) -> Array:
    wide = x.astype(jnp.promote_types(x.dtype, jnp.float32))
    subscripts = {1: "ph,bhwc->bpwc", 2: "qw,bhwc->bhqc"}[axis]
    return jnp.einsum(subscripts, jnp.asarray(matrix, wide.dtype), wide, precision="highest").astype(x.dtype)
