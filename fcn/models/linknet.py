"""LinkNet.

Chaurasia, Culurciello, "LinkNet: Exploiting Encoder Representations for Efficient Semantic Segmentation", VCIP 2017, figures 1
and 2, in the form of segmentation_models_pytorch.
"""

from functools import partial

import flax.linen as nn
import numpy as np
from jaxtyping import Array, Float

from fcn.encoders.padding import extend_to_multiple
from fcn.layers import NormLayer
from fcn.models.parts.blocks import Conv2dReLU, Norm
from fcn.models.parts.encoder_decoder import EncoderDecoder
from fcn.models.parts.heads import SegmentationHead


class LinkNet(EncoderDecoder):
    """An encoder, and a decoder that adds the encoder's map of each stride to its own.

    Departs from the paper: one more link, to the map of stride 2, and a 1x1 convolution as the head. Images whose sides do not
    divide by 2**encoder_depth are extended by repeating the last row and column, and the logits are cropped.

    Attributes (more in `EncoderDecoder`):
        decoder_use_norm: see `fcn.models.parts.blocks.Norm`.
    """

    decoder_use_norm: Norm = "batchnorm"

    @nn.compact
    def __call__(self, x: Float[Array | np.ndarray, "b h w c"], *, train: bool = False) -> Float[Array, "b h w k"]:
        """Logits [B, H, W, num_classes], float32, of images [B, H, W, C] of any size.

        Raises:
            ValueError: for an unknown encoder or norm.
        """
        _, height, width, _ = x.shape
        features = self.encode(extend_to_multiple(x, 2**self.encoder_depth), train)
        decoder = _Decoder(use_norm=self.decoder_use_norm, **self.norm_types, name="decoder")
        x = decoder(features[1:], train=train)
        x = SegmentationHead(self.num_classes, kernel_size=1, **self.head, name="segmentation_head")(x)
        return x[:, :height, :width]


class _Decoder(NormLayer):
    """Where the encoder lacks a map, the channels stay as they are and nothing is added; the last block has 32 channels."""

    use_norm: Norm

    @nn.compact
    def __call__(self, features, *, train):
        *skips, x = features
        for i, skip in enumerate(reversed(skips)):
            channels = x.shape[-1] if skip is None else skip.shape[-1]
            x = _Block(channels, self.use_norm, **self.norm_types, name=f"blocks_{i}")(x, train=train)
            x = x if skip is None else x + skip
        return _Block(32, self.use_norm, **self.norm_types, name=f"blocks_{len(skips)}")(x, train=train)


class _Block(NormLayer):
    """Narrow to a quarter of the channels, double the size, widen."""

    features: int
    use_norm: Norm

    @nn.compact
    def __call__(self, x, *, train):
        layer = partial(Conv2dReLU, kernel_size=1, use_norm=self.use_norm, **self.norm_types)
        narrow = x.shape[-1] // 4
        x = layer(narrow, name="block_0")(x, train=train)
        x = layer(narrow, transposed=True, name="block_1")(x, train=train)
        return layer(self.features, name="block_2")(x, train=train)
