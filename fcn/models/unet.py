"""U-Net in its modern form: same padding, any image size, signals and volumes; with nnU-Net's norm and activation as options.

Ronneberger, Fischer, Brox, "U-Net: Convolutional Networks for Biomedical Image Segmentation", MICCAI 2015, figure 1.
The network of the paper itself, with valid convolutions, is `fcn.models.unet2015`.
"""

from functools import partial
from typing import ClassVar

import flax.linen as nn
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from fcn.encoders.padding import crop, extend_to_multiple
from fcn.layers import (
    ActivationKind,
    Conv,
    ConvNormRelu,
    ConvTranspose,
    Network,
    NormKind,
    NormLayer,
    PointwiseConv,
    max_pool,
    norm_relu,
    resize_bilinear,
)
from fcn.layers.network import INPUTS
from fcn.models.parts.supervision import sow_coarse_logits


class UNet(Network):
    """U-Net with two (3x3 convolution, BatchNorm, ReLU) per level.

    Departs from the paper: same padding instead of valid convolutions, so that the logits have the image's size; BatchNorm
    instead of biases before every ReLU; dropout before the head (off by default) instead of at the end of the contracting path.
    With three input channels and two classes it has 31,037,698 parameters.

    Signals [B, L, C] and volumes [B, D, H, W, C] go through the same network with kernels of one and three dimensions.

    Images whose sides do not divide by `stem_stride * 2**depth` are extended at the bottom and the right by repeating the last
    row and column, and the logits are cropped back: logit (i, j) always belongs to pixel (i, j).

    Attributes (more in `Network`):
        num_classes: channels of the logits.
        base_features: channels of the finest level; each level below has twice as many.
        depth: number of 2x2 max-pools (of volumes 2x2x2).
        max_features: largest number of channels of a level (None: no limit).
        stem_stride: with s > 1 a convolution of 2s x 2s and stride s to twice `base_features` (with BatchNorm and ReLU)
            comes first, the network runs at that resolution, and its logits are resized bilinearly by s: s * s times less work.
        dropout_rate: dropout before the head in training; takes the rng "dropout".
        deep_supervision: whether coarser maps of the decoder have heads, too, which training sees; see
            `fcn.models.parts.supervision`.
        norm: "batch", or "instance" as in nnU-Net, which does not depend on the other images of a batch; its convolutions have
            biases there, and so they have here.
        activation: "relu", or "leaky_relu" as in nnU-Net.
    """

    num_classes: int
    base_features: int = 64
    depth: int = 4
    max_features: int | None = None
    stem_stride: int = 1
    dropout_rate: float = 0.0
    deep_supervision: bool = False
    norm: NormKind = "batch"
    activation: ActivationKind = "relu"

    dimensions: ClassVar = tuple(INPUTS)
    no_reference: ClassVar = "it has no reference; with encoder=... it has the form of smp's Unet"

    @nn.compact
    def __call__(self, x: Float[Array | np.ndarray, "b *spatial c"], *, train: bool = False) -> Float[Array, "b *spatial k"]:
        """Logits [B, H, W, num_classes], float32, of images [B, H, W, C] of any size and number of channels.

        Of signals [B, L, C] and volumes [B, D, H, W, C] likewise.
        """
        norm = {"norm": self.norm, "activation": self.activation, **self.norm_types}
        bias = self.norm == "instance"
        two_convolutions = partial(TwoConvolutions, use_bias=bias, **norm)
        features = [self.base_features * 2**level for level in range(self.depth + 1)]
        features = [min(f, self.max_features or f) for f in features]
        size = x.shape[1:-1]

        x = extend_to_multiple(x, self.stem_stride * 2**self.depth)
        if self.stem_stride > 1:
            s = self.stem_stride
            x = Conv(2 * self.base_features, 2 * s, s, use_bias=bias, **self.types, name="stem_conv")(x)
            x = norm_relu(x, **norm, train=train, prefix="stem_")

        extended, skips, maps = x.shape[1:-1], [], []
        for level in range(self.depth):
            x = two_convolutions(features[level], name=f"encoder{level}")(x, train=train)
            skips.append(x)
            x = max_pool(x, 2)
        x = two_convolutions(features[-1], name=f"encoder{self.depth}")(x, train=train)
        for level in reversed(range(self.depth)):
            x = ConvTranspose(features[level], 2, 2, **self.types, name=f"up{level}")(x)
            x = jnp.concatenate([skips[level], x], axis=-1)
            x = two_convolutions(features[level], name=f"decoder{level}")(x, train=train)
            maps.append(x)

        if self.deep_supervision:
            whole = tuple(side * self.stem_stride for side in extended)
            sow_coarse_logits(self, maps, self.num_classes, whole, size, **self.types)
        x = nn.Dropout(self.dropout_rate, deterministic=not train)(x)
        x = PointwiseConv(self.num_classes, **self.types, name="head")(x).astype(jnp.float32)
        if self.stem_stride > 1:
            x = resize_bilinear(x, [side * self.stem_stride for side in extended])
        return crop(x, size)


class TwoConvolutions(NormLayer):
    """Two times (3x3 convolution, normalisation, activation).

    Attributes (more in `NormLayer`):
        features: channels of the output.
        use_bias: whether the convolutions add biases.
        norm: "batch" or "instance".
        activation: "relu" or "leaky_relu".
    """

    features: int
    use_bias: bool = False
    norm: NormKind = "batch"
    activation: ActivationKind = "relu"

    @nn.compact
    def __call__(self, x: Float[Array | np.ndarray, "b *spatial c"], *, train: bool = False) -> Float[Array, "b *spatial o"]:
        """Maps [B, H, W, C] to [B, H, W, features], of any number of spatial dimensions."""
        options = {"use_bias": self.use_bias, "norm": self.norm, "activation": self.activation, **self.norm_types}
        x = ConvNormRelu(self.features, **options, name="block0")(x, train=train)
        return ConvNormRelu(self.features, **options, name="block1")(x, train=train)
