"""U-Net++ (UNet++).

Zhou, Siddiquee, Tajbakhsh, Liang, "UNet++: A Nested U-Net Architecture for Medical Image Segmentation", DLMIA 2018, figure 1a,
with the encoder of an image classifier, in the form of segmentation_models_pytorch.
"""

from functools import partial
from typing import ClassVar

import flax.linen as nn
import numpy as np
from jaxtyping import Array, Float

from fcn.encoders.padding import extend_to_multiple
from fcn.layers import NormLayer
from fcn.models.parts.blocks import Conv2dReLU, Norm, UpBlock
from fcn.models.parts.encoder_decoder import EncoderDecoder, check_decoder_channels
from fcn.models.parts.heads import SegmentationHead
from fcn.models.parts.supervision import sow_coarse_logits


class UNetPlusPlus(EncoderDecoder):
    """An encoder, and a triangle of steps up: the skips are nested U-Nets.

    Departs from the paper: the encoder's maps in place of its first column; a last step up to the image's size, without a skip;
    deep supervision is an option, of the nested nodes at stride 2. Images whose sides do not divide by 2**encoder_depth are
    extended by repeating the last row and column, and the logits are cropped. With a VGG, smp has two more convolutions that it
    never applies; they have parameters here too, so that weights travel both ways.

    Attributes (more in `EncoderDecoder`):
        decoder_channels: channels of each step of the outermost path, coarsest first; `encoder_depth` numbers. The nested steps
            have as many channels as the encoder's map of their stride.
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
        features = self.encode(extend_to_multiple(x, 2**self.encoder_depth), train)
        decoder = _Decoder(
            self.decoder_channels,
            center=self.ends_in_pool,
            attention=self.decoder_attention_type,
            interpolation=self.decoder_interpolation,
            use_norm=self.decoder_use_norm,
            **self.norm_types,
            name="decoder",
        )
        x, nested = decoder(features[1:], train=train)
        if self.deep_supervision:
            padded = tuple(-(-side // 2**self.encoder_depth) * 2**self.encoder_depth for side in (height, width))
            sow_coarse_logits(self, [*nested, x], self.num_classes, padded, (height, width), **self.types)
        return SegmentationHead(self.num_classes, **self.head, name="segmentation_head")(x)[:, :height, :width]


class _Decoder(NormLayer):
    channels: tuple[int, ...]
    center: bool
    attention: str | None
    interpolation: str
    use_norm: Norm

    references: ClassVar = {"smp": ((r"^x\.(\d)\.(\d)", r"blocks.x_\1_\2"),)}

    @nn.compact
    def __call__(self, features, *, train):
        options = {"attention": self.attention, "interpolation": self.interpolation, "use_norm": self.use_norm}
        step = partial(UpBlock, **options, **self.norm_types)
        *skips, x = features
        if self.center and self.is_initializing():
            for i in range(2):
                Conv2dReLU(x.shape[-1], use_norm=self.use_norm, **self.norm_types, name=f"center_{i}")(x, train=train)
        coarse = [x]  # all nodes of a stride, from the outermost path to the encoder's map
        for layer, skip in enumerate(reversed(skips)):
            fine = [] if skip is None else [skip]
            size = tuple(2 * side for side in x.shape[1:3]) if skip is None else skip.shape[1:3]
            for nesting in reversed(range(1 if skip is None else layer + 1)):
                features = self.channels[layer] if nesting == 0 or skip is None else skip.shape[-1]
                x = step(features, name=f"x_{nesting}_{layer}")(coarse[nesting], size, fine, train=train)
                fine = [x, *fine]
            coarse = fine
        size = tuple(2 * side for side in x.shape[1:3])
        x = step(self.channels[-1], name=f"x_0_{len(skips)}")(x, size, None, train=train)
        return x, coarse[-2::-1]
