"""U-Net with the encoder of an image classifier.

Ronneberger, Fischer, Brox, "U-Net: Convolutional Networks for Biomedical Image Segmentation", MICCAI 2015, figure 1, in the
form of segmentation_models_pytorch. `fcn.models.unet` has the paper's own contracting path.
"""

import flax.linen as nn
import numpy as np
from jaxtyping import Array, Float

from fcn.layers import NormLayer
from fcn.models.parts.blocks import Conv2dReLU, Norm, UpBlock
from fcn.models.parts.encoder_decoder import EncoderDecoder, check_decoder_channels
from fcn.models.parts.heads import SegmentationHead
from fcn.models.parts.supervision import sow_coarse_logits


class UNetEncoder(EncoderDecoder):
    """An encoder, and a decoder with one step up for each of the encoder's halvings.

    Departs from the paper: the maps of the encoder are the skips; the maps are enlarged by interpolation instead of transposed
    convolution; same padding, BatchNorm. After a VGG, two more convolutions follow at the coarsest stride.

    Attributes (more in `EncoderDecoder`):
        decoder_channels: channels of each step, coarsest first; `encoder_depth` numbers.
        decoder_use_norm: see `fcn.models.parts.blocks.Norm`.
        decoder_attention_type: None or "scse" (see `fcn.models.parts.blocks.SCSE`).
        deep_supervision: whether coarser maps of the decoder have heads, too, which training sees; see
            `fcn.models.parts.supervision`.
        decoder_interpolation: a method of `fcn.layers.resize`: "nearest", "nearest-exact", "bilinear", "bicubic" or "area".
    """

    decoder_channels: tuple[int, ...] = (256, 128, 64, 32, 16)
    decoder_use_norm: Norm = "batchnorm"
    decoder_attention_type: str | None = None
    decoder_interpolation: str = "nearest"
    deep_supervision: bool = False

    @nn.compact
    def __call__(self, x: Float[Array | np.ndarray, "b h w c"], *, train: bool = False) -> Float[Array, "b h w k"]:
        """Logits [B, H, W, num_classes], float32, of images [B, H, W, C] of any size.

        Raises:
            ValueError: for an unknown encoder or value of an option, or `decoder_channels` that do not fit the depth.
        """
        check_decoder_channels(self.decoder_channels, self.encoder_depth)
        _, height, width, _ = x.shape
        features = self.encode(x, train)
        decoder = _Decoder(
            self.decoder_channels,
            center=self.ends_in_pool,
            attention=self.decoder_attention_type,
            interpolation=self.decoder_interpolation,
            use_norm=self.decoder_use_norm,
            **self.norm_types,
            name="decoder",
        )
        maps = decoder(features, (height, width), train=train)
        if self.deep_supervision:
            sow_coarse_logits(self, maps, self.num_classes, maps[-1].shape[1:3], (height, width), **self.types)
        return SegmentationHead(self.num_classes, **self.head, name="segmentation_head")(maps[-1])[:, :height, :width]


class _Decoder(NormLayer):
    channels: tuple[int, ...]
    center: bool
    attention: str | None
    interpolation: str
    use_norm: Norm

    @nn.compact
    def __call__(self, features, size, *, train):
        *skips, x = features
        if self.center:
            for i in range(2):
                x = Conv2dReLU(x.shape[-1], use_norm=self.use_norm, **self.norm_types, name=f"center_{i}")(x, train=train)
        maps = []
        for i, channels in enumerate(self.channels):
            level = len(skips) - 1 - i
            skip, last = skips[level], level == 0
            block = UpBlock(channels, self.attention, self.interpolation, self.use_norm, **self.norm_types, name=f"blocks_{i}")
            target = tuple(side // 2**level for side in size) if skip is None else skip.shape[1:3]
            x = block(x, target, None if last else [] if skip is None else [skip], train=train)
            maps.append(x)
        return maps
