"""Resizing of feature maps, and FCN's upsampling."""

from collections.abc import Sequence
from functools import partial

import flax.linen as nn
import jax.numpy as jnp
import numpy as np
from flax.linen.dtypes import promote_dtype
from jaxtyping import Array, Float, Num

from fcn.errors import unknown
from fcn.kernels.resizing import interpolation, repeat_pixels, resize_by, resize_linear, triangle, upsample_fcn
from fcn.kernels.transposed import convolve_transposed
from fcn.kernels.windows import is_static
from fcn.layers.layer import Layer

METHODS = ("nearest", "nearest-exact", "bilinear", "bicubic", "area")


def resize(x: Float[Array | np.ndarray, "b *spatial c"], size: Sequence[int], method: str) -> Float[Array, "b *resized c"]:
    """Feature maps [B, H, W, C], [B, L, C] or [B, D, H, W, C] in another size.

    Args:
      x: feature maps, floating point.
      size: (H', W'), a size of at least 1 for each spatial dimension.
      method: "nearest" takes the pixel under the upper left corner of the new one, "nearest-exact" that under its centre;
        "bilinear" is, in other dimensions, linear along each axis; "bicubic" likewise (Keys, 1981, with a = -0.75); "area"
        averages the pixels that the new one touches, which is adaptive average pooling.

    Returns:
      [B, H', W', C] in the type of `x`.

    Raises:
      ValueError: a size under 1, an unknown method, or sizes that are symbols (`jax.export`) where it is neither "bilinear" nor
        a whole factor of "nearest".
    """
    if method not in METHODS:
        raise unknown("method of resizing", method, METHODS)
    x = jnp.asarray(x)
    _check_size(x, size)
    if method == "bilinear":
        return resize_bilinear(x, size)
    factor = -(-size[0] // x.shape[1])
    if method == "nearest" and all(_repeats(old, new, factor) for old, new in zip(x.shape[1:-1], size)):
        return resize_nearest(x, factor)[:, *map(slice, size)]
    for old, new in zip(x.shape[1:-1], size):
        if not is_static((old, new)) and old != new:
            raise ValueError(f"{method!r} from {old} to {new} pixels takes sizes that are numbers: export for one image size")
    if not method.startswith("nearest"):
        return resize_by(x, size, _cubic if method == "bicubic" else _averages)
    for axis in range(len(size), 0, -1):
        if (old := x.shape[axis]) != (new := size[axis - 1]):
            x = jnp.take(x, _nearest(old, new, 0.5 if method == "nearest-exact" else 0.0), axis)
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


def resize_nearest(x: Num[Array | np.ndarray, "b *spatial c"], factor: int) -> Num[Array, "b *larger c"]:
    """Repeats every pixel `factor` times in all directions: [B, H, W, C] to [B, H f, W f, C], any type and dimensions.

    Broadcast and reshape: 7 ms forward and 3 backward for 64 channels, where `jax.image.resize` takes 7 and 27.

    Raises:
      ValueError: a factor under 1.
    """
    _check_factor(factor)
    return repeat_pixels(jnp.asarray(x), factor)


def resize_bilinear(
    x: Float[Array | np.ndarray, "b *spatial c"], size: Sequence[int], *, align_corners: bool = False
) -> Float[Array, "b *resized c"]:
    """Bilinear interpolation to `size`, equal to PyTorch's `interpolate` (no antialiasing when shrinking).

    Signals are interpolated linearly, volumes trilinearly: along one axis after the other.

    Args:
      x: feature maps [B, H, W, C], [B, L, C] or [B, D, H, W, C], floating point; weights and sums are at least float32.
      size: (H', W'), a size of at least 1 for each spatial dimension.
      align_corners: whether the centres of the corner pixels (True), or their outer corners (False), stay in place.

    Returns:
      [B, H', W', C] in the type of `x`.

    Raises:
      ValueError: a size under 1, or sizes for other dimensions than those of `x`.
    """
    x = jnp.asarray(x)
    _check_size(x, size)
    return resize_by(x, size, partial(interpolation, align_corners=True)) if align_corners else resize_linear(x, size)


def bilinear_kernel(size: int) -> Float[np.ndarray, "{size} {size}"]:
    """The bilinear filter with which FCN initialises transposed convolutions, float32 (Long et al., CVPR 2015, section 3.3).

    It is the outer product of a triangle that falls by 1 / f per pixel, f = ceil(size / 2), from its centre.

    Raises:
      ValueError: a size under 1.
    """
    if size < 1:
        raise ValueError(f"size={size}; a bilinear kernel has at least 1 row")
    line = triangle(size)
    return np.outer(line, line).astype(np.float32)


def upsample_bilinear_fcn(x: Float[Array | np.ndarray, "b h w c"], factor: int) -> Float[Array, "b h2 w2 c"]:
    """FCN's fixed upsampling: every channel alone through a transposed convolution with the bilinear filter.

    [B, H, W, C] to [B, (H + 1) f, (W + 1) f, C]: kernel 2f, stride f, no padding. Beyond the border the input counts as zero,
    so that the outermost pixels fade out. `LearnedBilinearUpsample` starts with the same values.

    Raises:
      ValueError: a factor under 1.
    """
    _check_factor(factor)
    return upsample_fcn(jnp.asarray(x), factor)


class LearnedBilinearUpsample(Layer):
    """A dense transposed convolution with kernel 2f and stride f that starts as bilinear interpolation of every channel.

    Long et al., CVPR 2015, section 3.3. Parameter: `kernel` [2f, 2f, C, features], laid out as in `ConvTranspose`; no bias.

    Attributes (more in `Layer`):
        factor: f.
        features: channels of the output.
    """

    factor: int
    features: int

    @nn.compact
    def __call__(self, x: Float[Array | np.ndarray, "b h w c"]) -> Float[Array, "b h2 w2 o"]:
        """[B, H, W, C] to [B, (H + 1) f, (W + 1) f, features].

        Raises:
            ValueError: a factor under 1.
        """
        _check_factor(self.factor)
        shape = (2 * self.factor, 2 * self.factor, x.shape[-1], self.features)
        kernel = self.param("kernel", _bilinear_init, shape, self.param_dtype)
        promoted, kernel = promote_dtype(x, kernel, dtype=self.dtype)
        return convolve_transposed(promoted, kernel, (self.factor, self.factor))


def _bilinear_init(key, shape, dtype):
    return jnp.asarray(bilinear_kernel(shape[0])[:, :, None, None] * np.eye(*shape[2:], dtype=np.float32), dtype)


def _check_size(x, size):
    if len(size) != x.ndim - 2 or any(side < 1 for side in size):
        sides = {3: "(length,)", 4: "(height, width)", 5: "(depth, height, width)"}.get(x.ndim, f"for an array {x.shape},")
        raise ValueError(f"size={tuple(size)} is not {sides} with sides of at least 1")


def _check_factor(factor):
    if factor < 1:
        raise ValueError(f"factor={factor}; upsampling takes a whole factor of at least 1")
