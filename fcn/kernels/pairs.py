"""Convolutions of few channels for two columns at a time, for CPUs.

Two neighbouring columns of the output see four columns of the image; as one position with twice the features they take a third
more multiplications, but half as many windows, and XLA is slow for few features, which fill no more than one vector. Where
YNNPACK would leave processors idle, one row more than the image has is computed and cut off again: such a convolution XLA gives
to Eigen, which divides all positions.

Largest error against float64, relative to the largest result (16 to 16 channels at 64x64): 0.4e-6 in float32, 2.4e-3 in
bfloat16.

Milliseconds (3x3, float32, jax 0.10.2, two processors of an AMD EPYC Zen 5; batch, height x width, channels -> features; beside
the fastest of the other forms); with JAX 0.12 those up to 16 are the same, and with more XLA's own are as fast:

    shape                       others    pairs
    2, 224x224,  8 ->  8        1.6       0.9
    2, 224x224, 12 -> 16        2.9       1.8
    2, 224x224, 16 -> 16        2.4       2.1
    2, 224x224, 16 -> 21        3.1       2.9
    2, 224x224, 21 -> 16        4.3       3.1
    2, 112x112, 24 -> 24        1.7       1.0
    2, 224x224, 16 -> 32        3.4       3.9
"""

import math
from collections.abc import Sequence

import jax.numpy as jnp
from jaxtyping import Array, Float

from fcn.kernels.forms import BEFORE_0_12, leaves_processors_idle
from fcn.kernels.padding import Pads
from fcn.kernels.windows import output_size
from fcn.kernels.xla import native_convolution

FEWEST_PIXELS = 2**12
"""Of the output, in all images of a batch."""
FEW_BEFORE_0_12, FEW = 24, 16
"""Channels and features that go in pairs."""


def pays_in_pairs(output: Sequence[int], kernel_shape: Sequence[int]) -> bool:
    """Whether a convolution with stride 1 is faster in pairs, for the shapes of its output [n, h, w, o] and kernel.

    To a third of the channels, and fewer, products and shifts (`fcn.kernels.shifts`) are faster for smaller images.
    """
    channels, features = kernel_shape[2:]
    fewest = FEWEST_PIXELS if 3 * features > channels else 2**16
    few = max(channels, features) <= (FEW_BEFORE_0_12 if BEFORE_0_12 else FEW) and features >= 4
    return few and tuple(kernel_shape[:2]) == (3, 3) and math.prod(output[:3]) >= fewest


def convolve_pairs(x: Float[Array, "n h2 w2 c"], kernel: Float[Array, "kh kw c o"], pads: Pads) -> Float[Array, "n h w o"]:
    """A convolution with stride 1 and zeros around the images, ((top, bottom), (left, right)); sums are at least float32."""
    (kh, kw, c, o), ((top, bottom), (left, right)) = kernel.shape, pads
    h, w = output_size(x.shape[1:3], (kh, kw), (1, 1), pads, (1, 1))
    dtype, sums = x.dtype, jnp.promote_types(x.dtype, jnp.float32)
    x, kernel = x.astype(sums), kernel.astype(sums)
    shifted = [jnp.pad(kernel, ((0, 0), (column, 1 - column), (0, 0), (0, 0))) for column in range(2)]
    of_pairs = jnp.stack(shifted, 3).reshape(kh, kw + 1, c, 2 * o)
    more = max(0, x.shape[1] + 1 - h) if leaves_processors_idle() else 0
    y = native_convolution(x, of_pairs, (1, 2), ((top, bottom + more), (left, right + w % 2)), (1, 1))
    return y.reshape(x.shape[0], h + more, w + w % 2, o)[:, :h, :w].astype(dtype)
