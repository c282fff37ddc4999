"""SegNet.

Badrinarayanan, Kendall, Cipolla, "SegNet: A Deep Convolutional Encoder-Decoder Architecture for Image Segmentation", PAMI 2017,
figure 2.
"""

from typing import Any, ClassVar

import flax.linen as nn
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from fcn.encoders.padding import crop
from fcn.layers import BatchNorm, Conv, max_pool_with_indices, max_unpool
from fcn.layers.network import INPUTS
from fcn.models.parts.with_encoder import AnyEncoder, WithVGG


class SegNet(WithVGG):
    """The convolutions of VGG, and their mirror image: each max-pool has an unpooling that puts values back to its places.

    The encoder is `fcn.create_encoder("vgg16_bn")`: its variables, and so weights for ImageNet, fit here under "encoder". The
    decoder's layers have the names of the authors' Caffe net: `conv5_3_D` mirrors `conv5_3`. With 11 classes there are
    29,449,355 parameters (29.5 M, as published, with BatchNorm's running statistics).

    Attributes (more in `Network`):
        num_classes: channels of the logits.
        encoder: one of the VGGs, with BatchNorm ("vgg16_bn") or without; the decoder is as the encoder.
        width_multiplier: factor on the numbers of channels.
        ceil_mode: at odd sides the last row or column has windows of its own, as in Caffe; otherwise it is left out and images
            smaller than 32 are extended, as PyTorch's pooling does by default.
    """

    encoder: AnyEncoder = "vgg16_bn"
    width_multiplier: float = 1.0
    ceil_mode: bool = True

    heads: ClassVar = ("conv1_1_D",)
    dimensions: ClassVar = tuple(INPUTS)

    @nn.nowrap
    def encoder_options(self) -> dict[str, Any]:
        """What the VGG is made with."""
        return {"width_multiplier": self.width_multiplier, "ceil_mode": self.ceil_mode, **self.norm_types}

    @nn.compact
    def __call__(self, x: Float[Array | np.ndarray, "b *spatial c"], *, train: bool = False) -> Float[Array, "b *spatial k"]:
        """Logits [B, H, W, num_classes], float32, of images [B, H, W, C], signals [B, L, C] or volumes [B, D, H, W, C]."""
        encoder = self.own_encoder
        size = x.shape[1:-1]

        *maps, x = encoder(x, train=train)
        for stage, count in reversed(list(enumerate(encoder.convolutions))):
            fine = maps[stage]
            _, indices = max_pool_with_indices(fine, ceil_mode=self.ceil_mode)
            x = max_unpool(x, indices, fine.shape[1:-1])
            for i in range(count, 0 if stage else 1, -1):
                features = fine.shape[-1] if i > 1 else maps[stage - 1].shape[-1]
                x = Conv(features, 3, padding=1, **self.types, name=f"conv{stage + 1}_{i}_D")(x)
                if encoder.batch_norm:
                    x = BatchNorm(**self.norm_types, name=f"bn{stage + 1}_{i}_D")(x, train=train)
                x = nn.relu(x)
        x = Conv(self.num_classes, 3, padding=1, **self.types, name="conv1_1_D")(x)
        return crop(x.astype(jnp.float32), size)
