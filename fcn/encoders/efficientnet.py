"""EfficientNet.

Tan, Le, "EfficientNet: Rethinking Model Scaling for Convolutional Neural Networks", ICML 2019, table 1 (the network) and
section 3.3 (its scaling).
"""

import math
from functools import partial
from typing import ClassVar, NamedTuple

import flax.linen as nn
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from fcn.encoders.blocks import round_channels
from fcn.encoders.entry import Encoder, check_depth
from fcn.encoders.padding import extend_to_least
from fcn.layers import BatchNorm, Conv, ImageNetwork, NormLayer, PointwiseConv

STAGES = (
    (1, 16, 1, 3, 1),
    (6, 24, 2, 3, 2),
    (6, 40, 2, 5, 2),
    (6, 80, 3, 3, 2),
    (6, 112, 3, 5, 1),
    (6, 192, 4, 5, 2),
    (6, 320, 1, 3, 1),
)
"""Table 1, stages 2 to 8: factor of expansion, channels, number of blocks, kernel size, stride of the first."""


class Block(NamedTuple):
    """One block of a scaled network."""

    factor: int
    features: int
    kernel_size: int
    strides: int
    padding: tuple[int, int]
    """Zeros before and after each axis, for the depthwise convolution."""
    dilation: int = 1


class EfficientNet(ImageNetwork):
    """A 3x3 convolution of stride 2, and inverted residual blocks with squeeze and excitation.

    Convolutions are padded as TensorFlow's "SAME" pads images of `image_size`, whatever size the images have, as in the
    PyTorch form that is in common use: where a map of that size has even sides, one zero more at the bottom and right. A map
    of an odd height then has floor(H / 2) rows after a stride of 2, where TensorFlow has ceil(H / 2). Images so small that
    nothing would be left are extended by repeating the last row and column. smp's encoder also keeps the 1x1 convolution before
    the classifier's average, which it does not use; it is not here.

    Attributes (more in `Network`):
        width: factor on the numbers of channels, which are rounded to multiples of 8.
        repeats: factor on the numbers of blocks, which are rounded up (the paper's depth coefficient).
        image_size: side of the images for which the padding is right.
        taps: blocks (from 0) after which maps of stride 4, 8, 16 and 32 are taken: the last of each stride, but in smp's
            efficientnet-b0 the map of stride 16 is that after the first of three blocks of 112 channels. Dilation starts after
            these, too.
        drop_path_rate: times i / (number of blocks), the rate at which block i is left out in training. Takes the rng
            "dropout". Published training has 0.2.
        depth: number of maps, 3 to 5; later blocks are left out.
        output_stride: 8 or 16 replace the strides of the last stages by dilation.
    """

    width: float = 1.0
    repeats: float = 1.0
    image_size: int = 224
    taps: tuple[int, int, int, int] = (2, 4, 8, 15)
    drop_path_rate: float = 0.0
    depth: int = 5
    output_stride: int = 32

    references: ClassVar = {"smp": ((r"(^|\.)([a-z])", r"\1_\2"),)}
    unused: ClassVar = ("_fc.",)
    kept: ClassVar = dict.fromkeys(references, ("depth", 5))

    @property
    def kept_variables(self) -> dict[str, tuple[int, ...]]:
        """The 1x1 convolution before the classifier's average, and its BatchNorm."""
        features = round_channels(1280 * self.width)
        norm = dict.fromkeys(("bn1/scale", "bn1/bias", "bn1/mean", "bn1/var"), (features,))
        return {"conv_head/kernel": (1, 1, self.scaled_blocks()[-1].features, features), **norm}

    @nn.compact
    def __call__(self, x: Float[Array | np.ndarray, "b h w c"], *, train: bool = False) -> tuple[Float[Array, "b _ _ _"], ...]:
        """Feature maps at strides 2, 4, 8, 16 and 32 of images [B, H, W, C] of any size.

        Raises:
            ValueError: `depth` is not 3, 4 or 5, or `output_stride` not 8, 16 or 32.
        """
        check_depth(self.depth, self.output_stride)
        stem = Block(0, round_channels(32 * self.width), 3, 2, same_padding(self.image_size, 3, 2))
        blocks = self.scaled_blocks()
        used = blocks[: self.taps[self.depth - 2] + 1]
        least = _smallest_side([stem, *used])
        x = extend_to_least(x, least)
        x = Conv(stem.features, 3, 2, padding=(stem.padding,) * 2, use_bias=False, **self.types, name="conv_stem")(x)
        x = nn.silu(_norm(**self.norm_types, name="bn0")(x, train=train))
        maps = [x]
        for i, block in enumerate(used):
            rate = self.drop_path_rate * i / len(blocks)
            x = _MBConv(block, rate, **self.norm_types, name=f"blocks_{i}")(x, train=train)
            if i in self.taps:
                maps.append(x)
        return tuple(maps)

    def scaled_blocks(self) -> list[Block]:
        """All blocks, of any depth."""
        blocks, side = [], math.ceil(self.image_size / 2)
        for factor, channels, count, kernel_size, first_strides in STAGES:
            for i in range(math.ceil(self.repeats * count)):
                strides = first_strides if i == 0 else 1
                padding = same_padding(side, kernel_size, strides)
                side = math.ceil(side / strides)
                stride = 4 * 2 ** sum(len(blocks) > tap for tap in self.taps[:3])  # if nothing is dilated
                dilation = max(1, stride // self.output_stride)
                if dilation > 1:
                    strides, padding = 1, (kernel_size // 2 * dilation, kernel_size // 2 * dilation)
                blocks.append(Block(factor, round_channels(channels * self.width), kernel_size, strides, padding, dilation))
        return blocks


class _MBConv(NormLayer):
    """1x1 convolution to more channels, depthwise one, gate, 1x1 convolution to fewer; added to the input if it fits."""

    block: Block
    drop_path_rate: float

    @nn.compact
    def __call__(self, x, *, train):
        block = self.block
        pointwise = partial(PointwiseConv, use_bias=False, **self.types)

        def norm(name, y):
            return _norm(**self.norm_types, name=name)(y, train=train)

        inside, y = block.factor * x.shape[-1], x
        if block.factor > 1:
            y = nn.silu(norm("bn0", pointwise(inside, name="expand_conv")(y)))
        filters = {"padding": (block.padding,) * 2, "dilation": block.dilation, "groups": inside, "use_bias": False}
        y = Conv(inside, block.kernel_size, block.strides, **filters, **self.types, name="depthwise_conv")(y)
        y = nn.silu(norm("bn1", y))
        gate = jnp.mean(y, axis=(1, 2), keepdims=True)
        gate = nn.silu(PointwiseConv(max(1, x.shape[-1] // 4), **self.types, name="se_reduce")(gate))
        y = y * nn.sigmoid(PointwiseConv(inside, **self.types, name="se_expand")(gate))
        y = norm("bn2", pointwise(block.features, name="project_conv")(y))
        if x.shape != y.shape:
            return y
        return x + nn.Dropout(self.drop_path_rate, broadcast_dims=(1, 2, 3), deterministic=not train)(y)


def same_padding(side: int, kernel_size: int, strides: int) -> tuple[int, int]:
    """Zeros before and after a side of this length with which ceil(side / strides) windows fit, as in TensorFlow."""
    total = max((math.ceil(side / strides) - 1) * strides + kernel_size - side, 0)
    return total // 2, total - total // 2


def _smallest_side(blocks: list[Block]) -> int:
    """The shortest side of an image of which something is left after all blocks."""
    side = 1
    for block in reversed(blocks):
        window = (block.kernel_size - 1) * block.dilation + 1
        side = max(1, (side - 1) * block.strides + window - sum(block.padding))
    return side


_norm = partial(BatchNorm, momentum=0.99, epsilon=1e-3)

_PAPER = "Tan, Le, EfficientNet: Rethinking Model Scaling for Convolutional Neural Networks, ICML 2019"
_SIZES = (
    # parameters; width, repeats, image size; taps; channels of the maps; dropout of the classifier
    ("b0", 3_595_388, (1.0, 1.0, 224), (2, 4, 8, 15), (32, 24, 40, 112, 320), 0.2),
    ("b1", 6_101_024, (1.0, 1.1, 240), (4, 7, 15, 22), (32, 24, 40, 112, 320), 0.2),
    ("b2", 7_202_562, (1.1, 1.2, 260), (4, 7, 15, 22), (32, 24, 48, 120, 352), 0.3),
    ("b3", 10_103_336, (1.2, 1.4, 300), (4, 7, 17, 25), (40, 32, 48, 136, 384), 0.3),
    ("b4", 16_742_216, (1.4, 1.8, 380), (5, 9, 21, 31), (48, 32, 56, 160, 448), 0.4),
    ("b5", 27_288_112, (1.6, 2.2, 456), (7, 12, 26, 38), (48, 40, 64, 176, 512), 0.4),
    ("b6", 39_403_992, (1.8, 2.6, 528), (8, 14, 30, 44), (56, 40, 72, 200, 576), 0.5),
    ("b7", 62_143_440, (2.0, 3.1, 600), (10, 17, 37, 54), (64, 48, 80, 224, 640), 0.5),
)
EFFICIENTNETS = {
    f"efficientnet-{size}": Encoder(partial(EfficientNet, *scaling, taps), _PAPER, f"smp efficientnet-{size}", count, channels)
    for size, count, scaling, taps, channels, _ in _SIZES
}
CLASSIFIER_DROPOUT = {f"efficientnet-{size}": rate for size, *_, rate in _SIZES}
"""Rate of the dropout before the last layer of each classifier."""
