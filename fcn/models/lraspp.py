"""Lite R-ASPP (LR-ASPP).

Howard, Sandler, Chu, Chen, Chen, Tan, Wang, Zhu, Pang, Vasudevan, Le, Adam, "Searching for MobileNetV3", ICCV 2019, figure 10,
in the form of torchvision.
"""

from typing import ClassVar

import flax.linen as nn
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from fcn.layers import ConvNormRelu, NormLayer, PointwiseConv, resize_bilinear
from fcn.models.parts.backbone import WithBackbone
from fcn.models.parts.with_encoder import AnyEncoder


class LRASPP(WithBackbone):
    """The encoder's last map, its channels weighed by its mean, enlarged to the map of stride 8; the scores of both are added.

    Departs from the paper: the mean is that of the whole map, not of windows of 49x49.

    Attributes (more in `WithBackbone`):
        encoder: one that has a map of stride 8.
        encoder_output_stride: stride of the encoder's last map: 16 (dilated) or 32.
        features: channels of the last map before the scores.
    """

    encoder: AnyEncoder = "mobilenet_v3_large"
    encoder_output_stride: int = 16
    features: int = 128

    heads: ClassVar = ("classifier",)

    @nn.compact
    def __call__(self, x: Float[Array | np.ndarray, "b h w c"], *, train: bool = False) -> Float[Array, "b h w k"]:
        """Logits [B, H, W, num_classes], float32, of images [B, H, W, C] of any size.

        Raises:
            ValueError: for an encoder that cannot be dilated, a module of another stride, or one that has no map of stride 8.
        """
        strides = self.encoder_strides(x.shape[-1])
        if 8 not in strides:
            raise ValueError(f"encoder {self.encoder_text()} has maps of the strides {strides}; LR-ASPP takes one of stride 8")
        self.check_stride(min(self.encoder_output_stride, strides[-1]), x.shape[-1])
        maps = self.own_encoder(x, train=train)
        head = _Head(self.num_classes, self.features, **self.norm_types, name="classifier")
        return resize_bilinear(head(maps[strides.index(8)], maps[-1], train=train), x.shape[1:3], align_corners=False)


class _Head(NormLayer):
    num_classes: int
    features: int

    references: ClassVar = {"torchvision": ((r"^cbr\.conv$", "cbr.0"), (r"^cbr\.bn$", "cbr.1"), ("^scale$", "scale.1"))}

    @nn.compact
    def __call__(self, low, high, *, train):
        x = ConvNormRelu(self.features, 1, **self.norm_types, name="cbr")(high, train=train)
        mean = jnp.mean(high, axis=(1, 2), keepdims=True)
        x = x * nn.sigmoid(PointwiseConv(self.features, use_bias=False, **self.types, name="scale")(mean))
        x = resize_bilinear(x, low.shape[1:3], align_corners=False)
        low = PointwiseConv(self.num_classes, **self.types, name="low_classifier")(low)
        high = PointwiseConv(self.num_classes, **self.types, name="high_classifier")(x)
        return low.astype(jnp.float32) + high.astype(jnp.float32)
