"""RegNetY.

Radosavovic, Kosaraju, Girshick, He, Dollar, "Designing Network Design Spaces", CVPR 2020: figure 4 (the block), equations 2 to
4 (widths of the blocks), section 4 and table 9 (squeeze and excitation, the models).
"""

from functools import partial
from typing import ClassVar, NamedTuple

import flax.linen as nn
import numpy as np
from jaxtyping import Array, Float

from fcn.encoders.blocks import ConvNorm, SqueezeExcitation
from fcn.encoders.entry import Encoder, check_depth
from fcn.layers import ImageNetwork, NormLayer

STEM = 32
"""Channels of the first map."""


class Design(NamedTuple):
    """The numbers that make a network."""

    blocks: int
    initial_width: int
    slope: float
    multiplier: float
    group_width: int

    def stages(self) -> tuple[tuple[int, int], ...]:
        """(Channels, number of blocks) of each stage.

        The widths w0 + slope * i of the blocks are rounded to w0 * multiplier^s for whole s, and these to multiples of 8;
        blocks of one width are a stage. Its channels are then rounded to a multiple of the group's width.
        """
        widths = self.initial_width + self.slope * np.arange(self.blocks)
        powers = np.round(np.log(widths / self.initial_width) / np.log(self.multiplier))
        widths, counts = np.unique(np.round(self.initial_width * self.multiplier**powers / 8) * 8, return_counts=True)
        group = self.group_width
        return tuple((round(width / group) * group, int(count)) for width, count in zip(widths.tolist(), counts))


class _ConvNorm(ConvNorm):
    references: ClassVar = {}


class RegNet(ImageNetwork):
    """A 3x3 convolution of stride 2 and four stages of bottleneck blocks with squeeze and excitation.

    Attributes (more in `Network`):
        design: the numbers from which widths and blocks of the stages follow.
        depth: number of maps, 3 to 5; later stages are left out.
        output_stride: 8 or 16 replace the strides of the last stages by dilation; as in timm, the first block of such a stage
            has half the dilation of the others.
    """

    design: Design
    depth: int = 5
    output_stride: int = 32

    references: ClassVar = {"timm": (), "smp": (("^", "model."),)}
    unused: ClassVar = ("head.",)
    kept: ClassVar = {"timm": ("depth", 5)}

    @nn.compact
    def __call__(self, x: Float[Array | np.ndarray, "b h w c"], *, train: bool = False) -> tuple[Float[Array, "b _ _ _"], ...]:
        """Feature maps at strides 2, 4, 8, 16 and 32 of images [B, H, W, C] of any size.

        Raises:
            ValueError: `depth` is not 3, 4 or 5, or `output_stride` not 8, 16 or 32.
        """
        check_depth(self.depth, self.output_stride)
        x = _ConvNorm(STEM, 3, 2, activation=nn.relu, **self.norm_types, name="stem")(x, train=train)
        maps = [x]
        for i, (features, count) in enumerate(self.design.stages()[: self.depth - 1], start=1):
            dilation = max(1, 2 ** (i + 1) // self.output_stride)
            stage = _Stage(features, count, self.design.group_width, dilation, **self.norm_types, name=f"s{i}")
            x = stage(x, train=train)
            maps.append(x)
        return tuple(maps)


class _Stage(NormLayer):
    """Blocks of the same width; the first halves the map unless it is dilated."""

    features: int
    blocks: int
    group_width: int
    dilation: int

    @nn.compact
    def __call__(self, x, *, train):
        for i in range(1, self.blocks + 1):
            strides = 2 if i == 1 and self.dilation == 1 else 1
            dilation = max(1, self.dilation // 2) if i == 1 else self.dilation
            x = _Block(self.features, self.group_width, strides, dilation, **self.norm_types, name=f"b{i}")(x, train=train)
        return x


class _Block(NormLayer):
    """Convolutions 1x1, 3x3 in groups, gate, 1x1; the shortcut is a 1x1 convolution where shapes change."""

    features: int
    group_width: int
    strides: int
    dilation: int

    @nn.compact
    def __call__(self, x, *, train):
        conv = partial(_ConvNorm, self.features, **self.norm_types)
        grouped = {"dilation": self.dilation, "groups": self.features // self.group_width}
        y = conv(activation=nn.relu, name="conv1")(x, train=train)
        y = conv(3, self.strides, **grouped, activation=nn.relu, name="conv2")(y, train=train)
        y = y * SqueezeExcitation(round(x.shape[-1] / 4), **self.types, name="se")(y)
        y = conv(name="conv3")(y, train=train)
        if x.shape[-1] != self.features or self.strides > 1:
            x = conv(strides=self.strides, name="downsample")(x, train=train)
        return nn.relu(x + y)


_PAPER = "Radosavovic et al., Designing Network Design Spaces, CVPR 2020"
REGNETS = {
    name: Encoder(
        partial(RegNet, design), _PAPER, f"timm {name}", count, (STEM, *(features for features, _ in design.stages()))
    )
    for name, design, count in (
        ("regnety_002", Design(13, 24, 36.44, 2.49, 8), 2_793_996),
        ("regnety_004", Design(16, 48, 27.89, 2.09, 8), 3_903_144),
        ("regnety_006", Design(15, 48, 32.54, 2.32, 16), 5_446_160),
        ("regnety_008", Design(14, 56, 38.84, 2.4, 16), 5_494_168),
        ("regnety_016", Design(27, 48, 20.71, 2.65, 24), 10_313_430),
        ("regnety_032", Design(21, 80, 42.63, 2.66, 24), 17_923_338),
    )
}
"""Table 9 of the paper."""
