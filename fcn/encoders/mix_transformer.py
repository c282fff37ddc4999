"""Mix Transformer (MiT), the encoder of SegFormer.

Xie, Wang, Yu, Anandkumar, Alvarez, Luo, "SegFormer: Simple and Efficient Design for Semantic Segmentation with Transformers",
NeurIPS 2021, section 3.1; table 6 of the appendix has the sizes.
"""

from functools import partial
from typing import ClassVar

import flax.linen as nn
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from fcn.encoders.entry import Encoder, check_depth
from fcn.encoders.padding import extend
from fcn.layers import Conv, Dense, ImageNetwork, Layer, attend, gelu, materialize

HEADS, REDUCTIONS = (1, 2, 5, 8), (8, 4, 2, 1)


class MixTransformer(ImageNetwork):
    """Four stages, each of overlapping patches, blocks of attention with fewer keys than queries, and a LayerNorm.

    There is no map of stride 2. Images of any number of channels.

    Attributes (more in `Network`):
        features: channels of each stage.
        blocks: number of blocks of each stage.
        drop_path_rate: of the last block, in training; those before rise to it from 0. Takes the rng "dropout". Published
            training has 0.1.
        depth: 3 to 5; later stages are left out, there are `depth - 1` maps.
        output_stride: 8 or 16 replace the strides of the last stages by dilation, of all their convolutions as smp does: those
            of the patches and of the perceptrons, and those that leave fewer keys, which then are as many as the pixels.
        axis_name: no effect here (there is no BatchNorm).
    """

    features: tuple[int, ...] = (32, 64, 160, 256)
    blocks: tuple[int, ...] = (2, 2, 2, 2)
    drop_path_rate: float = 0.0
    depth: int = 5
    output_stride: int = 32

    references: ClassVar = {"smp": ()}
    unused: ClassVar = ("head.",)
    kept: ClassVar = dict.fromkeys(references, ("depth", 5))

    @nn.compact
    def __call__(self, x: Float[Array | np.ndarray, "b h w c"], *, train: bool = False) -> tuple[Float[Array, "b _ _ _"], ...]:
        """Feature maps at strides 4, 8, 16 and 32 of images [B, H, W, C] of any size.

        Raises:
            ValueError: `depth` is not 3, 4 or 5, or `output_stride` not 8, 16 or 32.
        """
        check_depth(self.depth, self.output_stride)
        rates = np.linspace(0, self.drop_path_rate, sum(self.blocks))
        maps = []
        for stage, count in enumerate(self.blocks[: self.depth - 1]):
            dilation = max(1, 2 ** (stage + 2) // self.output_stride)
            strides = 4 if stage == 0 else 2
            x = _Patches(self.features[stage], strides, dilation, **self.types, name=f"patch_embed{stage + 1}")(x)
            for i in range(count):
                rate = float(rates[sum(self.blocks[:stage]) + i])
                block = _Block(HEADS[stage], REDUCTIONS[stage], dilation, rate, **self.types, name=f"block{stage + 1}_{i}")
                x = block(x, train=train)
            x = nn.LayerNorm(epsilon=1e-6, **self.types, name=f"norm{stage + 1}")(x)
            maps.append(x)
        return tuple(maps)


class _Patches(Layer):
    """Patches that overlap: a convolution of nearly twice its stride, or dilated in place of it."""

    features: int
    strides: int
    dilation: int

    @nn.compact
    def __call__(self, x):
        size = 2 * self.strides - 1
        strides = self.strides if self.dilation == 1 else 1
        around = {"padding": size // 2 * self.dilation, "dilation": self.dilation}
        x = Conv(self.features, size, strides, **around, **self.types, name="proj")(x)
        return nn.LayerNorm(epsilon=1e-5, **self.types, name="norm")(x)


class _Block(Layer):
    """Attention and a multilayer perceptron, each added to its input."""

    heads: int
    reduction: int
    dilation: int
    drop_path_rate: float

    @nn.compact
    def __call__(self, x, *, train):
        drop_path = nn.Dropout(self.drop_path_rate, broadcast_dims=(1, 2, 3), deterministic=not train)
        norm = partial(nn.LayerNorm, epsilon=1e-6, **self.types)
        attention = _Attention(self.heads, self.reduction, self.dilation, **self.types, name="attn")
        x = x + drop_path(attention(norm(name="norm1")(x)))
        return materialize(x + drop_path(_Perceptron(self.dilation, **self.types, name="mlp")(norm(name="norm2")(x))))


class _Attention(Layer):
    """Attention of all pixels to a map that is `reduction` times smaller on each side (equation 2), if it is not dilated."""

    heads: int
    reduction: int
    dilation: int

    @nn.compact
    def __call__(self, x):
        batch, height, width, features = x.shape
        split = (batch, -1, self.heads, features // self.heads)
        query = Dense(features, **self.types, name="q")(x).reshape(split)
        if self.reduction > 1:
            x = extend(x, max(height, self.reduction), max(width, self.reduction))  # at least one key
            strides, padding = (self.reduction, 0) if self.dilation == 1 else (1, self.reduction // 2 * self.dilation)
            x = Conv(features, self.reduction, strides, padding, self.dilation, **self.types, name="sr")(x)
            x = nn.LayerNorm(epsilon=1e-5, **self.types, name="norm")(x)
        key, value = jnp.split(Dense(2 * features, **self.types, name="kv")(x), 2, axis=-1)
        y = attend(query, key.reshape(split), value.reshape(split))
        return Dense(features, **self.types, name="proj")(y.reshape(batch, height, width, features))


class _Perceptron(Layer):
    """Two dense layers, with a depthwise convolution between them that tells where a pixel is (equation 3)."""

    dilation: int

    @nn.compact
    def __call__(self, x):
        features = x.shape[-1]
        x = Dense(4 * features, **self.types, name="fc1")(x)
        x = _Depthwise(self.dilation, **self.types, name="dwconv")(x)
        return Dense(features, **self.types, name="fc2")(gelu(x))


class _Depthwise(Layer):
    """A 3x3 convolution of each channel alone."""

    dilation: int

    @nn.compact
    def __call__(self, x):
        features = x.shape[-1]
        around = {"padding": self.dilation, "dilation": self.dilation}
        return Conv(features, 3, **around, groups=features, **self.types, name="dwconv")(x)


_PAPER = "Xie et al., SegFormer: Simple and Efficient Design for Semantic Segmentation with Transformers, NeurIPS 2021"
_SMALL, _LARGE = (32, 64, 160, 256), (64, 128, 320, 512)
MIX_TRANSFORMERS = {
    name: Encoder(partial(MixTransformer, features, blocks), _PAPER, f"smp {name}", count, features, (4, 8, 16, 32))
    for name, features, blocks, count in (
        ("mit_b0", _SMALL, (2, 2, 2, 2), 3_319_392),
        ("mit_b1", _LARGE, (2, 2, 2, 2), 13_151_424),
        ("mit_b2", _LARGE, (3, 4, 6, 3), 24_196_288),
        ("mit_b3", _LARGE, (3, 4, 18, 3), 44_072_128),
        ("mit_b4", _LARGE, (3, 8, 27, 3), 60_842_688),
        ("mit_b5", _LARGE, (3, 6, 40, 3), 81_443_008),
    )
}
"""Table 6 of the paper."""
