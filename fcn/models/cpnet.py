"""Cellpose's network.

Stringer, Wang, Michaelos, Pachitariu, "Cellpose: a generalist algorithm for cellular segmentation", Nature Methods 18, 2021,
figure 1.
"""

from collections.abc import Sequence
from functools import partial
from typing import ClassVar

import flax.linen as nn
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from fcn.encoders.padding import extend_to_multiple
from fcn.layers import BatchNorm, Conv, Dense, ImageNetwork, NormLayer, max_pool, resize_nearest

_MOMENTUM = 0.95
_DIAMETER = 30.0


class CPNet(ImageNetwork):
    """The residual U-Net of `cellpose` 3 (`CPnet`), for the task `flows`.

    Four residual convolutions (BatchNorm, ReLU, 3x3) in each level; skips are added. The mean of the coarsest map, of length 1,
    is the image's style: in each level of the way up a linear function of it is added before the last three convolutions. With
    two input channels and three logits it has 6,600,843 parameters; `cellpose` counts two diameters, too, which lie here in a
    collection of their own, "diameters", and serve to rescale images.

    Images whose sides do not divide by the coarsest stride are extended at the bottom and the right by repeating the last row
    and column, and the logits are cropped back. The style then is that of the extended image.

    Attributes (more in `Network`):
        num_classes: channels of the logits: 3 for flow and cell.
        features: channels of the levels, the finest first.
    """

    num_classes: int
    features: Sequence[int] = (32, 64, 128, 256)

    references: ClassVar = {
        "cellpose": ((r"^down\.(\d+)", r"downsample.down.res_down_\1"), (r"^up\.(\d+)", r"upsample.up.res_up_\1"))
    }

    @nn.compact
    def __call__(self, x: Float[Array | np.ndarray, "b h w c"], *, train: bool = False) -> Float[Array, "b h w k"]:
        """Logits [B, H, W, num_classes], float32, of images [B, H, W, C] of any size."""
        _, height, width, _ = x.shape
        if self.is_initializing():
            for name in ("diam_mean", "diam_labels"):
                self.variable("diameters", name, jnp.full, (1,), _DIAMETER)

        x = extend_to_multiple(x, 2 ** (len(self.features) - 1))
        skips = []
        for level, features in enumerate(self.features):
            x = x if level == 0 else max_pool(x, 2)
            x = ResidualDown(features, **self.norm_types, name=f"down_{level}")(x, train=train)
            skips.append(x)
        style = jnp.mean(x.astype(jnp.float32), axis=(1, 2))
        style /= jnp.sqrt(jnp.maximum(jnp.sum(style**2, -1, keepdims=True), 1e-12))
        for level in reversed(range(len(self.features))):
            x = x if level == len(self.features) - 1 else resize_nearest(x, 2)
            x = ResidualUp(self.features[level], **self.norm_types, name=f"up_{level}")(x, skips[level], style, train=train)
        x = NormReluConv(self.num_classes, 1, **self.norm_types, name="output")(x, train=train)
        return x.astype(jnp.float32)[:, :height, :width]


class NormConv(NormLayer):
    """BatchNorm and a convolution with bias.

    Attributes (more in `NormLayer`):
        features: channels of the output.
        kernel_size: of the convolution.
    """

    features: int
    kernel_size: int = 3

    relu: ClassVar[bool] = False
    references: ClassVar = {"cellpose": (("^bn$", "0"), ("^conv$", "1"))}

    @nn.compact
    def __call__(self, x: Float[Array | np.ndarray, "b h w c"], *, train: bool = False) -> Float[Array, "b h w o"]:
        """Maps [B, H, W, C] to [B, H, W, features]."""
        x = BatchNorm(_MOMENTUM, **self.norm_types, name="bn")(x, train=train)
        return Conv(self.features, self.kernel_size, **self.types, name="conv")(nn.relu(x) if self.relu else x)


class NormReluConv(NormConv):
    """BatchNorm, ReLU and a convolution with bias."""

    relu: ClassVar[bool] = True
    references: ClassVar = {"cellpose": (("^bn$", "0"), ("^conv$", "2"))}


class StyledConv(NormLayer):
    """`NormReluConv` of maps to which a linear function of the style is added. Attributes as in `NormConv`."""

    features: int

    @nn.compact
    def __call__(self, x: Float[Array, "b h w c"], style: Float[Array, "b s"], *, train: bool = False):
        """Maps [B, H, W, features] and styles [B, S] to maps of the same shape."""
        x += Dense(self.features, **self.types, name="full")(style)[:, None, None]
        return NormReluConv(self.features, **self.norm_types, name="conv")(x, train=train)


class ResidualDown(NormLayer):
    """A level of the way down: two times two convolutions, beside a projection and beside nothing.

    Attributes as in `NormConv`.
    """

    features: int

    references: ClassVar = {"cellpose": ((r"^conv\.(\d)", r"conv.conv_\1"),)}

    @nn.compact
    def __call__(self, x: Float[Array | np.ndarray, "b h w c"], *, train: bool = False) -> Float[Array, "b h w o"]:
        """Maps [B, H, W, C] to [B, H, W, features]."""
        conv = [partial(NormReluConv(self.features, **self.norm_types, name=f"conv_{i}"), train=train) for i in range(4)]
        x = NormConv(self.features, 1, **self.norm_types, name="proj")(x, train=train) + conv[1](conv[0](x))
        return x + conv[3](conv[2](x))


class ResidualUp(NormLayer):
    """A level of the way up, as those of the way down, with the style and the skip. Attributes as in `NormConv`."""

    features: int

    references: ClassVar = {"cellpose": ((r"^conv\.(\d)", r"conv.conv_\1"),)}

    @nn.compact
    def __call__(
        self, x: Float[Array, "b h w c"], skip: Float[Array, "b h w o"], style: Float[Array, "b s"], *, train: bool = False
    ) -> Float[Array, "b h w o"]:
        """Maps [B, H, W, C] and the skip [B, H, W, features] to [B, H, W, features]."""
        styled = [partial(StyledConv(self.features, **self.norm_types, name=f"conv_{i}"), train=train) for i in (1, 2, 3)]
        first = NormReluConv(self.features, **self.norm_types, name="conv_0")(x, train=train)
        x = NormConv(self.features, 1, **self.norm_types, name="proj")(x, train=train) + styled[0](first + skip, style)
        return x + styled[2](styled[1](x, style), style)
