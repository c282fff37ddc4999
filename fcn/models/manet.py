"""MA-Net.

Fan, Wang, Li, Wang, "MA-Net: A Multi-Scale Attention Network for Liver and Tumor Segmentation", IEEE Access 8, 2020, figures 1
to 4, in the form of segmentation_models_pytorch.
"""

from functools import partial
from typing import ClassVar

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from fcn.encoders.padding import extend_to_multiple
from fcn.layers import Conv, Layer, NormLayer, PointwiseConv, he_uniform, resize
from fcn.models.parts.blocks import Conv2dReLU, Norm
from fcn.models.parts.encoder_decoder import EncoderDecoder, check_decoder_channels
from fcn.models.parts.heads import SegmentationHead


class MANet(EncoderDecoder):
    """An encoder, attention among all positions of its last map, and steps up whose channels are gated by both sides.

    The attention takes memory with the square of the number of positions of the last map. Departs from the paper as smp does:
    one softmax over all pairs of positions, and the result read as [channels, positions] although it is stored as [positions,
    channels]. Images whose sides do not divide by 2**encoder_depth are extended by repeating the last row and column, and the
    logits are cropped.

    Attributes (more in `EncoderDecoder`):
        decoder_channels: channels of each step, coarsest first; `encoder_depth` numbers.
        decoder_pab_channels: channels of the vectors that positions are compared by.
        decoder_use_norm: see `fcn.models.parts.blocks.Norm`.
        decoder_interpolation: a method of `fcn.layers.resize`: "nearest", "nearest-exact", "bilinear", "bicubic" or "area".
    """

    decoder_channels: tuple[int, ...] = (256, 128, 64, 32, 16)
    decoder_pab_channels: int = 64
    decoder_use_norm: Norm = "batchnorm"
    decoder_interpolation: str = "nearest"

    @nn.compact
    def __call__(self, x: Float[Array | np.ndarray, "b h w c"], *, train: bool = False) -> Float[Array, "b h w k"]:
        """Logits [B, H, W, num_classes], float32, of images [B, H, W, C] of any size.

        Raises:
            ValueError: for an unknown encoder or value of an option, or `decoder_channels` that do not fit the depth.
        """
        check_decoder_channels(self.decoder_channels, self.encoder_depth)
        _, height, width, _ = x.shape
        features = self.encode(extend_to_multiple(x, 2**self.encoder_depth), train)
        decoder = _Decoder(
            self.decoder_channels,
            pab_channels=self.decoder_pab_channels,
            interpolation=self.decoder_interpolation,
            use_norm=self.decoder_use_norm,
            **self.norm_types,
            name="decoder",
        )
        x = decoder(features[1:], train=train)
        return SegmentationHead(self.num_classes, **self.head, name="segmentation_head")(x)[:, :height, :width]


class _Decoder(NormLayer):
    channels: tuple[int, ...]
    pab_channels: int
    interpolation: str
    use_norm: Norm

    @nn.compact
    def __call__(self, features, *, train):
        step = partial(_Step, interpolation=self.interpolation, use_norm=self.use_norm, **self.norm_types)
        *skips, x = features
        x = _PositionAttention(self.pab_channels, **self.types, name="center")(x)
        for i, (channels, skip) in enumerate(zip(self.channels, [*reversed(skips), None])):
            x = step(channels, name=f"blocks_{i}")(x, skip, train=train)
        return x


class _PositionAttention(Layer):
    """Figure 2 of the paper: each position takes from all others."""

    compared: int

    @nn.compact
    def __call__(self, x):
        types = {**self.types, "kernel_init": he_uniform}
        batch, height, width, channels = x.shape
        top = PointwiseConv(self.compared, **types, name="top_conv")(x).reshape(batch, height * width, -1)
        center = PointwiseConv(self.compared, **types, name="center_conv")(x).reshape(batch, height * width, -1)
        bottom = Conv(channels, 3, padding=1, **types, name="bottom_conv")(x).reshape(batch, height * width, channels)
        weights = jnp.einsum("bip,bjp->bij", center, top)
        weights = jax.nn.softmax(weights, axis=(1, 2))
        taken = jnp.einsum("bij,bjc->bic", weights, bottom)
        taken = jnp.moveaxis(taken.reshape(batch, channels, height, width), 1, -1)
        return Conv(channels, 3, padding=1, **types, name="out_conv")(x + taken)


class _Step(NormLayer):
    """Figure 4 of the paper: gates for the channels from both sides, where there is a skip; else a plain step up."""

    features: int
    interpolation: str
    use_norm: Norm

    @nn.compact
    def __call__(self, x, skip, *, train):
        layer = partial(Conv2dReLU, use_norm=self.use_norm, **self.norm_types)
        if skip is not None:
            x = layer(x.shape[-1], name="hl_conv_0")(x, train=train)
            x = layer(skip.shape[-1], 1, name="hl_conv_1")(x, train=train)
        x = resize(x, (2 * x.shape[1], 2 * x.shape[2]), self.interpolation)
        if skip is not None:
            gate = _Gate(**self.types, name="SE_hl")(x) + _Gate(**self.types, name="SE_ll")(skip)
            x = jnp.concatenate([x * gate, skip], axis=-1)
        x = layer(self.features, name="conv1")(x, train=train)
        return layer(self.features, name="conv2")(x, train=train)


class _Gate(Layer):
    """A number in 0..1 for each channel, from the means of all, through a sixteenth of the channels."""

    references: ClassVar = {"smp": (("^squeeze$", "1"), ("^excite$", "3"))}

    @nn.compact
    def __call__(self, x):
        conv = partial(PointwiseConv, **self.types, kernel_init=he_uniform)
        channels = x.shape[-1]
        x = jnp.mean(x, axis=(1, 2), keepdims=True)
        x = nn.relu(conv(max(1, channels // 16), name="squeeze")(x))
        return nn.sigmoid(conv(channels, name="excite")(x))
