"""Transposed convolution, learned upsampling."""

from collections.abc import Callable

import flax.linen as nn
import numpy as np
from flax.linen.dtypes import promote_dtype
from jaxtyping import Array, Float

from fcn.kernels.padding import pair
from fcn.kernels.transposed import convolve_transposed
from fcn.layers.convolution import check_channels
from fcn.layers.initialisers import he_normal
from fcn.layers.layer import Layer


class ConvTranspose(Layer):
    """A transposed convolution of images: the gradient of a convolution with respect to its input, as a layer.

    Output sides are (side - 1) * stride + kernel - 2 * padding, PyTorch's rule. Parameters: `kernel`
    [kh, kw, C / groups, features] and `bias` [features]; the values are those of `nn.ConvTranspose` with
    `transpose_kernel=False`, that is: PyTorch's kernel, turned by 180 degrees.

    Attributes (more in `Layer`):
        features: channels of the output.
        kernel_size: (kh, kw), or one number for both.
        strides: (rows, columns), or one number for both.
        padding: rows and columns cut from all sides of the output, (rows, columns), or one number for both.
        groups: number of groups that channels of input and output are split into.
        use_bias: add a bias.
        kernel_init: initialiser of the kernel (He et al., ICCV 2015, by default).
        bias_init: initialiser of the bias.
    """

    features: int
    kernel_size: int | tuple[int, int] = 2
    strides: int | tuple[int, int] = 2
    padding: int | tuple[int, int] = 0
    groups: int = 1
    use_bias: bool = True
    kernel_init: Callable = he_normal
    bias_init: Callable = nn.initializers.zeros

    @nn.compact
    def __call__(self, x: Float[Array | np.ndarray, "b h w c"]) -> Float[Array, "b h2 w2 o"]:
        """Images [B, H, W, C] to [B, H', W', features].

        Raises:
            ValueError: the input is no batch of images, the groups do not divide the channels, or the padding leaves nothing.
        """
        channels = check_channels(x, self.features, self.groups)
        (kh, kw), strides, (top, left) = (pair(v) for v in (self.kernel_size, self.strides, self.padding))
        kernel = self.param("kernel", self.kernel_init, (kh, kw, channels // self.groups, self.features), self.param_dtype)
        bias = self.param("bias", self.bias_init, (self.features,), self.param_dtype) if self.use_bias else None
        promoted, kernel, bias = promote_dtype(x, kernel, bias, dtype=self.dtype)
        y = convolve_transposed(promoted, kernel, strides, self.groups)
        height, width = y.shape[1] - 2 * top, y.shape[2] - 2 * left
        if height < 1 or width < 1:
            raise ValueError(f"padding={self.padding} leaves nothing of an output of {y.shape[1]}x{y.shape[2]}")
        y = y[:, top : top + height, left : left + width]
        return y if bias is None else y + bias
