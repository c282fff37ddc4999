"""PSPNet.

Zhao, Shi, Qi, Wang, Jia, "Pyramid Scene Parsing Network", CVPR 2017, figure 3, in the form of segmentation_models_pytorch.
"""

from typing import ClassVar

import flax.linen as nn
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from fcn.encoders.padding import extend_to_multiple
from fcn.layers import NormLayer, resize, resize_bilinear
from fcn.models.parts.blocks import Conv2dReLU, Norm
from fcn.models.parts.encoder_decoder import EncoderDecoder
from fcn.models.parts.heads import SegmentationHead


class PSPNet(EncoderDecoder):
    """The encoder's last map beside its averages over 1x1, 2x2, 3x3 and 6x6 cells, one convolution, scored and enlarged.

    Departs from the paper: an encoder cut at stride 8 instead of a dilated one; no auxiliary loss. Images whose sides do not
    divide by 2**encoder_depth are extended by repeating the last row and column, and the logits are cropped.

    Attributes (more in `EncoderDecoder`):
        psp_out_channels: channels of the map that is scored.
        decoder_use_norm: see `fcn.models.parts.blocks.Norm`.
        psp_dropout: rate at which whole channels are dropped before the head in training; takes the rng "dropout".
        upsampling: factor by which the logits are enlarged. None: 2**encoder_depth, so that they have the image's size; with
            another number they have a fraction (rounded up) or a multiple of it.
    """

    encoder_depth: int = 3
    psp_out_channels: int = 512
    decoder_use_norm: Norm = "batchnorm"
    psp_dropout: float = 0.2
    upsampling: int | None = None

    @nn.compact
    def __call__(self, x: Float[Array | np.ndarray, "b h w c"], *, train: bool = False) -> Float[Array, "b h2 w2 k"]:
        """Logits [B, H, W, num_classes], float32, of images [B, H, W, C] of any size.

        Raises:
            ValueError: for an unknown encoder or norm.
        """
        _, height, width, _ = x.shape
        stride = 2**self.encoder_depth
        features = self.encode(extend_to_multiple(x, stride), train)
        norm = {"use_norm": self.decoder_use_norm, **self.norm_types}
        x = _Decoder(self.psp_out_channels, **norm, name="decoder")(features[-1], train=train)
        x = nn.Dropout(self.psp_dropout, broadcast_dims=(1, 2), deterministic=not train)(x)
        factor = stride if self.upsampling is None else self.upsampling
        x = SegmentationHead(self.num_classes, 3, factor, **self.head, name="segmentation_head")(x)
        return x[:, : -(-height * factor // stride), : -(-width * factor // stride)]


class _Decoder(NormLayer):
    """The pyramid and the convolution; a single cell has no norm."""

    features: int
    use_norm: Norm

    references: ClassVar = {"smp": ((r"^cells\.(\d)", r"psp.blocks.\1.pool.1"),)}

    @nn.compact
    def __call__(self, x, *, train):
        pyramid = []
        for i, cells in enumerate((1, 2, 3, 6)):
            norm = False if cells == 1 else self.use_norm
            y = Conv2dReLU(x.shape[-1] // 4, 1, use_norm=norm, **self.norm_types, name=f"cells_{i}")
            y = y(resize(x, (cells, cells), "area"), train=train)
            pyramid.append(resize_bilinear(y, x.shape[1:3], align_corners=True))
        x = jnp.concatenate([*pyramid, x], axis=-1)
        return Conv2dReLU(self.features, 1, use_norm=self.use_norm, **self.norm_types, name="conv")(x, train=train)
