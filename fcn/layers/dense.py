"""The dense layer: Flax's own, on the last axis, with kernels drawn as those of the other layers."""

from functools import partial

import flax.linen as nn

from fcn.kernels.convolution import convolve_pointwise
from fcn.layers.initialisers import lecun_normal


def _product(x, kernel, dimension_numbers, precision=None):
    """With one axis of positions: the kernel's gradient sums over them, and with several XLA would first copy them."""
    return convolve_pointwise(x, kernel)


Dense = partial(nn.Dense, kernel_init=lecun_normal, dot_general=_product)
