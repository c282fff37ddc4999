"""Cellpose's network.

Stringer, Wang, Michaelos, Pachitariu, "Cellpose: a generalist algorithm for cellular segmentation", Nature Methods 18, 2021,
figure 1.
"""

from collections.abc import Sequence
from functools import partial
from typing import Any, ClassVar

import flax.linen as nn
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from fcn.encoders.padding import extend_to_multiple
from fcn.layers import BatchNorm, Conv, Dense, Network, max_pool, resize_nearest

_MOMENTUM = 0.95
_DIAMETER = 30.0


class CPNet(Network):
    """The residual U-Net of `cellpose` 3 (`CPnet`), for the task `flows`.

    Four residual convolutions (BatchNorm, ReLU, 3x3) in each level; skips are added. The mean of the coarsest map, of length 1,
    is the image's style: in each level of the way up a linear function of it is added before the last three convolutions. With
    two input channels and three logits it has 6,600,843 parameters; `cellpose` counts two diameters, too, which lie here in a
    collection of their own, "diameters", and serve to rescale images.

    Images whose sides do not divide by the coarsest stride are extended at the bottom and the right by repeating the last row
    and column, and the logits are cropped back. The style then is that of the extended image.

    Attributes:
        num_classes: channels of the logits: 3 for flow and cell.
        features: channels of the levels, the finest first.
        dtype: type of the computation; the logits are float32 in any case.
        param_dtype: type of the parameters.
        axis_name: the pmap axis over which BatchNorm takes its statistics.
    """

    num_classes: int
    features: Sequence[int] = (32, 64, 128, 256)
    dtype: Any = None
    param_dtype: Any = jnp.float32
    axis_name: str | None = None

    references: ClassVar = {
        "cellpose": ((r"^down\.(\d+)", r"downsample.down.res_down_\1"), (r"^up\.(\d+)", r"upsample.up.res_up_\1"))
    }

    @nn.compact
    def __call__(self, x: Float[Array | np.ndarray, "b h w c"], *, train: bool = False) -> Float[Array, "b h w k"]:
        """Logits [B, H, W, num_classes], float32, of images [B, H, W, C] of any size."""
        options = {"dtype": self.dtype, "param_dtype": self.param_dtype, "axis_name": self.axis_name}
        _, height, width, _ = x.shape
        if self.is_initializing():
            for name in ("diam_mean", "diam_labels"):
                self.variable("diameters", name, jnp.full, (1,), _DIAMETER)

        x = extend_to_multiple(x, 2 ** (len(self.features) - 1))
        skips = []
        for level, features in enumerate(self.features):
            x = ResidualDown(features, **options, name=f"down_{level}")(x if level == 0 else max_pool(x, 2), train=train)
            skips.append(x)
        style = jnp.mean(x.astype(jnp.float32), axis=(1, 2))
        style /= jnp.sqrt(jnp.maximum(jnp.sum(style**2, -1, keepdims=True), 1e-12))
        for level in reversed(range(len(self.features))):
            x = x if level == len(self.features) - 1 else resize_nearest(x, 2)
            x = ResidualUp(self.features[level], **options, name=f"up_{level}")(x, skips[level], style, train=train)
        x = NormReluConv(self.num_classes, 1, **options, name="output")(x, train=train)
        return x.astype(jnp.float32)[:, :height, :width]


class NormConv(nn.Module):
    """BatchNorm and a convolution with bias.

    Attributes:
        features: channels of the output.
        kernel_size: of the convolution.
        dtype: type of the computation.
        param_dtype: type of the parameters.
        axis_name: the pmap axis over which BatchNorm takes its statistics.
    """

    features: int
    kernel_size: int = 3
    dtype: Any = None
    param_dtype: Any = jnp.float32
    axis_name: str | None = None

    relu: ClassVar[bool] = False
    references: ClassVar = {"cellpose": (("^bn$", "0"), ("^conv$", "1"))}

    @nn.compact
    def __call__(self, x: Float[Array | np.ndarray, "b h w c"], *, train: bool = False) -> Float[Array, "b h w o"]:
        """Maps [B, H, W, C] to [B, H, W, features]."""
        types = {"dtype": self.dtype, "param_dtype": self.param_dtype}
        x = BatchNorm(_MOMENTUM, axis_name=self.axis_name, **types, name="bn")(x, train=train)
        return Conv(self.features, self.kernel_size, **types, name="conv")(nn.relu(x) if self.relu else x)


class NormReluConv(NormConv):
    """BatchNorm, ReLU and a convolution with bias."""

    relu: ClassVar[bool] = True
    references: ClassVar = {"cellpose": (("^bn$", "0"), ("^conv$", "2"))}


class StyledConv(nn.Module):
    """`NormReluConv` of maps to which a linear function of the style is added. Attributes as in `NormConv`."""

    features: int
    dtype: Any = None
    param_dtype: Any = jnp.float32
    axis_name: str | None = None

    @nn.compact
    def __call__(self, x: Float[Array, "b h w c"], style: Float[Array, "b s"], *, train: bool = False):
        """Maps [B, H, W, features] and styles [B, S] to maps of the same shape."""
        types = {"dtype": self.dtype, "param_dtype": self.param_dtype}
        x += Dense(self.features, **types, name="full")(style)[:, None, None]
        return NormReluConv(self.features, **types, axis_name=self.axis_name, name="conv")(x, train=train)


class ResidualDown(nn.Module):
    """A level of the way down: two times two convolutions, beside a projection and beside nothing.

    Attributes as in `NormConv`.
    """

    features: int
    dtype: Any = None
    param_dtype: Any = jnp.float32
    axis_name: str | None = None

    references: ClassVar = {"cellpose": ((r"^conv\.(\d)", r"conv.conv_\1"),)}

    @nn.compact
    def __call__(self, x: Float[Array | np.ndarray, "b h w c"], *, train: bool = False) -> Float[Array, "b h w o"]:
        """Maps [B, H, W, C] to [B, H, W, features]."""
        options = {"dtype": self.dtype, "param_dtype": self.param_dtype, "axis_name": self.axis_name}
        conv = [partial(NormReluConv(self.features, **options, name=f"conv_{i}"), train=train) for i in range(4)]
        x = NormConv(self.features, 1, **options, name="proj")(x, train=train) + conv[1](conv[0](x))
        return x + conv[3](conv[2](x))


class ResidualUp(nn.Module):
    """A level of the way up, as those of the way down, with the style and the skip. Attributes as in `NormConv`."""

    features: int
    dtype: Any = None
    param_dtype: Any = jnp.float32
    axis_name: str | None = None

    references: ClassVar = {"cellpose": ((r"^conv\.(\d)", r"conv.conv_\1"),)}

    @nn.compact
    def __call__(
        self, x: Float[Array, "b h w c"], skip: Float[Array, "b h w o"], style: Float[Array, "b s"], *, train: bool = False
    ) -> Float[Array, "b h w o"]:
        """Maps [B, H, W, C] and the skip [B, H, W, features] to [B, H, W, features]."""
        options = {"dtype": self.dtype, "param_dtype": self.param_dtype, "axis_name": self.axis_name}
        styled = [partial(StyledConv(self.features, **options, name=f"conv_{i}"), train=train) for i in (1, 2, 3)]
        first = NormReluConv(self.features, **options, name="conv_0")(x, train=train)
        x = NormConv(self.features, 1, **options, name="proj")(x, train=train) + styled[0](first + skip, style)
        return x + styled[2](styled[1](x, style), style)
