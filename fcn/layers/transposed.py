"""Transposed convolution, learned upsampling."""

from collections.abc import Callable

import flax.linen as nn
import numpy as np
from flax.linen.dtypes import promote_dtype
from jaxtyping import Array, Float

from fcn.kernels.padding import per_dimension
from fcn.kernels.transposed import convolve_transposed
from fcn.layers.convolution import check_channels
from fcn.layers.initialisers import he_normal
from fcn.layers.layer import Layer


class ConvTranspose(Layer):
    """A transposed convolution: the gradient of a convolution with respect to its input, as a layer.

    Of images, signals or volumes.
    Output sides are (side - 1) * stride + kernel - 2 * padding, PyTorch's rule. Parameters: `kernel`
    [kh, kw, C / groups, features] and `bias` [features]; the values are those of `nn.ConvTranspose` with
    `transpose_kernel=False`, that is: PyTorch's kernel, turned by 180 degrees.

    Attributes (more in `Layer`):
        features: channels of the output.
        kernel_size: (kh, kw), a number for each spatial dimension, or one number for all.
        strides: (rows, columns), a number for each spatial dimension, or one number for all.
        padding: rows and columns cut from all sides of the output, a number for each spatial dimension, or one for all.
        groups: number of groups that channels of input and output are split into.
        use_bias: add a bias.
        kernel_init: initialiser of the kernel (He et al., ICCV 2015, by default).
        bias_init: initialiser of the bias.
    """

    features: int
    kernel_size: int | tuple[int, ...] = 2
    strides: int | tuple[int, ...] = 2
    padding: int | tuple[int, ...] = 0
    groups: int = 1
    use_bias: bool = True
    kernel_init: Callable = he_normal
    bias_init: Callable = nn.initializers.zeros

    @nn.compact
    def __call__(self, x: Float[Array | np.ndarray, "b *spatial c"]) -> Float[Array, "b *larger o"]:
        """Images [B, H, W, C] to [B, H', W', features], signals [B, L, C] and volumes [B, D, H, W, C] likewise.

        Raises:
            ValueError: the input is no such batch, the groups do not divide the channels, or the padding leaves nothing.
        """
        channels = check_channels(x, self.features, self.groups)
        settings = self.kernel_size, self.strides, self.padding
        kernel_size, strides, padding = (per_dimension(value, x.ndim - 2) for value in settings)
        shape = (*kernel_size, channels // self.groups, self.features)
        kernel = self.param("kernel", self.kernel_init, shape, self.param_dtype)
        bias = self.param("bias", self.bias_init, (self.features,), self.param_dtype) if self.use_bias else None
        promoted, kernel, bias = promote_dtype(x, kernel, bias, dtype=self.dtype)
        y = convolve_transposed(promoted, kernel, strides, self.groups)
        sides = y.shape[1:-1]
        if any(side - 2 * cut < 1 for side, cut in zip(sides, padding)):
            raise ValueError(f"padding={self.padding} leaves nothing of an output of {'x'.join(map(str, sides))}")
        y = y[:, *(slice(cut, side - cut) for side, cut in zip(sides, padding))]
        return y if bias is None else y + bias
