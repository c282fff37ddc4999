"""Pointwise convolution: a kernel of size 1."""

from collections.abc import Callable

import flax.linen as nn
import numpy as np
from flax.linen.dtypes import promote_dtype
from jaxtyping import Array, Float

from fcn.kernels.convolution import convolve_pointwise
from fcn.layers.initialisers import lecun_normal
from fcn.layers.layer import Layer


class PointwiseConv(Layer):
    """A linear map of the channels, the same at every position: a convolution of kernel size 1, for any number of spatial axes.

    Parameters: `kernel` [1, ..., 1, C, features], one 1 for each spatial axis as in `nn.Conv`, and `bias` [features].

    Attributes (more in `Layer`):
        features: channels of the output.
        use_bias: add a bias.
        kernel_init: initialiser of the kernel.
        bias_init: initialiser of the bias.
    """

    features: int
    use_bias: bool = True
    kernel_init: Callable = lecun_normal
    bias_init: Callable = nn.initializers.zeros

    @nn.compact
    def __call__(self, x: Float[Array | np.ndarray, "b *space c"]) -> Float[Array, "b *space o"]:
        """[B, L, C], [B, H, W, C] or [B, D, H, W, C] ([B, C] too) to the same with `features` channels.

        Raises:
            ValueError: the input has no batch axis.
        """
        if x.ndim < 2:
            raise ValueError(f"a pointwise convolution takes [B, ..., C], not an array of shape {tuple(x.shape)}")
        shape = (1,) * (x.ndim - 2) + (x.shape[-1], self.features)
        kernel = self.param("kernel", self.kernel_init, shape, self.param_dtype)
        bias = self.param("bias", self.bias_init, (self.features,), self.param_dtype) if self.use_bias else None
        promoted, kernel, bias = promote_dtype(x, kernel, bias, dtype=self.dtype)
        y = convolve_pointwise(promoted, kernel)
        return y if bias is None else y + bias
