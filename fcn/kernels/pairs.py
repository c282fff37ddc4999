"""Convolutions of few channels for two columns at a time, for CPUs.

Two neighbouring columns of the output see four columns of the image; as one position with twice the features they take a third
more multiplications, but half as many windows, and XLA is slow for few features, which fill no more than one vector. Where
YNNPACK would leave processors idle, one row more than the image has is computed and cut off again: such a convolution XLA gives
to Eigen, which divides all positions.
"""

import jax.numpy as jnp
from jaxtyping import Array, Float

from fcn.kernels.padding import Pads
from fcn.kernels.windows import output_size
from fcn.kernels.xla import native_convolution


def convolve_pairs(
    x: Float[Array, "n h2 w2 c"], kernel: Float[Array, "kh kw c o"], pads: Pads, another_row: bool = False
) -> Float[Array, "n h w o"]:
    """A convolution with stride 1 and zeros around the images, ((top, bottom), (left, right)); sums are at least float32."""
    (kh, kw, c, o), ((top, bottom), (left, right)) = kernel.shape, pads
    h, w = output_size(x.shape[1:3], (kh, kw), (1, 1), pads, (1, 1))
    dtype, sums = x.dtype, jnp.promote_types(x.dtype, jnp.float32)
    x, kernel = x.astype(sums), kernel.astype(sums)
    shifted = [jnp.pad(kernel, ((0, 0), (column, 1 - column), (0, 0), (0, 0))) for column in range(2)]
    of_pairs = jnp.stack(shifted, 3).reshape(kh, kw + 1, c, 2 * o)
    more = max(0, x.shape[1] + 1 - h) if another_row else 0
    y = native_convolution(x, of_pairs, (1, 2), ((top, bottom + more), (left, right + w % 2)), (1, 1))
    return y.reshape(x.shape[0], h + more, w + w % 2, o)[:, :h, :w].astype(dtype)
