"""DeepLabV3 on MobileNetV2, as TensorFlow's DeepLab exports it for small devices.

Chen, Papandreou, Schroff, Adam, "Rethinking Atrous Convolution for Semantic Image Segmentation", 2017 (arXiv:1706.05587),
section 3.3; Sandler et al., "MobileNetV2", CVPR 2018, section 6.3 (which leaves the pyramid of dilated convolutions out).
"""

from functools import partial
from typing import ClassVar

import flax.linen as nn
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from fcn.encoders.blocks import round_channels
from fcn.encoders.mobilenet_v2 import STAGES
from fcn.layers import Conv, ImageNetwork, Layer, PointwiseConv, resize_bilinear


class DeepLabV3MobileNetV2TF(ImageNetwork):
    """MobileNetV2 without its last convolution at stride 16; a convolution of its map beside one of its average; scores.

    BatchNorm is folded into kernels and biases: there is none to train. Convolutions are padded as TensorFlow's "SAME" pads
    them. Parameters bear the names of TensorFlow's variables, `MobilenetV2/expanded_conv_1/expand/kernel`.

    Attributes (more in `Network`):
        num_classes: channels of the logits.
        width: factor on the numbers of channels of MobileNetV2, rounded to whole numbers (to multiples of 8 elsewhere).
        head_features: channels of the convolutions of the head.
        stages: rows of MobileNetV2's table 2: factor of expansion, channels, number of blocks, stride of the first.
        axis_name: no effect here (there is no BatchNorm).
    """

    num_classes: int
    width: float = 0.5
    head_features: int = 256
    stages: tuple[tuple[int, int, int, int], ...] = STAGES

    references: ClassVar = {"tf_deeplab": ()}
    heads: ClassVar = ("logits",)

    @nn.compact
    def __call__(self, x: Float[Array | np.ndarray, "b h w c"], *, train: bool = False) -> Float[Array, "b h w k"]:
        """Logits [B, H, W, num_classes], float32, of images [B, H, W, C] of any size.

        They are interpolated from stride 16 between the centres of the corner pixels: where H and W are one more than a
        multiple of 16, `logits[:, ::16, ::16]` are the network's own.
        """
        conv = partial(PointwiseConv, self.head_features, **self.types)
        size = x.shape[1:3]
        x = _MobileNetV2(self.width, self.stages, **self.types, name="MobilenetV2")(x)
        mean = nn.relu(conv(name="image_pooling")(jnp.mean(x, axis=(1, 2), keepdims=True)))
        x = nn.relu(conv(name="aspp0")(x))
        x = jnp.concatenate([jnp.broadcast_to(mean, x.shape), x], axis=-1)
        x = nn.relu(conv(name="concat_projection")(x))
        x = _Logits(self.num_classes, **self.types, name="logits")(x).astype(jnp.float32)
        return resize_bilinear(x, size, align_corners=True)


class _MobileNetV2(Layer):
    """A 3x3 convolution and 17 blocks; strides beyond 16 are replaced by dilation in the blocks after them."""

    width: float
    stages: tuple[tuple[int, int, int, int], ...]

    @nn.compact
    def __call__(self, x):
        x = nn.relu6(Conv(self._channels(32), 3, 2, **self.types, name="Conv")(x))
        blocks = [(factor, c, strides if i == 0 else 1) for factor, c, count, strides in self.stages for i in range(count)]
        stride, dilation = 2, 1
        for i, (factor, channels, strides) in enumerate(blocks):
            dilated = stride * strides > 16
            name = f"expanded_conv_{i}" if i else "expanded_conv"
            options = {"strides": 1 if dilated else strides, "dilation": dilation, **self.types}
            x = _Block(factor, self._channels(channels), **options, name=name)(x)
            if dilated:
                dilation *= strides
            else:
                stride *= strides
        return x

    def _channels(self, channels: int) -> int:
        return round_channels(channels * self.width, 1)


class _Block(Layer):
    """1x1 convolution to more channels, depthwise convolution, 1x1 convolution to fewer; added to the input if it fits."""

    factor: int
    features: int
    strides: int
    dilation: int

    @nn.compact
    def __call__(self, x):
        inside, y = self.factor * x.shape[-1], x
        if self.factor > 1:
            y = nn.relu6(PointwiseConv(inside, **self.types, name="expand")(y))
        options = {"dilation": self.dilation, "groups": inside, **self.types}
        y = nn.relu6(Conv(inside, 3, self.strides, **options, name="depthwise")(y))
        y = PointwiseConv(self.features, **self.types, name="project")(y)
        return x + y if self.strides == 1 and x.shape == y.shape else y


class _Logits(Layer):
    """One channel a class."""

    num_classes: int

    @nn.compact
    def __call__(self, x):
        return PointwiseConv(self.num_classes, **self.types, name="semantic")(x)
