"""DenseNet.

Huang, Liu, van der Maaten, Weinberger, "Densely Connected Convolutional Networks", CVPR 2017: section 3 and table 1, the form
with bottlenecks and compression (DenseNet-BC).
"""

from functools import partial
from typing import ClassVar

import flax.linen as nn
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from fcn.encoders.entry import Encoder, check_depth
from fcn.encoders.padding import extend_to_least
from fcn.layers import BatchNorm, Conv, ImageNetwork, NormLayer, PointwiseConv, average_pool, max_pool

BOTTLENECK = 4
"""Channels between the two convolutions of a layer, for one channel that it adds."""


class DenseNet(ImageNetwork):
    """A 7x7 convolution of stride 2, a 3x3 max-pool of stride 2, and four dense blocks with transitions between them.

    As in smp, the maps of strides 4 to 16 are those inside the transitions, after BatchNorm and ReLU and before the convolution
    that halves their channels. The last map ends with BatchNorm, without ReLU. A map with an odd number H of rows is averaged
    to (H - 1) / 2 rows; a single row is repeated before. The pooling is not replaced by dilation (no `output_stride`).

    Attributes (more in `Network`):
        blocks: number of layers of each dense block.
        growth_rate: channels that a layer adds (k in the paper).
        stem_features: channels of the first convolution.
        dropout_rate: dropout after each layer in training; takes the rng "dropout".
        depth: number of maps, 3 to 5; later blocks are left out.
        output_stride: 32.
    """

    blocks: tuple[int, ...] = (6, 12, 24, 16)
    growth_rate: int = 32
    stem_features: int = 64
    dropout_rate: float = 0.0
    depth: int = 5
    output_stride: int = 32

    references: ClassVar = dict.fromkeys(("torchvision", "smp"), (("^", "features."),))
    unused: ClassVar = ("classifier.",)
    kept: ClassVar = dict.fromkeys(references, ("depth", 5))
    old_names: ClassVar = ((r"(\.denselayer\d+\.(?:norm|conv))\.([12])\.", r"\1\2."),)

    @nn.compact
    def __call__(self, x: Float[Array | np.ndarray, "b h w c"], *, train: bool = False) -> tuple[Float[Array, "b _ _ _"], ...]:
        """Feature maps at strides 2, 4, 8, 16 and 32 of images [B, H, W, C] of any size.

        Raises:
            ValueError: `depth` is not 3, 4 or 5, or `output_stride` not 32.
        """
        check_depth(self.depth, self.output_stride, dilates=False)
        norm = partial(BatchNorm, **self.norm_types)
        x = Conv(self.stem_features, 7, 2, padding=3, use_bias=False, **self.types, name="conv0")(x)
        x = nn.relu(norm(name="norm0")(x, train=train))
        maps = [x]
        x = max_pool(x, 3, 2, padding=1)
        for i, layers in enumerate(self.blocks[: self.depth - 1], start=1):
            block = _DenseBlock(layers, self.growth_rate, self.dropout_rate, **self.norm_types, name=f"denseblock{i}")
            x = block(x, train=train)
            if i == len(self.blocks):
                maps.append(norm(name=f"norm{i + 1}")(x, train=train))
            else:
                inside, x = _Transition(i < self.depth - 1, **self.norm_types, name=f"transition{i}")(x, train=train)
                maps.append(inside)
        return tuple(maps)


class _DenseBlock(NormLayer):
    """Layers that each take the channels of all before them, and add some."""

    layers: int
    growth_rate: int
    dropout_rate: float

    @nn.compact
    def __call__(self, x, *, train):
        for i in range(1, self.layers + 1):
            y = _DenseLayer(self.growth_rate, **self.norm_types, name=f"denselayer{i}")(x, train=train)
            y = nn.Dropout(self.dropout_rate, deterministic=not train)(y)
            x = jnp.concatenate([x, y], axis=-1)
        return x


class _DenseLayer(NormLayer):
    """BatchNorm, ReLU and a 1x1 convolution; the same with a 3x3 one."""

    growth_rate: int

    @nn.compact
    def __call__(self, x, *, train):
        norm = partial(BatchNorm, **self.norm_types)
        x = nn.relu(norm(name="norm1")(x, train=train))
        x = PointwiseConv(BOTTLENECK * self.growth_rate, use_bias=False, **self.types, name="conv1")(x)
        x = nn.relu(norm(name="norm2")(x, train=train))
        return Conv(self.growth_rate, 3, padding=1, use_bias=False, **self.types, name="conv2")(x)


class _Transition(NormLayer):
    """BatchNorm and ReLU, which give a map of the encoder; a 1x1 convolution and average pooling, which halve all axes of it.

    Without `halves` the second result is the map, too.
    """

    halves: bool

    @nn.compact
    def __call__(self, x, *, train):
        inside = nn.relu(BatchNorm(**self.norm_types, name="norm")(x, train=train))
        if not self.halves:
            return inside, inside
        x = PointwiseConv(x.shape[-1] // 2, use_bias=False, **self.types, name="conv")(inside)
        return inside, average_pool(extend_to_least(x, 2), 2)


_PAPER = "Huang et al., Densely Connected Convolutional Networks, CVPR 2017"
DENSENETS = {
    name: Encoder(partial(DenseNet, *design), _PAPER, f"torchvision and smp {name}", count, channels)
    for name, count, design, channels in (
        ("densenet121", 6_953_856, ((6, 12, 24, 16), 32, 64), (64, 256, 512, 1024, 1024)),
        ("densenet169", 12_484_480, ((6, 12, 32, 32), 32, 64), (64, 256, 512, 1280, 1664)),
        ("densenet201", 18_092_928, ((6, 12, 48, 32), 32, 64), (64, 256, 512, 1792, 1920)),
        ("densenet161", 26_472_000, ((6, 12, 36, 24), 48, 96), (96, 384, 768, 2112, 2208)),
    )
}
"""Table 1 of the paper, and the wider network of its authors."""
