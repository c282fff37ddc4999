"""VGG (Simonyan, Zisserman, "Very Deep Convolutional Networks for Large-Scale Image Recognition", ICLR 2015, table 1)."""

from functools import partial
from typing import ClassVar

import flax.linen as nn
import numpy as np
from jaxtyping import Array, Float

from fcn.encoders.entry import Encoder, check_depth
from fcn.encoders.padding import extend_to_least
from fcn.layers import BatchNorm, Conv, Network, max_pool
from fcn.layers.network import INPUTS


class VGG(Network):
    """The convolutions of VGG: five stages of 3x3 convolutions with ReLU, a 2x2 max-pool after each.

    Layers bear the names of the authors' Caffe nets: `conv3_2` is the second convolution of the third stage (`bn3_2` its
    BatchNorm). Each stage has twice as many channels as the one before, but the fifth as many as the fourth.

    Attributes (more in `Network`):
        convolutions: number of convolutions of each stage.
        batch_norm: BatchNorm between convolution and ReLU.
        width_multiplier: factor on all numbers of channels (64, 128, 256, 512, 512).
        input_padding: zero padding of the first convolution, on all sides or as ((top, bottom), (left, right)); FCN takes 100.
        ceil_mode: pooling windows may reach over the lower and right border, as in Caffe; otherwise they are dropped, as in
            torchvision.
        depth: 3, 4 or 5: the last map has stride 2**depth.
        output_stride: 32; max-pools cannot be dilated.
    """

    convolutions: tuple[int, ...] = (2, 2, 3, 3, 3)
    batch_norm: bool = False
    width_multiplier: float = 1.0
    input_padding: int | tuple[tuple[int, int], tuple[int, int]] = 1
    ceil_mode: bool = False
    depth: int = 5
    output_stride: int = 32

    dimensions: ClassVar = tuple(INPUTS)
    unused: ClassVar = ("classifier.",)
    kept: ClassVar = dict.fromkeys(("torchvision", "smp"), ("depth", 5))

    @property
    def references(self) -> dict[str, tuple[tuple[str, str], ...]]:
        """torchvision and smp number the layers of one sequence: convolution, BatchNorm, ReLU ..., pool."""
        renames, index = [], 0
        for stage, count in enumerate(self.convolutions, start=1):
            for i in range(1, count + 1):
                for layer in ("conv", "bn")[: 1 + self.batch_norm]:
                    renames.append((rf"^{layer}{stage}\.{i}\b", f"features.{index}"))
                    index += 1
                index += 1  # the ReLU
            index += 1  # the pool
        return {"torchvision": tuple(renames), "smp": tuple(renames), "torchfcn": ((r"^conv(\d)\.(\d)", r"conv\1_\2"),)}

    @nn.compact
    def __call__(
        self, x: Float[Array | np.ndarray, "b *spatial c"], *, train: bool = False
    ) -> tuple[Float[Array, "b *_"], ...]:
        """Feature maps at strides 1, 2, 4, 8, 16 (the end of each stage, before its pool) and 32 (after the last pool).

        With depth 3 the last is that of stride 8, the end of the fourth stage. Images [B, H, W, C] of any size; where a side is
        under 2**depth and the last pool would leave nothing of it (never with `ceil_mode`), the last row or column is repeated
        up to 2**depth first.
        """
        check_depth(self.depth, self.output_stride, dilates=False)
        if not self.ceil_mode:
            x = extend_to_least(x, 2**self.depth)
        maps = []
        for stage, count in enumerate(self.convolutions[: self.depth + 1], start=1):
            x = max_pool(x, 2, ceil_mode=self.ceil_mode) if stage > 1 else x
            features = max(1, round(min(32 * 2**stage, 512) * self.width_multiplier))
            for i in range(1, count + 1):
                padding = self.input_padding if stage == i == 1 else 1
                x = Conv(features, 3, padding=padding, **self.types, name=f"conv{stage}_{i}")(x)
                if self.batch_norm:
                    x = BatchNorm(**self.norm_types, name=f"bn{stage}_{i}")(x, train=train)
                x = nn.relu(x)
            maps.append(x)
        return (*maps, max_pool(x, 2, ceil_mode=self.ceil_mode)) if self.depth == len(self.convolutions) else tuple(maps)


VGGS = {
    "vgg11": partial(VGG, convolutions=(1, 1, 2, 2, 2)),
    "vgg13": partial(VGG, convolutions=(2, 2, 2, 2, 2)),
    "vgg16": partial(VGG, convolutions=(2, 2, 3, 3, 3)),
    "vgg19": partial(VGG, convolutions=(2, 2, 4, 4, 4)),
    "vgg11_bn": partial(VGG, convolutions=(1, 1, 2, 2, 2), batch_norm=True),
    "vgg13_bn": partial(VGG, convolutions=(2, 2, 2, 2, 2), batch_norm=True),
    "vgg16_bn": partial(VGG, convolutions=(2, 2, 3, 3, 3), batch_norm=True),
    "vgg19_bn": partial(VGG, convolutions=(2, 2, 4, 4, 4), batch_norm=True),
}
"""Configurations A, B, D and E of table 1, plain and with BatchNorm."""

_PAPER = "Simonyan, Zisserman, Very Deep Convolutional Networks for Large-Scale Image Recognition, ICLR 2015"
_PARAMETERS = {
    "vgg11": 9_220_480,
    "vgg13": 9_404_992,
    "vgg16": 14_714_688,
    "vgg19": 20_024_384,
    "vgg11_bn": 9_225_984,
    "vgg13_bn": 9_410_880,
    "vgg16_bn": 14_723_136,
    "vgg19_bn": 20_035_392,
}
VGG_ENCODERS = {
    name: Encoder(
        VGGS[name],
        _PAPER,
        f"torchvision {name}",
        parameters,
        (64, 128, 256, 512, 512, 512),
        strides=(1, 2, 4, 8, 16, 32),
        ends_in_pool=True,
    )
    for name, parameters in _PARAMETERS.items()
}
