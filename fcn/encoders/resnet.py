"""ResNet and what widens it: ResNeXt and Wide ResNet.

He, Zhang, Ren, Sun, "Deep Residual Learning for Image Recognition", CVPR 2016, table 1; Xie et al., "Aggregated Residual
Transformations for Deep Neural Networks", CVPR 2017; Zagoruyko, Komodakis, "Wide Residual Networks", BMVC 2016. As in
torchvision, the stride of a bottleneck block is in its 3x3 convolution.
"""

from functools import partial
from typing import Any, ClassVar

import flax.linen as nn
import numpy as np
from jaxtyping import Array, Float

from fcn.encoders.entry import Encoder, check_depth
from fcn.layers import BatchNorm, Conv, ImageNetwork, NormLayer, materialize, max_pool


class ResNet(ImageNetwork):
    """A 7x7 convolution of stride 2, a 3x3 max-pool of stride 2, and four stages of residual blocks.

    Attributes (more in `Network`):
        blocks: number of blocks of each stage.
        bottleneck: blocks of 1x1, 3x3 and 1x1 convolutions, the last with four times the channels; else of two 3x3.
        groups: groups of the 3x3 convolutions of bottleneck blocks (ResNeXt's cardinality).
        group_width: channels of a group in the first stage (64 with one group is ResNet, 128 is Wide ResNet).
        depth: number of maps, 3 to 5; later stages are left out.
        output_stride: 8 or 16 replace the strides of the last stages by dilation.
        dilate_first: in a stage that lost its stride, the first block has the new dilation too (smp), or else that of the stage
            before (torchvision).
    """

    blocks: tuple[int, ...] = (2, 2, 2, 2)
    bottleneck: bool = False
    groups: int = 1
    group_width: int = 64
    depth: int = 5
    output_stride: int = 32
    dilate_first: bool = True

    references: ClassVar = {"torchvision": (), "smp": (), "timm": ()}
    unused: ClassVar = ("fc.",)
    kept: ClassVar = dict.fromkeys(references, ("depth", 5))

    @property
    def old_names(self) -> tuple[tuple[str, str], ...]:
        """smp's "tu-resnet18" is the same network as its "resnet18", unless it is dilated."""
        return ((r"(^|\bencoder\.)model\.", r"\1"),) if self.output_stride == 32 else ()

    @nn.compact
    def __call__(self, x: Float[Array | np.ndarray, "b h w c"], *, train: bool = False) -> tuple[Float[Array, "b _ _ _"], ...]:
        """Feature maps at strides 2, 4, 8, 16 and 32 of images [B, H, W, C] of any size."""
        check_depth(self.depth, self.output_stride)
        x = Conv(64, 7, 2, padding=3, use_bias=False, **self.types, name="conv1")(x)
        x = nn.relu(BatchNorm(**self.norm_types, name="bn1")(x, train=train))
        maps = [x]
        x = max_pool(x, 3, 2, padding=1)
        for stage, count in enumerate(self.blocks[: self.depth - 1]):
            stride = 2 ** (stage + 2)  # of this stage, if nothing is dilated
            dilation = max(1, stride // self.output_stride)
            before = max(1, stride // 2 // self.output_stride)
            for i in range(count):
                block = _Block(
                    features=64 * 2**stage,
                    strides=2 if i == 0 < stage and dilation == 1 else 1,
                    dilation=before if i == 0 and not self.dilate_first else dilation,
                    bottleneck=self.bottleneck,
                    groups=self.groups,
                    group_width=self.group_width,
                    **self.norm_types,
                    name=f"layer{stage + 1}_{i}",
                )
                x = block(x, train=train)
            maps.append(x)
        return tuple(maps)


class _Block(NormLayer):
    """A residual block; the shortcut is a 1x1 convolution where shapes change."""

    features: int
    strides: int
    dilation: int
    bottleneck: bool
    groups: int
    group_width: int

    @nn.compact
    def __call__(self, x, *, train):
        conv = partial(Conv, use_bias=False, **self.types)

        def norm(name, y):
            return BatchNorm(**self.norm_types, name=name)(y, train=train)

        around: dict[str, Any] = {"padding": self.dilation, "dilation": self.dilation}
        if self.bottleneck:
            width, out = self.features * self.group_width // 64 * self.groups, 4 * self.features
            y = nn.relu(norm("bn1", conv(width, 1, name="conv1")(x)))
            y = nn.relu(norm("bn2", conv(width, 3, self.strides, **around, groups=self.groups, name="conv2")(y)))
            y = norm("bn3", conv(out, 1, name="conv3")(y))
        else:
            out = self.features
            y = nn.relu(norm("bn1", conv(out, 3, self.strides, **around, name="conv1")(x)))
            y = norm("bn2", conv(out, 3, **around, name="conv2")(y))
        if x.shape[-1] != out or self.strides > 1:
            x = norm("downsample_1", conv(out, 1, self.strides, name="downsample_0")(x))
        return materialize(nn.relu(x + y))


_RESNET = "He et al., Deep Residual Learning for Image Recognition, CVPR 2016"
_RESNEXT = "Xie et al., Aggregated Residual Transformations for Deep Neural Networks, CVPR 2017"
_WIDE = "Zagoruyko, Komodakis, Wide Residual Networks, BMVC 2016"


def _row(name: str, paper: str, parameters: int, blocks: tuple[int, ...], **fields) -> Encoder:
    out = 4 if fields.get("bottleneck") else 1
    channels = (64, *(out * features for features in (64, 128, 256, 512)))
    return Encoder(partial(ResNet, blocks, **fields), paper, f"torchvision {name}", parameters, channels)


_DEEP = {"bottleneck": True}
RESNETS = {
    name: _row(name, *row, **fields)
    for name, row, fields in (
        ("resnet18", (_RESNET, 11_176_512, (2, 2, 2, 2)), {}),
        ("resnet34", (_RESNET, 21_284_672, (3, 4, 6, 3)), {}),
        ("resnet50", (_RESNET, 23_508_032, (3, 4, 6, 3)), _DEEP),
        ("resnet101", (_RESNET, 42_500_160, (3, 4, 23, 3)), _DEEP),
        ("resnet152", (_RESNET, 58_143_808, (3, 8, 36, 3)), _DEEP),
        ("resnext50_32x4d", (_RESNEXT, 22_979_904, (3, 4, 6, 3)), _DEEP | {"groups": 32, "group_width": 4}),
        ("resnext101_32x4d", (_RESNEXT, 42_128_704, (3, 4, 23, 3)), _DEEP | {"groups": 32, "group_width": 4}),
        ("resnext101_32x8d", (_RESNEXT, 86_742_336, (3, 4, 23, 3)), _DEEP | {"groups": 32, "group_width": 8}),
        ("wide_resnet50_2", (_WIDE, 66_834_240, (3, 4, 6, 3)), _DEEP | {"group_width": 128}),
        ("wide_resnet101_2", (_WIDE, 124_837_696, (3, 4, 23, 3)), _DEEP | {"group_width": 128}),
    )
}
"""Table 1 of the paper, and its wider relatives."""
