"""MobileNetV3.

Howard, Sandler, Chu, Chen, Chen, Tan, Wang, Zhu, Pang, Vasudevan, Le, Adam, "Searching for MobileNetV3", ICCV 2019, tables 1
(large) and 2 (small) and section 5.
"""

from functools import partial
from typing import ClassVar, NamedTuple

import flax.linen as nn
import numpy as np
from jaxtyping import Array, Float

from fcn.encoders.blocks import ConvNorm, SqueezeExcitation, round_channels
from fcn.encoders.entry import Encoder, check_depth
from fcn.layers import ImageNetwork, NormLayer

_ConvNorm = partial(ConvNorm, momentum=0.99, epsilon=1e-3)


class Bneck(NamedTuple):
    """A row of the paper's tables: one block."""

    kernel_size: int
    expanded: int
    features: int
    squeeze: bool
    activation: str
    strides: int


class MobileNetV3(ImageNetwork):
    """A 3x3 convolution of stride 2, inverted residual blocks, and a 1x1 convolution to six times their channels.

    The maps are those of the last block of each stage; the last map is that of the 1x1 convolution (960 channels in the large
    network, 576 in the small one). torchvision's segmentation models take `output_stride=16` and `stage_starts=True`: LR-ASPP
    adds the map of stride 8 (`maps[2]`, 40 channels) to the last one (`maps[4]`), and that of stride 8 also feeds the auxiliary
    head of DeepLabV3.

    Attributes (more in `Network`):
        blocks: the rows of the paper's table.
        stage_starts: the maps of strides 2 to 16 are those of the first block of each stage instead, the one that halves.
        depth: number of maps, 3 to 5; later stages are left out.
        output_stride: 8 or 16 replace the strides of the last stages by dilation, in all blocks of the stage.
    """

    blocks: tuple[Bneck, ...]
    stage_starts: bool = False
    depth: int = 5
    output_stride: int = 32

    references: ClassVar = {"torchvision": ()}
    unused: ClassVar = ("classifier.",)
    kept: ClassVar = {"torchvision": ("depth", 5)}

    @nn.compact
    def __call__(self, x: Float[Array | np.ndarray, "b h w c"], *, train: bool = False) -> tuple[Float[Array, "b _ _ _"], ...]:
        """Feature maps at strides 2, 4, 8, 16 and 32 of images [B, H, W, C] of any size.

        Raises:
            ValueError: `depth` is not 3, 4 or 5, or `output_stride` not 8, 16 or 32.
        """
        check_depth(self.depth, self.output_stride)
        ends = partial(_ConvNorm, activation=nn.hard_swish, **self.norm_types)
        x = ends(16, 3, 2, name="features_0")(x, train=train)
        stages = [[x]]
        for i, row in enumerate(self.blocks, start=1):
            if row.strides == 2:
                if len(stages) == self.depth:
                    break
                stages.append([])
            dilation = max(1, 2 ** len(stages) // self.output_stride)
            expands = row.expanded != x.shape[-1]
            x = _Block(row, expands, dilation, **self.norm_types, name=f"features_{i}")(x, train=train)
            stages[-1].append(x)
        if self.depth == 5:
            x = ends(6 * x.shape[-1], name=f"features_{len(self.blocks) + 1}")(x, train=train)
            stages[-1] = [x]
        return tuple(stage[0 if self.stage_starts else -1] for stage in stages)


class _Block(NormLayer):
    """1x1 convolution to more channels, depthwise one, gate, 1x1 convolution to fewer; added to the input if it fits."""

    row: Bneck
    expands: bool
    dilation: int

    @property
    def references(self) -> dict[str, tuple[tuple[str, str], ...]]:
        """torchvision numbers the layers that a block has."""
        layers = ["expand"] * self.expands + ["depthwise"] + ["squeeze"] * self.row.squeeze + ["project"]
        return {"torchvision": tuple((f"^{layer}", f"block.{i}") for i, layer in enumerate(layers))}

    @nn.compact
    def __call__(self, x, *, train):
        row = self.row
        conv = partial(_ConvNorm, **self.norm_types)
        activation = getattr(nn, row.activation)
        y = x
        if self.expands:
            y = conv(row.expanded, activation=activation, name="expand")(y, train=train)
        filters = {"strides": row.strides if self.dilation == 1 else 1, "dilation": self.dilation, "depthwise": True}
        y = conv(row.expanded, row.kernel_size, **filters, activation=activation, name="depthwise")(y, train=train)
        if row.squeeze:
            y = y * SqueezeExcitation(round_channels(row.expanded // 4), nn.hard_sigmoid, **self.types, name="squeeze")(y)
        y = conv(row.features, name="project")(y, train=train)
        return x + y if row.strides == 1 and x.shape == y.shape else y


LARGE = (
    Bneck(3, 16, 16, False, "relu", 1),
    Bneck(3, 64, 24, False, "relu", 2),
    Bneck(3, 72, 24, False, "relu", 1),
    Bneck(5, 72, 40, True, "relu", 2),
    Bneck(5, 120, 40, True, "relu", 1),
    Bneck(5, 120, 40, True, "relu", 1),
    Bneck(3, 240, 80, False, "hard_swish", 2),
    Bneck(3, 200, 80, False, "hard_swish", 1),
    Bneck(3, 184, 80, False, "hard_swish", 1),
    Bneck(3, 184, 80, False, "hard_swish", 1),
    Bneck(3, 480, 112, True, "hard_swish", 1),
    Bneck(3, 672, 112, True, "hard_swish", 1),
    Bneck(5, 672, 160, True, "hard_swish", 2),
    Bneck(5, 960, 160, True, "hard_swish", 1),
    Bneck(5, 960, 160, True, "hard_swish", 1),
)
"""Table 1 of the paper."""
SMALL = (
    Bneck(3, 16, 16, True, "relu", 2),
    Bneck(3, 72, 24, False, "relu", 2),
    Bneck(3, 88, 24, False, "relu", 1),
    Bneck(5, 96, 40, True, "hard_swish", 2),
    Bneck(5, 240, 40, True, "hard_swish", 1),
    Bneck(5, 240, 40, True, "hard_swish", 1),
    Bneck(5, 120, 48, True, "hard_swish", 1),
    Bneck(5, 144, 48, True, "hard_swish", 1),
    Bneck(5, 288, 96, True, "hard_swish", 2),
    Bneck(5, 576, 96, True, "hard_swish", 1),
    Bneck(5, 576, 96, True, "hard_swish", 1),
)
"""Table 2 of the paper."""

_PAPER = "Howard et al., Searching for MobileNetV3, ICCV 2019"
MOBILENETS_V3 = {
    name: Encoder(partial(MobileNetV3, blocks), _PAPER, f"torchvision {name}", count, channels)
    for name, blocks, count, channels in (
        ("mobilenet_v3_small", SMALL, 927_008, (16, 16, 24, 48, 576)),
        ("mobilenet_v3_large", LARGE, 2_971_952, (16, 24, 40, 112, 960)),
    )
}
