"""Pyramid Attention Network (PAN).

Li, Xiong, An, Wang, "Pyramid Attention Network for Semantic Segmentation", BMVC 2018, figures 2 (the network), 3 (feature
pyramid attention) and 4 (global attention upsample), in the form of segmentation_models_pytorch.
"""

from functools import partial

import flax.linen as nn
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from fcn.encoders.padding import extend
from fcn.environment import largest
from fcn.layers import BatchNorm, Conv, NormLayer, he_uniform, max_pool, resize, resize_bilinear
from fcn.models.parts.encoder_decoder import EncoderDecoder
from fcn.models.parts.heads import SegmentationHead


class PAN(EncoderDecoder):
    """Attention over a pyramid of the encoder's last map, then steps up in which it weighs the channels of the finer maps.

    Departs from the paper: the maps of the attention's pyramid have one channel; the weights of the channels end in a sigmoid
    instead of ReLU. The encoder is dilated by default, which VGG, for one, cannot be: with it give
    `encoder_output_stride=32`. The attention halves the last map three times, so that the image takes 8 times its stride on
    each side; smaller ones, and those whose sides do not divide by that stride, are extended by repeating the last row and
    column, and the logits are cropped.

    Attributes (more in `EncoderDecoder`):
        encoder_output_stride: stride of the encoder's last map, 16 (dilated) or 32.
        decoder_channels: channels of all layers of the decoder.
        decoder_interpolation: a method of `fcn.layers.resize` for the steps up: "bilinear" (between the centres of the corner
            pixels), "nearest", "nearest-exact", "bicubic" or "area".
        upsampling: factor by which the logits of stride 4 are enlarged; they have the image's size with 4, else a fraction
            (rounded up) or a multiple of it.
    """

    encoder_output_stride: int = 16
    decoder_channels: int = 32
    decoder_interpolation: str = "bilinear"
    upsampling: int = 4

    @nn.compact
    def __call__(self, x: Float[Array | np.ndarray, "b h w c"], *, train: bool = False) -> Float[Array, "b h2 w2 k"]:
        """Logits [B, H, W, num_classes], float32, of images [B, H, W, C] of any size.

        Raises:
            ValueError: for an unknown encoder or way of interpolation, a depth that is not 3, 4 or 5, or an output stride that
                is not 16 or 32, or not 32 where the encoder cannot be dilated.
        """
        if self.encoder_output_stride not in (16, 32):
            raise ValueError(f"encoder_output_stride is {self.encoder_output_stride}; choose 16 or 32")
        _, height, width, _ = x.shape
        stride = min(self.encoder_output_stride, 2**self.encoder_depth)
        x = extend(x, *(largest(side + -side % stride, 8 * stride) for side in (height, width)))
        features = self.encode(x, train)
        decoder = _Decoder(self.decoder_channels, self.decoder_interpolation, **self.norm_types, name="decoder")
        x = decoder(features[2:], train=train)
        x = SegmentationHead(self.num_classes, 3, self.upsampling, **self.head, name="segmentation_head")(x)
        return x[:, : -(-height * self.upsampling // 4), : -(-width * self.upsampling // 4)]


class _Decoder(NormLayer):
    features: int
    interpolation: str

    @nn.compact
    def __call__(self, maps, *, train):
        *finer, x = maps
        x = _PyramidAttention(self.features, **self.norm_types, name="fpa")(x, train=train)
        for i in reversed(range(len(finer))):
            x = _Step(self.features, self.interpolation, **self.norm_types, name=f"gau{i + 1}")(finer[i], x, train=train)
        return x


class _PyramidAttention(NormLayer):
    """Figure 3: a weight for each pixel from three halvings of the map, times the map, plus its mean."""

    features: int

    @nn.compact
    def __call__(self, x, *, train):

        def conv(name, y, size, features=1):
            return _ConvNorm(features, size, **self.norm_types, name=name)(y, train=train)

        mean = nn.relu(conv("branch1_1", jnp.mean(x, axis=(1, 2), keepdims=True), 1, self.features))
        middle = nn.relu(conv("mid_0", x, 1, self.features))
        half = nn.relu(conv("down1_1", max_pool(x), 7))
        quarter = nn.relu(conv("down2_1", max_pool(half), 5))
        y = nn.relu(conv("down3_1", max_pool(quarter), 3))
        y = nn.relu(conv("down3_2", y, 3))
        y = resize_bilinear(y, quarter.shape[1:3], align_corners=True) + nn.relu(conv("conv2", quarter, 5))
        y = resize_bilinear(y, half.shape[1:3], align_corners=True) + nn.relu(conv("conv1", half, 7))
        return resize_bilinear(y, x.shape[1:3], align_corners=True) * middle + mean


class _Step(NormLayer):
    """Figure 4: the coarser map enlarged, plus the finer one with each channel weighed by the coarser one's means."""

    features: int
    interpolation: str

    @nn.compact
    def __call__(self, fine, coarse, *, train):
        conv = partial(_ConvNorm, self.features, **self.norm_types)
        mean = jnp.mean(coarse, axis=(1, 2), keepdims=True)
        weights = nn.sigmoid(conv(1, name="conv1_1")(mean, train=train))
        fine = nn.relu(conv(3, name="conv2")(fine, train=train))
        return _enlarge(coarse, fine.shape[1:3], self.interpolation) + fine * weights


def _enlarge(x, size, method):
    if method == "bilinear":
        return resize_bilinear(x, size, align_corners=True)
    return resize(x, size, method)


class _ConvNorm(NormLayer):
    """A convolution with bias, and BatchNorm."""

    features: int
    kernel_size: int

    @nn.compact
    def __call__(self, x, *, train):
        options = {"padding": self.kernel_size // 2, "kernel_init": he_uniform}
        x = Conv(self.features, self.kernel_size, **options, **self.types, name="conv")(x)
        return BatchNorm(**self.norm_types, name="bn")(x, train=train)
