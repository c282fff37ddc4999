"""DeepLabV3.

Chen, Papandreou, Schroff, Adam, "Rethinking Atrous Convolution for Semantic Image Segmentation", arXiv:1706.05587, figure 5, in
the form of segmentation_models_pytorch (torchvision's is in `fcn.models.dilated`).
"""

from typing import Any, ClassVar

import flax.linen as nn
import numpy as np
from jaxtyping import Array, Float

from fcn.encoders.padding import extend_to_multiple
from fcn.layers import ConvNormRelu, NormLayer
from fcn.models.parts.aspp import ASPP
from fcn.models.parts.encoder_decoder import EncoderDecoder
from fcn.models.parts.heads import SegmentationHead


class DeepLabV3(EncoderDecoder):
    """A dilated encoder, atrous spatial pyramid pooling and a 3x3 convolution on its last map, scored and enlarged.

    Departs from the paper: the 3x3 convolution before the scores. Images whose sides do not divide by the encoder's stride are
    extended by repeating the last row and column, and the logits are cropped.

    Attributes (more in `EncoderDecoder`):
        encoder_output_stride: stride of the encoder's last map, 8 or 16.
        decoder_channels: channels of all layers of the decoder.
        decoder_atrous_rates: dilations of the pyramid.
        decoder_aspp_separable: the pyramid's 3x3 convolutions are depthwise and then 1x1.
        decoder_aspp_dropout: rate of the dropout behind the pyramid in training; takes the rng "dropout".
        upsampling: factor by which the logits are enlarged. None: the encoder's stride, so that they have the image's size;
            with another number they have a fraction (rounded up) or a multiple of it.
    """

    encoder_output_stride: int = 8
    decoder_channels: int = 256
    decoder_atrous_rates: tuple[int, ...] = (12, 24, 36)
    decoder_aspp_separable: bool = False
    decoder_aspp_dropout: float = 0.5
    upsampling: int | None = None

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
        x = _Decoder(self.decoder_channels, pyramid, **self.norm_types, name="decoder")(features[-1], train=train)
        factor = stride if self.upsampling is None else self.upsampling
        x = SegmentationHead(self.num_classes, 1, factor, **self.head, name="segmentation_head")(x)
        return x[:, : -(-height * factor // stride), : -(-width * factor // stride)]


def deeplab_stride(output_stride: int, depth: int) -> int:
    """Stride of the last map of a dilated encoder.

    Raises:
        ValueError: `output_stride` is neither 8 nor 16.
    """
    if output_stride not in (8, 16):
        raise ValueError(f"encoder_output_stride is {output_stride}; choose 8 or 16")
    return min(output_stride, 2**depth)


class _Decoder(NormLayer):
    features: int
    pyramid: dict[str, Any]

    references: ClassVar = {"smp": ((r"^block\.", ""),)}

    @nn.compact
    def __call__(self, x, *, train):
        x = ASPP(self.features, **self.pyramid, **self.norm_types, name="aspp")(x, train=train)
        return ConvNormRelu(self.features, **self.norm_types, name="block")(x, train=train)
