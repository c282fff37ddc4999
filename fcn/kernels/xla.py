"""XLA's own operations: what layers are in the mode "xla", and what no algorithm here is faster than."""

from collections.abc import Sequence

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jaxtyping import Array, Float, Num

from fcn.kernels.padding import Pads

DIMENSIONS = ("NHWC", "HWIO", "NHWC")


def native_convolution(x, kernel, strides, pads, dilation, groups=1):
    """XLA's convolution, images [B, H, W, C] with a kernel [kh, kw, C / groups, O]."""
    settings = {"rhs_dilation": dilation, "feature_group_count": groups, "dimension_numbers": DIMENSIONS}
    return lax.conv_general_dilated(x, kernel, strides, pads, **settings)


def native_transposed(
    x: Float[Array, "b h w c"], kernel: Float[Array, "kh kw i o"], strides: tuple[int, int], groups: int = 1
) -> Float[Array, "b h2 w2 o"]:
    """The transposed convolution without padding, as a convolution of an image with zeros between its pixels."""
    pads = [(k - 1, k - 1) for k in kernel.shape[:2]]
    settings = {"lhs_dilation": strides, "feature_group_count": groups, "dimension_numbers": DIMENSIONS}
    return lax.conv_general_dilated(x, kernel, (1, 1), pads, **settings)


def native_pointwise(x: Float[Array, "*positions c"], kernel: Float[Array, "*ones c o"]) -> Float[Array, "*positions o"]:
    """A convolution of images with a kernel [1, 1, C, O], as Flax computes it; else a product."""
    if x.ndim == kernel.ndim == 4:
        return native_convolution(x, kernel, (1, 1), "VALID", (1, 1))
    return lax.dot_general(x, kernel.reshape(kernel.shape[-2:]), (((x.ndim - 1,), (0,)), ((), ())))


def native_max_pool(
    x: Num[Array, "b h w c"], window: tuple[int, int], strides: tuple[int, int], pads: Pads
) -> Num[Array, "b h2 w2 c"]:
    """The largest value of every window; minus infinity around the maps."""
    lowest = -jnp.inf if jnp.issubdtype(x.dtype, jnp.floating) else jnp.iinfo(x.dtype).min
    return lax.reduce_window(x, np.asarray(lowest, x.dtype), lax.max, (1, *window, 1), (1, *strides, 1), _around(pads))


def native_average_pool(
    x: Float[Array, "b h w c"], window: tuple[int, int], strides: tuple[int, int], pads: Pads
) -> Float[Array, "b h2 w2 c"]:
    """The mean of every window with the zeros around the maps; sums are at least float32."""
    sums = x.astype(jnp.promote_types(x.dtype, jnp.float32))
    zero = np.zeros((), sums.dtype)
    total = lax.reduce_window(sums, zero, lax.add, (1, *window, 1), (1, *strides, 1), _around(pads))
    return (total / (window[0] * window[1])).astype(x.dtype)


def native_resize(x: Num[Array, "b h w c"], size: Sequence[int], method: str) -> Num[Array, "b h2 w2 c"]:
    """`jax.image.resize` without antialiasing; "nearest" or "linear"."""
    return jax.image.resize(x, (x.shape[0], *size, x.shape[3]), method, antialias=False)


def native_upsampling(x: Float[Array, "b h w c"], line: Float[Array, "k k"], factor: int) -> Float[Array, "b h2 w2 c"]:
    """Every channel alone through a transposed convolution with this filter."""
    channels = x.shape[-1]
    kernel = jnp.broadcast_to(line[:, :, None, None].astype(x.dtype), (*line.shape, 1, channels))
    return native_transposed(x, kernel, (factor, factor), channels)


def _around(pads):
    return ((0, 0), *pads, (0, 0))
