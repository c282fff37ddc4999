"""Atrous spatial pyramid pooling (ASPP).

Chen, Papandreou, Schroff, Adam, "Rethinking Atrous Convolution for Semantic Image Segmentation", arXiv:1706.05587, figure 5;
with separable convolutions as in Chen, Zhu, Papandreou, Schroff, Adam, "Encoder-Decoder with Atrous Separable Convolution for
Semantic Image Segmentation", ECCV 2018, figure 3.
"""

from typing import ClassVar

import flax.linen as nn
import jax.numpy as jnp
from jaxtyping import Array, Float

from fcn.layers import BatchNorm, Conv, ConvNormRelu, NormLayer, PointwiseConv


class ASPP(NormLayer):
    """A map seen by a 1x1 convolution, by 3x3 convolutions of several dilations and by its mean, put together by a 1x1 one.

    Attributes (more in `NormLayer`):
        features: channels of each view and of the output.
        rates: dilations of the 3x3 convolutions.
        separable: these are depthwise and then 1x1.
        dropout: rate of the dropout at the end, in training; takes the rng "dropout".
    """

    features: int = 256
    rates: tuple[int, ...] = (12, 24, 36)
    separable: bool = False
    dropout: float = 0.5

    @property
    def references(self) -> dict[str, tuple[tuple[str, str], ...]]:
        """The views are numbered, the mean last; convolution and BatchNorm of each, too."""
        mean = f"convs.{len(self.rates) + 1}"
        renames = ((r"^mean\.conv$", f"{mean}.1"), (r"^mean\.bn$", f"{mean}.2"), (r"\.conv$", ".0"), (r"\.bn$", ".1"))
        return {"smp": renames, "torchvision": renames}

    @nn.compact
    def __call__(self, x: Float[Array, "b h w c"], *, train: bool = False) -> Float[Array, "b h w o"]:
        """Maps [B, H, W, C] to [B, H, W, features]."""
        atrous = SeparableConvNormRelu if self.separable else ConvNormRelu
        views = [ConvNormRelu(self.features, 1, **self.norm_types, name="convs_0")(x, train=train)]
        for i, rate in enumerate(self.rates, start=1):
            views.append(atrous(self.features, 3, dilation=rate, **self.norm_types, name=f"convs_{i}")(x, train=train))
        mean = jnp.mean(x, axis=(1, 2), keepdims=True)
        mean = ConvNormRelu(self.features, 1, **self.norm_types, name="mean")(mean, train=train)
        views.append(jnp.broadcast_to(mean, views[0].shape))
        x = ConvNormRelu(self.features, 1, **self.norm_types, name="project")(jnp.concatenate(views, axis=-1), train=train)
        return nn.Dropout(self.dropout, deterministic=not train)(x)


class SeparableConvNormRelu(NormLayer):
    """A depthwise convolution, a 1x1 convolution, BatchNorm and ReLU.

    Attributes (more in `NormLayer`):
        features: channels of the output.
        kernel_size: of the depthwise convolution.
        dilation: of the depthwise convolution.
    """

    features: int
    kernel_size: int = 3
    dilation: int = 1

    references: ClassVar = {"smp": (("^depthwise$", "0.0"), ("^pointwise$", "0.1"), ("^bn$", "1"))}

    @nn.compact
    def __call__(self, x: Float[Array, "b h w c"], *, train: bool = False) -> Float[Array, "b h w o"]:
        """Maps [B, H, W, C] to [B, H, W, features]."""
        options = {"dilation": self.dilation, "groups": x.shape[-1], "use_bias": False}
        x = Conv(x.shape[-1], self.kernel_size, **options, **self.types, name="depthwise")(x)
        x = PointwiseConv(self.features, use_bias=False, **self.types, name="pointwise")(x)
        return nn.relu(BatchNorm(**self.norm_types, name="bn")(x, train=train))
