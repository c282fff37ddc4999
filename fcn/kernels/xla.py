"""XLA's own operations: what layers are in the mode "xla", and what no algorithm here is faster than."""

import math
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jaxtyping import Array, Float, Num

from fcn.kernels.padding import Pads

AXES = {3: ("NWC", "WIO", "NWC"), 4: ("NHWC", "HWIO", "NHWC"), 5: ("NDHWC", "DHWIO", "NDHWC")}
"""What the axes of images, kernel and output are, for each number of axes."""


def native_convolution(x, kernel, strides, pads, dilation, groups=1):
    """XLA's convolution, images [B, H, W, C] with a kernel [kh, kw, C / groups, O]; signals and volumes likewise."""
    settings = {"rhs_dilation": dilation, "feature_group_count": groups, "dimension_numbers": AXES[x.ndim]}
    return lax.conv_general_dilated(x, kernel, strides, pads, **settings)


def native_transposed(
    x: Float[Array, "b *spatial c"], kernel: Float[Array, "*taps i o"], strides: tuple[int, ...], groups: int = 1
) -> Float[Array, "b *larger o"]:
    """The transposed convolution without padding, as a convolution of an image with zeros between its pixels."""
    pads = [(k - 1, k - 1) for k in kernel.shape[:-2]]
    settings = {"lhs_dilation": strides, "feature_group_count": groups, "dimension_numbers": AXES[x.ndim]}
    return lax.conv_general_dilated(x, kernel, (1,) * len(pads), pads, **settings)


def native_pointwise(x: Float[Array, "*positions c"], kernel: Float[Array, "*ones c o"]) -> Float[Array, "*positions o"]:
    """A convolution of images with a kernel [1, 1, C, O], as Flax computes it; else a product."""
    if x.ndim == kernel.ndim == 4:
        return native_convolution(x, kernel, (1, 1), "VALID", (1, 1))
    return lax.dot_general(x, kernel.reshape(kernel.shape[-2:]), (((x.ndim - 1,), (0,)), ((), ())))


def lowest(dtype: Any) -> np.ndarray:
    """The smallest number of a type."""
    return np.asarray(-jnp.inf if jnp.issubdtype(dtype, jnp.floating) else jnp.iinfo(dtype).min, dtype)


def native_max_pool(
    x: Num[Array, "b *spatial c"], window: tuple[int, ...], strides: tuple[int, ...], pads: Pads
) -> Num[Array, "b *pooled c"]:
    """The largest value of every window; the smallest number of the type around the maps."""
    return lax.reduce_window(x, lowest(x.dtype), lax.max, (1, *window, 1), (1, *strides, 1), _around(pads))


def native_average_pool(
    x: Float[Array, "b *spatial c"], window: tuple[int, ...], strides: tuple[int, ...], pads: Pads
) -> Float[Array, "b *pooled c"]:
    """The mean of every window with the zeros around the maps; sums are at least float32."""
    sums = x.astype(jnp.promote_types(x.dtype, jnp.float32))
    zero = np.zeros((), sums.dtype)
    total = lax.reduce_window(sums, zero, lax.add, (1, *window, 1), (1, *strides, 1), _around(pads))
    return (total / math.prod(window)).astype(x.dtype)


def native_nearest(x: Num[Array, "b *spatial c"], factor: int) -> Num[Array, "b *larger c"]:
    """Every pixel `factor` times in all directions."""
    n, *sides, c = x.shape
    return jax.image.resize(x, (n, *(side * factor for side in sides), c), "nearest")


def _around(pads):
    return ((0, 0), *pads, (0, 0))
