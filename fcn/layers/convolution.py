"""Convolutions.

On a CPU, 3x3 kernels with many channels go by Winograd's algorithm (`fcn.layers.winograd`), forward and backward, and gradients
by other kernels are matrix products (`fcn.layers.im2col`), where that is faster than XLA's own (`fcn.layers.forms`);
accelerators keep XLA's. Kernels of size 1 are matrix products everywhere (`fcn.layers.pointwise`), one-channel groups are
shifted multiplications (`fcn.layers.depthwise`).
"""

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jaxtyping import Array, Float

from fcn.layers.depthwise import convolve_depthwise
from fcn.layers.forms import Form, form_3x3
from fcn.layers.im2col import im2col_gradient
from fcn.layers.initialisers import he_normal
from fcn.layers.padding import Pads, explicit_padding, pair
from fcn.layers.pointwise import convolve_pointwise
from fcn.layers.winograd import winograd_convolution, winograd_gradient


class Conv(nn.Module):
    """A convolution of images, with the parameters of `nn.Conv`.

    Parameters: `kernel` [kh, kw, C / groups, features] and `bias` [features].

    Reverse-mode gradients only: `jax.jvp` and what builds on it raise a TypeError, as the layer has its own reverse rule.

    Attributes:
        features: channels of the output.
        kernel_size: (kh, kw), or one number for both.
        strides: (rows, columns), or one number for both.
        padding: zeros around the image: "SAME" (the output has ceil(size / stride) rows and columns; where the number of zeros
            is odd, the last one goes to the bottom and right, as in TensorFlow), "VALID" (none), one number for all sides
            (PyTorch's meaning) or ((top, bottom), (left, right)).
        dilation: distance of the kernel's taps, (rows, columns), or one number for both.
        groups: number of groups that channels of input and output are split into; `groups == C` is depthwise.
        use_bias: add a bias.
        dtype: type of the computation; None takes the one that input and parameters promote to.
        param_dtype: type of the parameters.
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
    dtype: Any = None
    param_dtype: Any = jnp.float32
    kernel_init: Callable = he_normal
    bias_init: Callable = nn.initializers.zeros

    @nn.compact
    def __call__(self, x: Float[Array | np.ndarray, "b h w c"]) -> Float[Array, "b h2 w2 o"]:
        """Images [B, H, W, C] to [B, H', W', features].

        Raises:
            ValueError: the input is no batch of images of floating point numbers, has other channels than the kernel, the
                channels do not divide by the groups, or unknown padding.
        """
        channels = check_channels(x, self.features, self.groups)
        kernel_size, strides, dilation = (pair(v) for v in (self.kernel_size, self.strides, self.dilation))
        shape = (*kernel_size, channels // self.groups, self.features)
        if self.has_variable("params", "kernel") and self.get_variable("params", "kernel").shape[2] != shape[2]:
            expected = self.groups * self.get_variable("params", "kernel").shape[2]
            path = "/".join(self.path)
            raise ValueError(f"{path} takes {expected} channels, not {channels}: an input [B, H, W, C] of shape {x.shape}")
        kernel = self.param("kernel", self.kernel_init, shape, self.param_dtype)
        bias = self.param("bias", self.bias_init, (self.features,), self.param_dtype) if self.use_bias else None
        x, kernel, bias = nn.dtypes.promote_dtype(x, kernel, bias, dtype=self.dtype)
        pads = explicit_padding(self.padding, x.shape[1:3], kernel_size, strides, dilation)
        # Initialising asks for shapes alone, and XLA's own form is traced in no time.
        y = (native_convolution if self.is_initializing() else convolve)(x, kernel, strides, pads, dilation, self.groups)
        return y if bias is None else y + bias


def convolve(
    x: Float[Array, "b h w c"],
    kernel: Float[Array, "kh kw i o"],
    strides: tuple[int, int],
    pads: Pads,
    dilation: tuple[int, int],
    groups: int,
) -> Float[Array, "b h2 w2 o"]:
    """A convolution with explicit padding, in the form that suits its shape."""
    if kernel.shape[:2] == (1, 1) and groups == 1:
        if pads != ((0, 0), (0, 0)):
            x = jnp.pad(x, ((0, 0), *pads, (0, 0)))
        return convolve_pointwise(x[:, :: strides[0], :: strides[1]], kernel)
    if groups == x.shape[-1] > 1:
        return convolve_depthwise(x, kernel, strides, pads, dilation)
    if groups > 1:
        return native_convolution(x, kernel, strides, pads, dilation, groups)
    return _convolve_dense(x, kernel, strides, pads, dilation)


def native_convolution(x, kernel, strides, pads, dilation, groups=1):
    """XLA's convolution, images [B, H, W, C] with a kernel [kh, kw, C / groups, O]."""
    return lax.conv_general_dilated(
        x,
        kernel,
        strides,
        pads,
        rhs_dilation=dilation,
        feature_group_count=groups,
        dimension_numbers=("NHWC", "HWIO", "NHWC"),
    )


def native_gradient(x, dy, kernel_shape, strides, pads, dilation):
    """XLA's gradient by the kernel."""
    kernel = jax.ShapeDtypeStruct(kernel_shape, x.dtype)
    return jax.linear_transpose(lambda kernel: native_convolution(x, kernel, strides, pads, dilation), kernel)(dy)[0]


@partial(jax.custom_vjp, nondiff_argnums=(2, 3, 4))
def _convolve_dense(x, kernel, strides, pads, dilation):
    native = partial(native_convolution, strides=strides, pads=pads, dilation=dilation)
    form = convolution_form(x.shape, kernel.shape, strides, pads, dilation)
    if form == "native":
        return native(x, kernel)
    return lax.platform_dependent(x, kernel, cpu=partial(winograd_convolution, pads=pads, along=form), default=native)


def _dense_forward(x, kernel, strides, pads, dilation):
    return _convolve_dense(x, kernel, strides, pads, dilation), (x, kernel)


def _dense_backward(strides, pads, dilation, residuals, dy):
    x, kernel = residuals
    dx = _input_gradient(dy, kernel, x.shape, strides, pads, dilation)
    return dx, _kernel_gradient(x, dy, kernel.shape, strides, pads, dilation)


_convolve_dense.defvjp(_dense_forward, _dense_backward)


def _input_gradient(dy, kernel, shape, strides, pads, dilation):
    def native(dy, kernel):
        x = jax.ShapeDtypeStruct(shape, dy.dtype)
        return jax.linear_transpose(lambda x: native_convolution(x, kernel, strides, pads, dilation), x)(dy)[0]

    def turned(dy, kernel):
        return winograd_convolution(dy, kernel[::-1, ::-1].swapaxes(2, 3), mirrored, form)

    mirrored = tuple((2 - before, 2 - after) for before, after in pads)
    form = convolution_form(dy.shape, kernel.shape, strides, mirrored, dilation)
    return native(dy, kernel) if form == "native" else lax.platform_dependent(dy, kernel, cpu=turned, default=native)


def _kernel_gradient(x, dy, shape, strides, pads, dilation):
    native = partial(native_gradient, kernel_shape=shape, strides=strides, pads=pads, dilation=dilation)
    form = gradient_form(shape, dy.shape, strides, dilation)
    if form == "native":
        return native(x, dy)
    if form == "im2col":
        ours = partial(im2col_gradient, kernel_size=shape[:2], strides=strides, pads=pads, dilation=dilation)
    else:
        ours = partial(winograd_gradient, pads=pads, along=form)
    return lax.platform_dependent(x, dy, cpu=ours, default=native)


def convolution_form(shape, kernel_shape, strides, pads, dilation) -> Form:
    """Which form of a convolution is fast on a CPU; padding below zero, which cuts pixels off, is XLA's alone."""
    if kernel_shape[:2] != (3, 3) or strides != (1, 1) or dilation != (1, 1) or min(map(min, pads)) < 0:
        return "native"
    (batch, height, width, _), (top, bottom), (left, right) = shape, *pads
    pixels = batch * (height + top + bottom - 2) * (width + left + right - 2)
    return form_3x3("convolution", *kernel_shape[2:], pixels)


def gradient_form(kernel_shape, output_shape, strides, dilation) -> Form:
    """Which form of a kernel's gradient is fast on a CPU."""
    batch, height, width, features = output_shape
    if kernel_shape[:2] == (3, 3) and strides == dilation == (1, 1) and min(kernel_shape[2:]) >= 16:
        return form_3x3("gradient", *kernel_shape[2:], batch * height * width)
    large = batch * height * width * features >= 2**21
    return "im2col" if large and features > 16 else "native"


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
