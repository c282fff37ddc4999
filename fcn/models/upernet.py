"""UPerNet.

Xiao, Liu, Zhou, Jiang, Sun, "Unified Perceptual Parsing for Scene Understanding", ECCV 2018, section 3, with the object head
alone, in the form of segmentation_models_pytorch.
"""

from functools import partial

import flax.linen as nn
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from fcn.encoders.padding import extend_to_multiple
from fcn.layers import NormLayer, resize, resize_bilinear
from fcn.models.parts.blocks import Conv2dReLU, Norm
from fcn.models.parts.encoder_decoder import EncoderDecoder
from fcn.models.parts.heads import SegmentationHead


class UPerNet(EncoderDecoder):
    """PSPNet's pyramid on the encoder's last map, an FPN on those of stride 4 and more, all fused at stride 4 and scored.

    Departs from the paper: each of the encoder's maps passes a LayerNorm over its channels first; only the objects are scored,
    not scenes, parts, materials and textures. Images whose sides do not divide by 2**encoder_depth are extended by repeating
    the last row and column, and the logits are cropped.

    Attributes (more in `EncoderDecoder`):
        decoder_channels: channels of all layers of the decoder.
        decoder_use_norm: see `fcn.models.parts.blocks.Norm`. The convolution that ends the pyramid has BatchNorm in any
            case, as in smp.
        upsampling: factor by which the logits of stride 4 are enlarged; they have the image's size with 4, else a fraction
            (rounded up) or a multiple of it.
    """

    decoder_channels: int = 256
    decoder_use_norm: Norm = "batchnorm"
    upsampling: int = 4

    @nn.compact
    def __call__(self, x: Float[Array | np.ndarray, "b h w c"], *, train: bool = False) -> Float[Array, "b h2 w2 k"]:
        """Logits [B, H, W, num_classes], float32, of images [B, H, W, C] of any size.

        Raises:
            ValueError: for an unknown encoder or norm, or a depth that is not 3, 4 or 5.
        """
        _, height, width, _ = x.shape
        features = self.encode(extend_to_multiple(x, 2**self.encoder_depth), train)
        norm = {"use_norm": self.decoder_use_norm, **self.norm_types}
        x = _Decoder(self.decoder_channels, **norm, name="decoder")(features[2:], train=train)
        x = SegmentationHead(self.num_classes, 1, self.upsampling, **self.head, name="segmentation_head")(x)
        return x[:, : -(-height * self.upsampling // 4), : -(-width * self.upsampling // 4)]


class _Decoder(NormLayer):
    """The sums of the FPN go down unconvolved; a convolution of each is fused."""

    features: int
    use_norm: Norm

    @nn.compact
    def __call__(self, maps, *, train):
        options = {"use_norm": self.use_norm, **self.norm_types}
        conv = partial(Conv2dReLU, self.features, **options)
        norm = partial(nn.LayerNorm, epsilon=1e-6, use_fast_variance=False, **self.types)
        *laterals, x = (norm(name=f"feature_norms_{i}")(feature) for i, feature in enumerate(maps))

        x = _Pyramid(self.features, **options, name="psp")(x, train=train)
        pyramid = [x]
        for i, lateral in enumerate(reversed(laterals)):
            lateral = _Lateral(self.features, **options, name=f"fpn_lateral_blocks_{i}")(lateral, train=train)
            x = resize_bilinear(x, lateral.shape[1:3]) + lateral
            pyramid.append(conv(name=f"fpn_conv_blocks_{i}")(x, train=train))
        pyramid = [resize_bilinear(level, x.shape[1:3]) for level in reversed(pyramid)]
        return conv(name="fusion_block")(jnp.concatenate(pyramid, axis=-1), train=train)


class _Pyramid(NormLayer):
    """The map beside its averages over 1x1, 2x2, 3x3 and 6x6 cells."""

    features: int
    use_norm: Norm

    @nn.compact
    def __call__(self, x, *, train):
        parts = [x]
        for i, cells in enumerate((1, 2, 3, 6)):
            conv = Conv2dReLU(self.features, 1, use_norm=self.use_norm, **self.norm_types, name=f"blocks_{i}_1")
            y = conv(resize(x, (cells, cells), "area"), train=train)
            parts.append(resize_bilinear(y, x.shape[1:3]))
        return Conv2dReLU(self.features, **self.norm_types, name="out_conv")(jnp.concatenate(parts, axis=-1), train=train)


class _Lateral(NormLayer):
    features: int
    use_norm: Norm

    @nn.compact
    def __call__(self, x, *, train):
        return Conv2dReLU(self.features, 1, use_norm=self.use_norm, **self.norm_types, name="conv_norm_relu")(x, train=train)
