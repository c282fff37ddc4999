"""Convolutions to few features as one product with the kernels of all taps, whose results are shifted and summed, for CPUs.

The product [positions, C] [C, taps O] reads the images once, and its columns are many where O alone would be few. XLA's own
takes one processor for most such shapes. Milliseconds (3x3, float32, two processors of an AMD EPYC Zen 4; batch, height x
width, channels -> features):

    shape                       native    shifts
    2, 112x112, 192 -> 12       25        11
    2,   56x56, 240 -> 12       12        4.1
    2,   56x56, 300 -> 16       10        5.9
    2,   28x28, 256 -> 12       3.3       1.1
    2, 224x224,  96 -> 12       33        32
    2, 224x224,  96 -> 16       33        60
"""

import jax.numpy as jnp
from jaxtyping import Array, Float

from fcn.layers.padding import Pads, place
from fcn.layers.windows import output_size


def convolve_shifts(
    x: Float[Array, "n h2 w2 c"], kernel: Float[Array, "kh kw c o"], pads: Pads, dilation: tuple[int, int]
) -> Float[Array, "n h w o"]:
    """A convolution with stride 1 and zeros around the images, ((top, bottom), (left, right)); sums are at least float32."""
    (n, height, width, c), (kh, kw, _, o), sums = x.shape, kernel.shape, jnp.promote_types(x.dtype, jnp.float32)
    h, w = output_size((height, width), (kh, kw), (1, 1), pads, dilation)
    columns = kernel.astype(sums).transpose(2, 0, 1, 3).reshape(c, kh * kw * o)
    y = (x.astype(sums).reshape(-1, c) @ columns).reshape(n, height, width, kh * kw * o)
    y = place(y, pads, h + (kh - 1) * dilation[0], w + (kw - 1) * dilation[1])
    shifts = [(i * dilation[0], j * dilation[1]) for i in range(kh) for j in range(kw)]
    return sum(y[:, i : i + h, j : j + w, t * o : (t + 1) * o] for t, (i, j) in enumerate(shifts)).astype(x.dtype)
