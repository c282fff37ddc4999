"""Attention U-Net.

Oktay et al., "Attention U-Net: Learning Where to Look for the Pancreas", MIDL 2018, figures 1 and 2, equations 1 and 2.
"""

from functools import partial
from typing import ClassVar

import flax.linen as nn
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from fcn.encoders.padding import crop, extend_to_multiple
from fcn.errors import unknown
from fcn.layers import (
    BatchNorm,
    Conv,
    ConvNormRelu,
    ConvTranspose,
    Layer,
    Network,
    NormLayer,
    PointwiseConv,
    max_pool,
    resize_bilinear,
    resize_nearest,
)
from fcn.layers.network import INPUTS
from fcn.models.parts.supervision import sow_coarse_logits
from fcn.models.unet import TwoConvolutions

_VARIANTS = ("paper", "common")


class AttentionUNet(Network):
    """U-Net whose skips are multiplied by coefficients in 0..1, one for each pixel, computed from the skip and a coarser map.

    The variant "paper" is `fcn.models.unet` with the paper's gates: grid attention, whose gating signal is the decoder's map
    one level below, on all skips but the finest. Departs from the paper, which has volumes: images and signals, too; deep
    supervision is an option; transposed convolutions, as in `unet`. As in the authors' code the skip comes to the grid of the
    signal by a 2x2 convolution of stride 2, where the paper says 1x1 after a downsampling; no convolution follows the product,
    where that code has one.
    With three input channels and one class it has 32,070,724 parameters.

    The variant "common" is what most implementations build under this name (AttU_Net of LeeJunHyun/Image_Segmentation): the
    signal is the enlarged map, at the resolution of the skip; every convolution has a bias and all but the head have BatchNorm,
    those of the gates too; the step up is nearest-neighbour enlargement and a 3x3 convolution; all skips are gated. With three
    input channels and one class it has that implementation's 34,878,573 parameters.

    Images whose sides do not divide by `2**depth` are extended at the bottom and the right by repeating the last row and
    column, and the logits are cropped back. The coefficients can be looked at: `model.apply(..., capture_intermediates=True)`
    keeps what `gate0/psi`, `gate1/psi` ... give, of which they are the sigmoid.

    Attributes (more in `Network`):
        num_classes: channels of the logits.
        base_features: channels of the finest level, at least 2; each level below has twice as many.
        depth: number of 2x2 max-pools.
        variant: "paper" or "common".
        deep_supervision: whether coarser maps of the decoder have heads, too, which training sees; see
            `fcn.models.parts.supervision`.
    """

    num_classes: int
    base_features: int = 64
    depth: int = 4
    variant: str = "paper"
    deep_supervision: bool = False

    dimensions: ClassVar = tuple(INPUTS)

    @nn.compact
    def __call__(self, x: Float[Array | np.ndarray, "b *spatial c"], *, train: bool = False) -> Float[Array, "b *spatial k"]:
        """Logits [B, H, W, num_classes], float32, of images [B, H, W, C] of any size and number of channels.

        Of signals [B, L, C] and volumes [B, D, H, W, C] likewise.

        Raises:
            ValueError: for an unknown variant, or fewer than 2 base features.
        """
        if self.variant not in _VARIANTS:
            raise unknown("variant", self.variant, _VARIANTS)
        if self.base_features < 2:
            raise ValueError(f"base_features is {self.base_features}; a gate has half as many channels, so give at least 2")
        norm = {"use_bias": self.variant == "common", **self.norm_types}
        size = x.shape[1:-1]

        x = extend_to_multiple(x, 2**self.depth)
        extended, skips, maps = x.shape[1:-1], [], []
        for level in range(self.depth):
            x = TwoConvolutions(self.base_features * 2**level, **norm, name=f"encoder{level}")(x, train=train)
            skips.append(x)
            x = max_pool(x, 2)
        x = TwoConvolutions(self.base_features * 2**self.depth, **norm, name=f"encoder{self.depth}")(x, train=train)
        for level in reversed(range(self.depth)):
            features, skip = self.base_features * 2**level, skips[level]
            if self.variant == "common":
                x = ConvNormRelu(features, **norm, name=f"up{level}")(resize_nearest(x, 2), train=train)
                skip = NormedGate(features // 2, **self.norm_types, name=f"gate{level}")(skip, x, train=train)
            else:
                skip = GridGate(features // 2, **self.types, name=f"gate{level}")(skip, x) if level else skip
                x = ConvTranspose(features, 2, 2, **self.types, name=f"up{level}")(x)
            x = TwoConvolutions(features, **norm, name=f"decoder{level}")(jnp.concatenate([skip, x], axis=-1), train=train)
            maps.append(x)
        if self.deep_supervision:
            sow_coarse_logits(self, maps, self.num_classes, extended, size, **self.types)
        return crop(PointwiseConv(self.num_classes, **self.types, name="head")(x).astype(jnp.float32), size)


class GridGate(Layer):
    """Additive attention on the grid of the gating signal (equations 1 and 2, figure 2).

    q = psi^T relu(W_x^T x + W_g^T g + b_g) + b_psi, and x is multiplied by sigmoid(q), enlarged bilinearly.

    Attributes (more in `Layer`):
        features: channels in which x and g are compared.
    """

    features: int

    @nn.compact
    def __call__(self, x: Float[Array, "b *spatial c"], g: Float[Array, "b *coarse d"]) -> Float[Array, "b *spatial c"]:
        """Maps x [B, 2 H, 2 W, C] to the same shape, with the signal g [B, H, W, D]."""
        q = Conv(self.features, 2, 2, padding="VALID", use_bias=False, **self.types, name="W_x")(x)
        q = q + PointwiseConv(self.features, **self.types, name="W_g")(g)
        coefficients = nn.sigmoid(PointwiseConv(1, **self.types, name="psi")(nn.relu(q)))
        return x * resize_bilinear(coefficients, x.shape[1:-1])


class NormedGate(NormLayer):
    """Additive attention where the signal has the size of x, with BatchNorm in each of its three convolutions.

    Attributes (more in `NormLayer`):
        features: channels in which x and g are compared.
    """

    features: int

    @nn.compact
    def __call__(
        self, x: Float[Array, "b *spatial c"], g: Float[Array, "b *spatial d"], *, train: bool = False
    ) -> Float[Array, "b *spatial c"]:
        """Maps x [B, H, W, C] to the same shape, with the signal g [B, H, W, D]."""
        layer = partial(_PointwiseNorm, **self.norm_types)
        q = layer(self.features, name="W_x")(x, train=train) + layer(self.features, name="W_g")(g, train=train)
        return x * nn.sigmoid(layer(1, name="psi")(nn.relu(q), train=train))


class _PointwiseNorm(NormLayer):
    features: int

    @nn.compact
    def __call__(self, x, *, train):
        x = PointwiseConv(self.features, **self.types, name="conv")(x)
        return BatchNorm(**self.norm_types, name="bn")(x, train=train)
