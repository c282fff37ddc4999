"""Dilated convolutions as a sum of matrix products, one for each tap, for CPUs.

A tap far from the centre sees the padding at most positions; only the others are computed.
"""

import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Float

from fcn.kernels.padding import Pads
from fcn.kernels.windows import output_size


def convolve_taps(
    x: Float[Array, "n h2 w2 c"], kernel: Float[Array, "kh kw c o"], pads: Pads, dilation: tuple[int, int]
) -> Float[Array, "n h w o"]:
    """A convolution with stride 1 and zeros around the images, ((top, bottom), (left, right)); sums are at least float32."""
    (n, height, width, c), (kh, kw, _, o), sums = x.shape, kernel.shape, jnp.promote_types(x.dtype, jnp.float32)
    sizes = output_size((height, width), (kh, kw), (1, 1), pads, dilation)
    dtype, x, kernel, total = x.dtype, x.astype(sums), kernel.astype(sums), jnp.zeros((n, *sizes, o), sums)
    for i in range(kh):
        for j in range(kw):
            rows = _under(i * dilation[0] - pads[0][0], height, sizes[0])
            columns = _under(j * dilation[1] - pads[1][0], width, sizes[1])
            if rows is None or columns is None:
                continue
            seen = x[:, rows[0], columns[0]]
            y = (seen.reshape(-1, c) @ kernel[i, j]).reshape(*seen.shape[:3], o)
            total += lax.pad(y, jnp.zeros((), sums), ((0, 0, 0), (*rows[1], 0), (*columns[1], 0), (0, 0, 0)))
    return total.astype(dtype)


def _under(shift: int, side: int, size: int):
    """What of a side a tap sees, and how many of the positions before and after see padding; None if all do."""
    first, last = max(0, -shift), min(size, side - shift)
    return (slice(first + shift, last + shift), (first, size - last)) if first < last else None
