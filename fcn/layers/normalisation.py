"""Batch normalisation, and the block of convolution, normalisation and activation."""

from functools import partial
from typing import Literal, get_args

import flax.linen as nn
import numpy as np
from jaxtyping import Array, Float

from fcn.errors import unknown
from fcn.layers.convolution import Conv
from fcn.layers.layer import NormLayer

NormKind = Literal["batch", "instance"]
ActivationKind = Literal["relu", "leaky_relu"]

instance_norm = partial(nn.InstanceNorm, epsilon=1e-5, use_fast_variance=False)
"""PyTorch's instance normalisation, affine; `use_scale=False, use_bias=False` leave its parameters out."""


class BatchNorm(NormLayer):
    """Normalises each channel by its mean and variance (Ioffe, Szegedy, ICML 2015), then scales and shifts it.

    `nn.BatchNorm` in this module's own scope: params `scale` and `bias` [C], batch_stats `mean` and `var` [C], float32. In
    training the statistics are those of the batch, over all axes but the last, computed in float32 as E[x^2] - E[x]^2 (12 ms
    forward and 30 backward where PyTorch takes 54 and 57), and the running ones become
    `momentum * old + (1 - momentum) * batch`. PyTorch's momentum is one minus this one, and its running variance carries the
    factor n / (n - 1), which is left out here.

    Attributes (more in `NormLayer`):
        momentum: weight of the old running statistics.
        epsilon: added to the variance.
        dtype: type of the result; None takes the one that input and parameters promote to.
    """

    momentum: float = 0.9
    epsilon: float = 1e-5

    @nn.compact
    def __call__(self, x: Float[Array | np.ndarray, "b *space c"], *, train: bool = False) -> Float[Array, "b *space c"]:
        """[B, ..., C] to the same shape; `train` takes the batch's statistics and updates the running ones."""
        norm = nn.BatchNorm(
            use_running_average=not train,
            momentum=self.momentum,
            epsilon=self.epsilon,
            axis_name=self.axis_name,
            dtype=self.dtype,
            param_dtype=self.param_dtype,
        )
        nn.share_scope(self, norm)
        return norm(x)


class ConvNormRelu(NormLayer):
    """A convolution ("conv"), BatchNorm ("bn") and ReLU, or what nnU-Net has in their place.

    Attributes (more in `NormLayer`):
        features: channels of the output.
        kernel_size: (kh, kw), a number for each spatial dimension, or one number for all.
        strides: likewise.
        dilation: distance of the kernel's taps.
        use_bias: whether the convolution adds a bias, which normalisation makes needless.
        norm: "batch", or "instance": each channel of each image by its own mean and variance, in training and after ("norm").
        activation: "relu", or "leaky_relu", which keeps a hundredth of what is below 0.
    """

    features: int
    kernel_size: int | tuple[int, ...] = 3
    strides: int | tuple[int, ...] = 1
    dilation: int | tuple[int, ...] = 1
    use_bias: bool = False
    norm: NormKind = "batch"
    activation: ActivationKind = "relu"

    @nn.compact
    def __call__(self, x: Float[Array | np.ndarray, "b *spatial c"], *, train: bool = False) -> Float[Array, "b *strided o"]:
        """Images [B, H, W, C] to [B, ceil(H / stride), ceil(W / stride), features], signals and volumes likewise."""
        options = {"dilation": self.dilation, "use_bias": self.use_bias}
        x = Conv(self.features, self.kernel_size, self.strides, **options, **self.types, name="conv")(x)
        return norm_relu(x, norm=self.norm, activation=self.activation, train=train, **self.norm_types)


def norm_relu(
    x: Float[Array, "b *space c"],
    *,
    norm: NormKind,
    activation: ActivationKind,
    train: bool,
    axis_name: str | None = None,
    prefix: str = "",
    **types,
) -> Float[Array, "b *space c"]:
    """The normalisation and the activation of `ConvNormRelu`, as part of the module in whose compact method it is called.

    Raises:
        ValueError: an unknown norm or activation.
    """
    for kind, given, known in (("norm", norm, get_args(NormKind)), ("activation", activation, get_args(ActivationKind))):
        if given not in known:
            raise unknown(kind, given, known)
    if norm == "instance":
        x = instance_norm(**types, name=f"{prefix}norm")(x)
    else:
        x = BatchNorm(axis_name=axis_name, **types, name=f"{prefix}bn")(x, train=train)
    return nn.leaky_relu(x) if activation == "leaky_relu" else nn.relu(x)
