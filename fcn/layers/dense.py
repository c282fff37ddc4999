"""The dense layer: Flax's own, on the last axis, with kernels drawn as those of the other layers."""

from functools import partial

import flax.linen as nn

from fcn.layers.initialisers import lecun_normal

Dense = partial(nn.Dense, kernel_init=lecun_normal)
