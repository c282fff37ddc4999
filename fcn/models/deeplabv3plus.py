"""DeepLabV3+.

Chen, Zhu, Papandreou, Schroff, Adam, "Encoder-Decoder with Atrous Separable Convolution for Semantic Image Segmentation",
ECCV 2018, figure 2, in the form of segmentation_models_pytorch.
"""

from typing import Any, ClassVar

import flax.linen as nn
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from fcn.encoders.padding import extend_to_multiple
from fcn.layers import ConvNormRelu, NormLayer, resize_bilinear
from fcn.models.deeplabv3 import deeplab_stride
from fcn.models.parts.aspp import ASPP, SeparableConvNormRelu
from fcn.models.parts.encoder_decoder import EncoderDecoder
from fcn.models.parts.heads import SegmentationHead

_FINE_FEATURES = 48  # section 4.1


class DeepLabV3Plus(EncoderDecoder):
    """DeepLabV3's pyramid, enlarged to stride 4 and joined with the encoder's map of that stride.

    Departs from the paper: one separable convolution behind the pyramid and one behind the joint instead of two behind the
    joint. Images whose sides do not divide by the encoder's stride are extended by repeating the last row and column, and the
    logits are cropped.

    Attributes (more in `EncoderDecoder`):
        encoder_output_stride: stride of the encoder's last map, 8 or 16.
        decoder_channels: channels of the layers of the decoder.
        decoder_atrous_rates: dilations of the pyramid.
        decoder_aspp_separable: the pyramid's 3x3 convolutions are depthwise and then 1x1.
        decoder_aspp_dropout: rate of the dropout behind the pyramid in training; takes the rng "dropout".
        upsampling: factor by which the logits of stride 4 are enlarged; they have the image's size with 4, else a fraction
            (rounded up) or a multiple of it.
    """

    encoder_output_stride: int = 16
    decoder_channels: int = 256
    decoder_atrous_rates: tuple[int, ...] = (12, 24, 36)
    decoder_aspp_separable: bool = True
    decoder_aspp_dropout: float = 0.5
    upsampling: int = 4

    @nn.compact
    def __call__(self, x: Float[Array | np.ndarray, "b h w c"], *, train: bool = False) -> Float[Array, "b h2 w2 k"]:
        """Logits [B, H, W, num_classes], float32, of images [B, H, W, C] of any size.

        Raises:
            ValueError: for an unknown encoder, one that cannot be dilated, a depth that is not 3, 4 or 5, or an output stride
                that is not 8 or 16.
        """
        _, height, width, _ = x.shape
        stride = deeplab_stride(self.encoder_output_stride, self.encoder_depth)
        features = self.encode(extend_to_multiple(x, stride), train)
        pyramid = {
            "rates": tuple(self.decoder_atrous_rates),
            "separable": self.decoder_aspp_separable,
            "dropout": self.decoder_aspp_dropout,
        }
        decoder = _Decoder(self.decoder_channels, pyramid, **self.norm_types, name="decoder")
        x = decoder(features[2], features[-1], train=train)
        x = SegmentationHead(self.num_classes, 1, self.upsampling, **self.head, name="segmentation_head")(x)
        return x[:, : -(-height * self.upsampling // 4), : -(-width * self.upsampling // 4)]


class _Decoder(NormLayer):
    features: int
    pyramid: dict[str, Any]

    references: ClassVar = {
        "smp": (
            (r"^aspp\.", "aspp.0."),
            (r"^behind\.0", "aspp.1"),
            (r"^behind\.1", "aspp.2"),
            (r"^fine\.conv", "block1.0"),
            (r"^fine\.bn", "block1.1"),
            (r"^joint", "block2"),
        )
    }

    @nn.compact
    def __call__(self, fine, coarse, *, train):
        x = ASPP(self.features, **self.pyramid, **self.norm_types, name="aspp")(coarse, train=train)
        x = SeparableConvNormRelu(self.features, **self.norm_types, name="behind")(x, train=train)
        x = resize_bilinear(x, fine.shape[1:3], align_corners=True)
        fine = ConvNormRelu(_FINE_FEATURES, 1, **self.norm_types, name="fine")(fine, train=train)
        x = jnp.concatenate([x, fine], axis=-1)
        return SeparableConvNormRelu(self.features, **self.norm_types, name="joint")(x, train=train)
