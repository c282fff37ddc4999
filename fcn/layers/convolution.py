"""The convolution layer."""

from collections.abc import Callable, Sequence

import flax.linen as nn
import jax.numpy as jnp
import numpy as np
from flax.linen.dtypes import promote_dtype
from jaxtyping import Array, Float

from fcn.kernels.convolution import convolve
from fcn.kernels.padding import explicit_padding, pair
from fcn.kernels.xla import native_convolution
from fcn.layers.initialisers import he_normal
from fcn.layers.layer import Layer


class Conv(Layer):
    """A convolution of images, with the parameters of `nn.Conv`.

    Parameters: `kernel` [kh, kw, C / groups, features] and `bias` [features].

    Attributes (more in `Layer`):
        features: channels of the output.
        kernel_size: (kh, kw), or one number for both.
        strides: (rows, columns), or one number for both.
        padding: zeros around the image: "SAME" (the output has ceil(size / stride) rows and columns; where the number of zeros
            is odd, the last one goes to the bottom and right, as in TensorFlow), "VALID" (none), one number for all sides
            (PyTorch's meaning) or ((top, bottom), (left, right)).
        dilation: distance of the kernel's taps, (rows, columns), or one number for both.
        groups: number of groups that channels of input and output are split into; `groups == C` is depthwise.
        use_bias: add a bias.
        kernel_init: initialiser of the kernel (He et al., ICCV 2015, equation 10, by default).
        bias_init: initialiser of the bias.
    """

    features: int
    kernel_size: int | tuple[int, int] = 3
    strides: int | tuple[int, int] = 1
    padding: str | int | Sequence[Sequence[int]] = "SAME"
    dilation: int | tuple[int, int] = 1
    groups: int = 1
    use_bias: bool = True
    kernel_init: Callable = he_normal
    bias_init: Callable = nn.initializers.zeros

    @nn.compact
    def __call__(self, x: Float[Array | np.ndarray, "b h w c"]) -> Float[Array, "b h2 w2 o"]:
        """Images [B, H, W, C] to [B, H', W', features].

        Raises:
            ValueError: the input is no batch of images of floating point numbers, has other channels than the kernel, the
                channels do not divide by the groups, or unknown padding.
        """
        return self.convolve_maps(x)

    @nn.nowrap
    def convolve_maps(self, *maps):
        """The convolution of maps beside each other, and the bias."""
        channels = sum(check_channels(x, self.features, self.groups) for x in maps)
        kernel_size, strides, dilation = (pair(v) for v in (self.kernel_size, self.strides, self.dilation))
        shape = (*kernel_size, channels // self.groups, self.features)
        if self.has_variable("params", "kernel") and self.get_variable("params", "kernel").shape[2] != shape[2]:
            expected = self.groups * self.get_variable("params", "kernel").shape[2]
            path = "/".join(self.path)
            shapes = " and ".join(str(x.shape) for x in maps)
            raise ValueError(f"{path} takes {expected} channels, not {channels}: an input [B, H, W, C] of shape {shapes}")
        kernel = self.param("kernel", self.kernel_init, shape, self.param_dtype)
        bias = self.param("bias", self.bias_init, (self.features,), self.param_dtype) if self.use_bias else None
        *maps, kernel, bias = promote_dtype(*maps, kernel, bias, dtype=self.dtype)
        pads = explicit_padding(self.padding, maps[0].shape[1:3], kernel_size, strides, dilation)
        y = self.convolve(tuple(maps), kernel, strides, pads, dilation, self.groups)
        return y if bias is None else y + bias

    @nn.nowrap
    def convolve(self, maps, kernel, strides, pads, dilation, groups):
        """The convolution itself. Initialising asks for shapes alone, and XLA's own form is traced in no time."""
        (x,) = maps
        return (native_convolution if self.is_initializing() else convolve)(x, kernel, strides, pads, dilation, groups)


def check_channels(x: Array | np.ndarray, features: int, groups: int) -> int:
    """The channels of the input.

    Raises:
      ValueError: it is not [B, H, W, C], or not of floating point numbers, or the channels of input or output do not divide by
        the groups.
    """
    if x.ndim != 4:
        raise ValueError(f"a convolution takes images [B, H, W, C], not an array of shape {tuple(x.shape)}")
    if not jnp.issubdtype(x.dtype, jnp.floating):
        raise ValueError(f"a convolution takes floating point numbers, not {x.dtype}; normalise images: (x / 255 - mean) / std")
    if x.shape[-1] % groups or features % groups:
        raise ValueError(f"groups={groups} must divide the channels of input ({x.shape[-1]}) and output ({features})")
    return x.shape[-1]
