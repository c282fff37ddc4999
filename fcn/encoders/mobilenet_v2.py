"""MobileNetV2.

Sandler, Howard, Zhu, Zhmoginov, Chen, "MobileNetV2: Inverted Residuals and Linear Bottlenecks", CVPR 2018, tables 1 (the block)
and 2 (the network).
"""

from functools import partial
from typing import ClassVar

import flax.linen as nn
import numpy as np
from jaxtyping import Array, Float

from fcn.encoders.blocks import ConvNorm, round_channels
from fcn.encoders.entry import Encoder, check_depth
from fcn.layers import ImageNetwork, NormLayer

STAGES = ((1, 16, 1, 1), (6, 24, 2, 2), (6, 32, 3, 2), (6, 64, 4, 2), (6, 96, 3, 1), (6, 160, 3, 2), (6, 320, 1, 1))
"""Table 2: factor of expansion, channels, number of blocks, stride of the first."""


class MobileNetV2(ImageNetwork):
    """A 3x3 convolution of stride 2, inverted residual blocks, and a 1x1 convolution to 1280 channels.

    The maps are those of the last block before each halving; the last one is that of the 1x1 convolution.

    Attributes (more in `Network`):
        width: factor on the numbers of channels, which are rounded to multiples of 8; below 1 it leaves the 1280 as they are.
        depth: number of maps, 3 to 5; later blocks are left out.
        output_stride: 8 or 16 replace the strides of the last stages by dilation, in all blocks of the stage.
    """

    width: float = 1.0
    depth: int = 5
    output_stride: int = 32

    references: ClassVar = {"torchvision": (), "smp": ()}
    unused: ClassVar = ("classifier.",)
    kept: ClassVar = dict.fromkeys(references, ("depth", 5))

    @nn.compact
    def __call__(self, x: Float[Array | np.ndarray, "b h w c"], *, train: bool = False) -> tuple[Float[Array, "b _ _ _"], ...]:
        """Feature maps at strides 2, 4, 8, 16 and 32 of images [B, H, W, C] of any size.

        Raises:
            ValueError: `depth` is not 3, 4 or 5, or `output_stride` not 8, 16 or 32.
        """
        check_depth(self.depth, self.output_stride)
        ends = partial(ConvNorm, activation=nn.relu6, **self.norm_types)
        x = ends(round_channels(32 * self.width), 3, 2, name="features_0")(x, train=train)
        blocks = [(factor, c, strides == 2 and i == 0) for factor, c, count, strides in STAGES for i in range(count)]
        maps = []
        for i, (factor, channels, halves) in enumerate(blocks, start=1):
            if halves:
                maps.append(x)
                if len(maps) == self.depth:
                    return tuple(maps)
            dilation = max(1, 2 ** (len(maps) + 1) // self.output_stride)
            features = round_channels(channels * self.width)
            block = _Block(factor, features, halves, dilation, **self.norm_types, name=f"features_{i}")
            x = block(x, train=train)
        x = ends(round_channels(1280 * max(1, self.width)), name=f"features_{len(blocks) + 1}")(x, train=train)
        return (*maps, x)


class _Block(NormLayer):
    """1x1 convolution to more channels, depthwise convolution, 1x1 convolution to fewer; added to the input if it fits."""

    factor: int
    features: int
    halves: bool
    dilation: int

    @property
    def references(self) -> dict[str, tuple[tuple[str, str], ...]]:
        """Layers are numbered; the last convolution and its BatchNorm are two."""
        i = int(self.factor > 1)
        names = (
            ("^expand", "conv.0"),
            ("^depthwise", f"conv.{i}"),
            (r"^project\.0", f"conv.{i + 1}"),
            (r"^project\.1", f"conv.{i + 2}"),
        )
        return {"torchvision": names, "smp": names}

    @nn.compact
    def __call__(self, x, *, train):
        conv = partial(ConvNorm, **self.norm_types)
        inside, y = self.factor * x.shape[-1], x
        if self.factor > 1:
            y = conv(inside, activation=nn.relu6, name="expand")(y, train=train)
        filters = {"strides": 2 if self.halves and self.dilation == 1 else 1, "dilation": self.dilation, "depthwise": True}
        y = conv(inside, 3, **filters, activation=nn.relu6, name="depthwise")(y, train=train)
        y = conv(self.features, name="project")(y, train=train)
        return y if self.halves or x.shape != y.shape else x + y


_PAPER = "Sandler et al., MobileNetV2: Inverted Residuals and Linear Bottlenecks, CVPR 2018"
MOBILENETS_V2 = {
    "mobilenet_v2": Encoder(MobileNetV2, _PAPER, "torchvision mobilenet_v2", 2_223_872, (16, 24, 32, 96, 1280)),
}
