"""ConvNeXt.

Liu, Mao, Wu, Feichtenhofer, Darrell, Xie, "A ConvNet for the 2020s", CVPR 2022, figure 4 (the block) and section 3 (the sizes).
"""

from functools import partial
from typing import ClassVar

import flax.linen as nn
import numpy as np
from jaxtyping import Array, Float

from fcn.encoders.entry import Encoder, check_depth
from fcn.encoders.padding import extend_to_least
from fcn.layers import Conv, Dense, ImageNetwork, Layer, gelu, materialize


class ConvNeXt(ImageNetwork):
    """Patches of 4x4 pixels and four stages of blocks; between stages, patches of 2x2.

    There is no map of stride 2. A map has floor(H / stride) rows; images smaller than the last stride are extended to it.

    Attributes (more in `Network`):
        features: channels of each stage.
        blocks: number of blocks of each stage.
        drop_path_rate: of the last block, in training; those before rise to it from 0. Takes the rng "dropout". The paper
            has 0.1 to 0.5.
        depth: 3 to 5; later stages are left out, there are `depth - 1` maps.
        output_stride: 8 or 16 replace the strides of the last stages by dilation, as in timm.
        axis_name: no effect here (there is no BatchNorm).
    """

    features: tuple[int, ...] = (96, 192, 384, 768)
    blocks: tuple[int, ...] = (3, 3, 9, 3)
    drop_path_rate: float = 0.0
    depth: int = 5
    output_stride: int = 32

    references: ClassVar = {"timm": (), "smp": ((r"^(stem|stages)\.", r"model.\1_"),)}
    unused: ClassVar = ("head.",)
    kept: ClassVar = {"timm": ("depth", 5)}

    @nn.compact
    def __call__(self, x: Float[Array | np.ndarray, "b h w c"], *, train: bool = False) -> tuple[Float[Array, "b _ _ _"], ...]:
        """Feature maps at strides 4, 8, 16 and 32 of images [B, H, W, C] of any size.

        Raises:
            ValueError: `depth` is not 3, 4 or 5, or `output_stride` not 8, 16 or 32.
        """
        check_depth(self.depth, self.output_stride)
        least = min(2**self.depth, self.output_stride)
        x = extend_to_least(x, least)
        x = Conv(self.features[0], 4, 4, padding="VALID", **self.types, name="stem_0")(x)
        x = nn.LayerNorm(epsilon=1e-6, **self.types, name="stem_1")(x)
        rates = np.linspace(0, self.drop_path_rate, sum(self.blocks))
        maps = []
        for stage, count in enumerate(self.blocks[: self.depth - 1]):
            first = sum(self.blocks[:stage])
            module = _Stage(
                self.features[stage],
                tuple(rates[first : first + count].tolist()),
                strides=1 if stage == 0 or 2 ** (stage + 2) > self.output_stride else 2,
                dilation=max(1, 2 ** (stage + 2) // self.output_stride),
                **self.types,
                name=f"stages_{stage}",
            )
            x = module(x, train=train)
            maps.append(x)
        return tuple(maps)


class _Stage(Layer):
    """LayerNorm and a 2x2 convolution, but not in the first stage, then one block for each rate."""

    features: int
    drop_path_rates: tuple[float, ...]
    strides: int
    dilation: int

    @nn.compact
    def __call__(self, x, *, train):
        if x.shape[-1] != self.features:
            padding = "SAME" if self.dilation > 1 else "VALID"
            x = nn.LayerNorm(epsilon=1e-6, **self.types, name="downsample_0")(x)
            sizes = {"strides": self.strides, "padding": padding, "dilation": max(1, self.dilation // 2)}
            x = Conv(self.features, 2, **sizes, **self.types, name="downsample_1")(x)
        for i, rate in enumerate(self.drop_path_rates):
            x = _Block(self.dilation, rate, **self.types, name=f"blocks_{i}")(x, train=train)
        return x


class _Block(Layer):
    """A 7x7 depthwise convolution, LayerNorm, two dense layers, a factor for each channel."""

    dilation: int
    drop_path_rate: float

    @nn.compact
    def __call__(self, x, *, train):
        features = x.shape[-1]
        around = {"padding": 3 * self.dilation, "dilation": self.dilation}
        y = Conv(features, 7, **around, groups=features, **self.types, name="conv_dw")(x)
        y = nn.LayerNorm(epsilon=1e-6, **self.types, name="norm")(y)
        y = _Perceptron(**self.types, name="mlp")(y)
        gamma = self.param("gamma", nn.initializers.constant(1e-6), (features,), self.param_dtype)
        y = y * gamma.astype(y.dtype)
        return materialize(x + nn.Dropout(self.drop_path_rate, broadcast_dims=(1, 2, 3), deterministic=not train)(y))


class _Perceptron(Layer):
    """Two dense layers, the first with four times the channels."""

    @nn.compact
    def __call__(self, x):
        y = gelu(Dense(4 * x.shape[-1], **self.types, name="fc1")(x))
        return Dense(x.shape[-1], **self.types, name="fc2")(y)


_PAPER = "Liu et al., A ConvNet for the 2020s, CVPR 2022"
_NARROW, _WIDE = (96, 192, 384, 768), (128, 256, 512, 1024)
CONVNEXTS = {
    name: Encoder(partial(ConvNeXt, features, blocks), _PAPER, f"timm {name}", count, features, (4, 8, 16, 32))
    for name, features, blocks, count in (
        ("convnext_tiny", _NARROW, (3, 3, 9, 3), 27_818_592),
        ("convnext_small", _NARROW, (3, 3, 27, 3), 49_453_152),
        ("convnext_base", _WIDE, (3, 3, 27, 3), 87_564_416),
    )
}
"""Section 3 of the paper."""
