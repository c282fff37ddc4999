"""SE-ResNet and SE-ResNeXt: residual blocks with squeeze and excitation.

Hu, Shen, Sun, "Squeeze-and-Excitation Networks", CVPR 2018: section 3 (the gate), figure 3 (its place in a residual block) and
table 1 (the networks). Strides and pooling are those of the authors' Caffe networks, from which the published weights come.
"""

from functools import partial
from typing import ClassVar

import flax.linen as nn
import numpy as np
from jaxtyping import Array, Float

from fcn.encoders.blocks import SqueezeExcitation
from fcn.encoders.entry import Encoder, check_depth
from fcn.encoders.padding import extend_to_least
from fcn.layers import BatchNorm, Conv, ImageNetwork, NormLayer, materialize, max_pool

REDUCTION = 16
"""Channels of a block for one channel inside its gate."""


class SENet(ImageNetwork):
    """A 7x7 convolution of stride 2, a 3x3 max-pool of stride 2, and four stages of bottleneck blocks with gates.

    The max-pool has no padding: its last window may reach over the lower and right border. Where the map of stride 2 has an odd
    height of H rows, the next has (H - 1) / 2, one less than ResNet's; a single row is repeated before.

    Attributes (more in `Network`):
        blocks: number of blocks of each stage.
        groups: groups of the 3x3 convolutions (ResNeXt's cardinality).
        group_width: channels of a group in the first stage.
        stride_first: the stride of a block is in its first 1x1 convolution (SE-ResNet), or else in its 3x3 one (SE-ResNeXt).
        depth: number of maps, 3 to 5; later stages are left out.
        output_stride: 8 or 16 replace the strides of the last stages by dilation, in all blocks of the stage.
    """

    blocks: tuple[int, ...] = (3, 4, 6, 3)
    groups: int = 1
    group_width: int = 64
    stride_first: bool = True
    depth: int = 5
    output_stride: int = 32

    references: ClassVar = dict.fromkeys(("smp", "timm"), (("^(conv1|bn1)$", r"layer0.\1"),))
    unused: ClassVar = ("last_linear.",)
    kept: ClassVar = dict.fromkeys(references, ("depth", 5))

    @nn.compact
    def __call__(self, x: Float[Array | np.ndarray, "b h w c"], *, train: bool = False) -> tuple[Float[Array, "b _ _ _"], ...]:
        """Feature maps at strides 2, 4, 8, 16 and 32 of images [B, H, W, C] of any size.

        Raises:
            ValueError: `depth` is not 3, 4 or 5, or `output_stride` not 8, 16 or 32.
        """
        check_depth(self.depth, self.output_stride)
        x = Conv(64, 7, 2, padding=3, use_bias=False, **self.types, name="conv1")(x)
        x = nn.relu(BatchNorm(**self.norm_types, name="bn1")(x, train=train))
        maps = [x]
        x = max_pool(extend_to_least(x, 2), 3, 2, ceil_mode=True)
        for stage, count in enumerate(self.blocks[: self.depth - 1]):
            dilation = max(1, 2 ** (stage + 2) // self.output_stride)
            for i in range(count):
                block = _Block(
                    features=64 * 2**stage,
                    strides=2 if i == 0 < stage and dilation == 1 else 1,
                    dilation=dilation,
                    groups=self.groups,
                    group_width=self.group_width,
                    stride_first=self.stride_first,
                    **self.norm_types,
                    name=f"layer{stage + 1}_{i}",
                )
                x = block(x, train=train)
            maps.append(x)
        return tuple(maps)


class _Block(NormLayer):
    """Convolutions 1x1, 3x3 in groups, 1x1, and a gate; the shortcut is a 1x1 convolution where shapes change."""

    features: int
    strides: int
    dilation: int
    groups: int
    group_width: int
    stride_first: bool

    @nn.compact
    def __call__(self, x, *, train):
        conv = partial(Conv, use_bias=False, **self.types)

        def norm(name, y):
            return BatchNorm(**self.norm_types, name=name)(y, train=train)

        width, out = self.features * self.group_width // 64 * self.groups, 4 * self.features
        first, second = (self.strides, 1) if self.stride_first else (1, self.strides)
        grouped = {"padding": self.dilation, "dilation": self.dilation, "groups": self.groups}
        y = nn.relu(norm("bn1", conv(width, 1, first, name="conv1")(x)))
        y = nn.relu(norm("bn2", conv(width, 3, second, **grouped, name="conv2")(y)))
        y = norm("bn3", conv(out, 1, name="conv3")(y))
        y = y * SqueezeExcitation(out // REDUCTION, **self.types, name="se_module")(y)
        if x.shape[-1] != out or self.strides > 1:
            x = norm("downsample_1", conv(out, 1, self.strides, name="downsample_0")(x))
        return materialize(nn.relu(x + y))


_PAPER = "Hu, Shen, Sun, Squeeze-and-Excitation Networks, CVPR 2018"
_CHANNELS = (64, 256, 512, 1024, 2048)
_WIDER = {"groups": 32, "group_width": 4, "stride_first": False}
SENETS = {
    name: Encoder(partial(SENet, blocks, **fields), _PAPER, f"smp {name}", count, _CHANNELS)
    for name, count, blocks, fields in (
        ("se_resnet50", 26_039_024, (3, 4, 6, 3), {}),
        ("se_resnet101", 47_277_872, (3, 4, 23, 3), {}),
        ("se_resnet152", 64_772_848, (3, 8, 36, 3), {}),
        ("se_resnext50_32x4d", 25_510_896, (3, 4, 6, 3), _WIDER),
        ("se_resnext101_32x4d", 46_906_416, (3, 4, 23, 3), _WIDER),
    )
}
"""Table 1 of the paper, and the deeper ones of its table 2."""
