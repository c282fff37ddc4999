"""Convolutions with channels of zeros added up to a multiple of four, and features up to one of sixteen, for CPUs.

XLA's library for convolutions (YNNPACK) is slow for numbers of features of which 25 to 31, or 49 to 63, are left by multiples
of 64. Before JAX 0.12 it was for numbers of channels that four does not divide, too (odd ones, for 17 to 32 features),
depending on how many vectors of 16 features there are. Milliseconds (float32, two processors of an AMD EPYC Zen 5; batch,
height x width, channels -> features), with JAX 0.10.2; with 0.12 the first takes 1.1, and zeros gain nothing but in the last
four (0.21 and 0.15, 0.72 and 0.48, 1.4 and 1.0, 0.28 and 0.24). Up to 24 channels and features, the first and the sixth of many
pixels go in pairs (`fcn.kernels.pairs`):

    kernel          shape                    as it is    in fours
    3x3             2, 224x224,  3 -> 24     16          2.3
    3x3             2, 224x224,  3 -> 32     7.8         1.8
    3x3 stride 2    2, 224x224,  3 -> 32     1.3         0.7
    7x7 stride 2    2, 224x224,  3 -> 80     29          4.1
    3x3             2, 224x224, 14 -> 48     13          7.3
    3x3             2, 224x224, 21 -> 16     7.7         4.3
    3x3             2, 224x224,  3 -> 64     2.5         2.9
    3x3             2, 224x224, 14 -> 32     4.3         4.9
    3x3 stride 2    2, 112x112, 131 -> 16    2.1         2.8
    3x3 dilated     2,   28x28, 25 -> 25     0.26        0.13
    3x3 stride 2    2,   56x56, 131 -> 25    1.1         0.71
    3x3 stride 2    2, 112x112, 48 -> 52     3.0         2.0
    3x3             2,   28x28, 64 -> 25     0.43        0.29

Largest error against float64, relative to the largest result (25 to 25 channels at 64x64): 0.3e-6 in float32, 3.1e-3 in
bfloat16.
"""

import jax.numpy as jnp
from jaxtyping import Array, Float

from fcn.kernels.forms import BEFORE_0_12
from fcn.kernels.padding import Pads
from fcn.kernels.xla import native_convolution

FROM = {1: 17, 2: 3, 3: 7, 5: 3}
"""The number of channels from which channels of zeros pay, for each number of vectors; for others XLA's own are as fast."""
UP_TO = 63
"""With more channels, they do not pay but where features are filled, too."""


def pays_in_fours(channels: int, features: int) -> bool:
    """Whether a convolution is faster with added channels, or features; measured with 3x3 kernels and first ones of 7x7."""
    if channels >= 16 and (24 < features % 64 < 32 or features % 64 > 48):
        return True
    vectors = -(-features // 16)
    divisor = 2 if vectors == 2 else 4
    return BEFORE_0_12 and vectors in FROM and FROM[vectors] <= channels <= UP_TO and channels % divisor > 0


def convolve_fours(
    x: Float[Array, "n h2 w2 c"],
    kernel: Float[Array, "kh kw c o"],
    strides: tuple[int, int],
    pads: Pads,
    dilation: tuple[int, int],
) -> Float[Array, "n h w o"]:
    """A convolution of images with zeros around them, ((top, bottom), (left, right)).

    A second or later vector of features that is more than half full, or the last of four, is filled with zeros, too.
    """
    channels, features = -x.shape[-1] % 4, kernel.shape[-1]
    more = -features % 16 if features > 16 and (features % 16 > 8 or features % 64 > 48) else 0
    x = jnp.pad(x, ((0, 0), (0, 0), (0, 0), (0, channels)))
    kernel = jnp.pad(kernel, ((0, 0), (0, 0), (0, channels), (0, more)))
    return native_convolution(x, kernel, strides, pads, dilation)[..., :features]
