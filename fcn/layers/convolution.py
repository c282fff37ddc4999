"""The convolution layer."""

from collections.abc import Callable, Sequence

import flax.linen as nn
import jax.numpy as jnp
import numpy as np
from flax.linen.dtypes import promote_dtype
from jaxtyping import Array, Float

from fcn.kernels.convolution import convolve
from fcn.kernels.padding import explicit_padding, per_dimension
from fcn.kernels.xla import native_convolution
from fcn.layers.initialisers import he_normal
from fcn.layers.layer import Layer
from fcn.layers.network import INPUTS


class Conv(Layer):
    """A convolution of images, signals or volumes, with the parameters of `nn.Conv`.

    Parameters: `kernel` [kh, kw, C / groups, features] and `bias` [features]. The kernel of signals begins with [k, ...], that
    of volumes with [kd, kh, kw, ...].

    Attributes (more in `Layer`):
        features: channels of the output.
        kernel_size: (kh, kw), a number for each spatial dimension, or one number for all.
        strides: (rows, columns), a number for each spatial dimension, or one number for all.
        padding: zeros around the image: "SAME" (the output has ceil(size / stride) rows and columns; where the number of zeros
            is odd, the last one goes to the bottom and right, as in TensorFlow), "VALID" (none), one number for all sides
            (PyTorch's meaning) or ((top, bottom), (left, right)), a pair for each spatial dimension.
        dilation: distance of the kernel's taps, (rows, columns), a number for each spatial dimension, or one number for all.
        groups: number of groups that channels of input and output are split into; `groups == C` is depthwise.
        use_bias: add a bias.
        kernel_init: initialiser of the kernel (He et al., ICCV 2015, equation 10, by default).
        bias_init: initialiser of the bias.
    """

    features: int
    kernel_size: int | tuple[int, ...] = 3
    strides: int | tuple[int, ...] = 1
    padding: str | int | Sequence[Sequence[int]] = "SAME"
    dilation: int | tuple[int, ...] = 1
    groups: int = 1
    use_bias: bool = True
    kernel_init: Callable = he_normal
    bias_init: Callable = nn.initializers.zeros

    @nn.compact
    def __call__(self, x: Float[Array | np.ndarray, "b *spatial c"]) -> Float[Array, "b *convolved o"]:
        """Images [B, H, W, C] to [B, H', W', features], signals [B, L, C] and volumes [B, D, H, W, C] likewise.

        Raises:
            ValueError: the input is no such batch of floating point numbers, has other dimensions or channels than the kernel,
                the channels do not divide by the groups, a setting has numbers for other dimensions, or unknown padding.
        """
        return self.convolve_maps(x)

    @nn.nowrap
    def convolve_maps(self, *maps):
        """The convolution of maps beside each other, and the bias."""
        channels = sum(check_channels(x, self.features, self.groups) for x in maps)
        size = maps[0].shape[1:-1]
        kernel_size, strides, dilation = (per_dimension(v, len(size)) for v in (self.kernel_size, self.strides, self.dilation))
        shape = (*kernel_size, channels // self.groups, self.features)
        if self.has_variable("params", "kernel"):
            self._check_fit(self.get_variable("params", "kernel").shape, shape, maps)
        kernel = self.param("kernel", self.kernel_init, shape, self.param_dtype)
        bias = self.param("bias", self.bias_init, (self.features,), self.param_dtype) if self.use_bias else None
        *maps, kernel, bias = promote_dtype(*maps, kernel, bias, dtype=self.dtype)
        pads = explicit_padding(self.padding, size, kernel_size, strides, dilation)
        y = self.convolve(tuple(maps), kernel, strides, pads, dilation, self.groups)
        return y if bias is None else y + bias

    @nn.nowrap
    def _check_fit(self, given, wanted, maps):
        """Refuses an input that the kernel is not for."""
        path, shapes = "/".join(self.path), " and ".join(str(x.shape) for x in maps)
        if len(given) != len(wanted):
            raise ValueError(f"{path} takes {INPUTS[len(given) - 2]}, not an input of shape {shapes}")
        if given[-2] != wanted[-2]:
            expected, channels = (self.groups * shape[-2] for shape in (given, wanted))
            kind = INPUTS[len(given) - 2].partition(" ")[2]
            raise ValueError(f"{path} takes {expected} channels, not {channels}: an input {kind} of shape {shapes}")

    @nn.nowrap
    def convolve(self, maps, kernel, strides, pads, dilation, groups):
        """The convolution itself. Initialising asks for shapes alone, and XLA's own form is traced in no time."""
        (x,) = maps
        return (native_convolution if self.is_initializing() else convolve)(x, kernel, strides, pads, dilation, groups)


def check_channels(x: Array | np.ndarray, features: int, groups: int) -> int:
    """The channels of the input.

    Raises:
      ValueError: it is none of `INPUTS`, or not of floating point numbers, or the channels of input or output do not divide by
        the groups.
    """
    if x.ndim - 2 not in INPUTS:
        raise ValueError(f"a convolution takes {' or '.join(INPUTS.values())}, not an array of shape {tuple(x.shape)}")
    if not jnp.issubdtype(x.dtype, jnp.floating):
        raise ValueError(f"a convolution takes floating point numbers, not {x.dtype}; normalise images: (x / 255 - mean) / std")
    if x.shape[-1] % groups or features % groups:
        raise ValueError(f"groups={groups} must divide the channels of input ({x.shape[-1]}) and output ({features})")
    return x.shape[-1]
