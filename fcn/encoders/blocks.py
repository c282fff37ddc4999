"""What several families share: numbers of channels that divide by 8, convolution with BatchNorm, squeeze and excitation."""

from collections.abc import Callable
from typing import ClassVar

import flax.linen as nn
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from fcn.layers import BatchNorm, Conv, Layer, NormLayer, PointwiseConv


def round_channels(channels: int | float, divisor: int = 8) -> int:
    """The nearest multiple of `divisor`, at least one of it, and not more than a tenth below `channels`."""
    rounded = max(divisor, int(channels + divisor / 2) // divisor * divisor)
    return rounded + divisor if rounded < 0.9 * channels else rounded


class ConvNorm(NormLayer):
    """A convolution without bias ("conv"), zero-padded by half its kernel, BatchNorm ("bn") and an activation.

    Attributes (more in `NormLayer`):
        features: channels of the output.
        kernel_size: of the convolution.
        strides: of the convolution.
        dilation: of the convolution.
        depthwise: every channel is filtered alone; `features` is then the number of channels of the input.
        groups: number of groups that channels are split into, if not depthwise.
        activation: None leaves it out.
        momentum: of BatchNorm.
        epsilon: of BatchNorm.
    """

    features: int
    kernel_size: int = 1
    strides: int = 1
    dilation: int = 1
    depthwise: bool = False
    groups: int = 1
    activation: Callable[[Array], Array] | None = None
    momentum: float = 0.9
    epsilon: float = 1e-5

    references: ClassVar = dict.fromkeys(("torchvision", "smp"), (("^conv$", "0"), ("^bn$", "1")))

    @nn.compact
    def __call__(self, x: Float[Array | np.ndarray, "b h w c"], *, train: bool = False) -> Float[Array, "b h2 w2 o"]:
        """Maps [B, H, W, C] to [B, ceil(H / strides), ceil(W / strides), features]."""
        around = {"padding": self.kernel_size // 2 * self.dilation, "dilation": self.dilation}
        groups = x.shape[-1] if self.depthwise else self.groups
        options = {**around, "groups": groups, "use_bias": False, **self.types}
        x = Conv(self.features, self.kernel_size, self.strides, **options, name="conv")(x)
        x = BatchNorm(self.momentum, self.epsilon, **self.norm_types, name="bn")(x, train=train)
        return x if self.activation is None else self.activation(x)


class SqueezeExcitation(Layer):
    """The gate of squeeze and excitation: a factor for each channel, from the averages of all channels.

    Hu, Shen, Sun, "Squeeze-and-Excitation Networks", CVPR 2018, equations 2 and 3.

    Attributes (more in `Layer`):
        squeezed: channels between the two 1x1 convolutions.
        gate: from the last convolution to the factors.
    """

    squeezed: int
    gate: Callable[[Array], Array] = nn.sigmoid

    @nn.compact
    def __call__(self, x: Float[Array, "b h w c"]) -> Float[Array, "b 1 1 c"]:
        """Factors [B, 1, 1, C] for maps [B, H, W, C]."""
        means = jnp.mean(x, axis=(1, 2), keepdims=True)
        y = nn.relu(PointwiseConv(self.squeezed, **self.types, name="fc1")(means))
        return self.gate(PointwiseConv(x.shape[-1], **self.types, name="fc2")(y))
