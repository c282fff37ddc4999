"""Convolutions.

On a CPU, 3x3 kernels with many channels go by Winograd's algorithm (`fcn.layers.winograd`), forward and backward, and dilated
ones tap by tap (`fcn.layers.taps`); few positions, and many gradients by kernels, are one matrix product (`fcn.layers.im2col`):
where that is faster than XLA's own (`fcn.layers.forms`). Accelerators keep XLA's. Kernels of size 1 are matrix products
everywhere (`fcn.layers.pointwise`), one-channel groups are shifted multiplications (`fcn.layers.depthwise`).
"""

import math
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
from fcn.layers.forms import CHANNELS, form_3x3
from fcn.layers.im2col import im2col_convolution, im2col_gradient
from fcn.layers.initialisers import he_normal
from fcn.layers.padding import Pads, explicit_padding, pair
from fcn.layers.pointwise import convolve_pointwise
from fcn.layers.taps import convolve_taps
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


@partial(jax.custom_vjp, nondiff_argnums=(2, 3, 4))
def _convolve_dense(x, kernel, strides, pads, dilation):
    form = convolution_form(x.shape, kernel.shape, strides, pads, dilation)
    return _on_cpu(*(convolution_in_form(form, strides, pads, dilation) for form in (form, "native")), x, kernel)


def _dense_forward(x, kernel, strides, pads, dilation):
    return _convolve_dense(x, kernel, strides, pads, dilation), (x, kernel)


def _dense_backward(strides, pads, dilation, residuals, dy):
    x, kernel = residuals
    form = convolution_form(x.shape, kernel.shape, strides, pads, dilation)
    dx = _on_cpu(*(_input_gradient(form, x.shape, strides, pads, dilation) for form in (form, "native")), dy, kernel)
    form = gradient_form(kernel.shape, dy.shape, strides, dilation)
    return dx, _on_cpu(
        *(kernel_gradient_in_form(form, kernel.shape, strides, pads, dilation) for form in (form, "native")), x, dy
    )


_convolve_dense.defvjp(_dense_forward, _dense_backward)


def _on_cpu(ours, native, *arguments):
    return lax.platform_dependent(*arguments, cpu=ours, default=native)


def convolution_in_form(form, strides, pads, dilation):
    """A function of images and kernel."""
    if form in ("rows", "tiles"):
        return partial(winograd_convolution, pads=pads, along=form, dilation=dilation)
    if form == "taps":
        return partial(convolve_taps, pads=pads, dilation=dilation)
    convolution = im2col_convolution if form == "im2col" else native_convolution
    return partial(convolution, strides=strides, pads=pads, dilation=dilation)


def _input_gradient(form, shape, strides, pads, dilation):
    """A function of the gradient by the output and the kernel."""
    mirrored = tuple((2 * d - before, 2 * d - after) for (before, after), d in zip(pads, dilation))
    if form in ("rows", "tiles") and min(map(min, mirrored)) >= 0:
        convolution = convolution_in_form(form, strides, mirrored, dilation)
        return lambda dy, kernel: convolution(dy, kernel[::-1, ::-1].swapaxes(2, 3))

    convolution = convolution_in_form("native" if form in ("rows", "tiles") else form, strides, pads, dilation)

    def transposed(dy, kernel):
        return jax.linear_transpose(lambda x: convolution(x, kernel), jax.ShapeDtypeStruct(shape, dy.dtype))(dy)[0]

    return transposed


def kernel_gradient_in_form(form, shape, strides, pads, dilation):
    """A function of the input and the gradient by the output."""
    if form in ("rows", "tiles"):
        return partial(winograd_gradient, pads=pads, along=form, dilation=dilation)
    if form == "im2col":
        return partial(im2col_gradient, kernel_size=shape[:2], strides=strides, pads=pads, dilation=dilation)
    convolution = convolution_in_form(form, strides, pads, dilation)

    def transposed(x, dy):
        return jax.linear_transpose(lambda kernel: convolution(x, kernel), jax.ShapeDtypeStruct(shape, x.dtype))(dy)[0]

    return transposed


FEW = 256
"""Positions in all images of a batch; products of that many rows are small beside the kernel."""


def convolution_form(shape, kernel_shape, strides, pads, dilation) -> str:
    """Which form of a convolution, and of the gradient by its input, is fast on a CPU."""
    if min(kernel_shape[2:]) < CHANNELS[0] or min(map(min, pads)) < 0:
        return "native"
    batch, *sides = shape[:3]
    windows = [(k - 1) * d + 1 for k, d in zip(kernel_shape, dilation)]
    output = (batch, *((n + sum(p) - k) // s + 1 for n, p, k, s in zip(sides, pads, windows, strides)), kernel_shape[3])
    if strides == (1, 1) and (dilation != (1, 1) or kernel_shape[:2] == (3, 3)):
        return _form_with_stride_1("convolution", kernel_shape, output, dilation)
    return "im2col" if math.prod(output[:3]) <= FEW else "native"


def gradient_form(kernel_shape, output_shape, strides, dilation) -> str:
    """Which form of a kernel's gradient is fast on a CPU."""
    positions, features = math.prod(output_shape[:3]), output_shape[3]
    if strides == (1, 1) and (dilation != (1, 1) or kernel_shape[:2] == (3, 3)) and min(kernel_shape[2:]) >= CHANNELS[0]:
        return _form_with_stride_1("gradient", kernel_shape, output_shape, dilation)
    few = positions <= FEW and min(kernel_shape[2:]) >= CHANNELS[0] and math.prod(kernel_shape) < 2**24
    large = positions * features >= 2**21 and features > 16
    return "im2col" if few or large else "native"


def _form_with_stride_1(product, kernel_shape, output_shape, dilation):
    """3x3 kernels as measured; dilated ones by Winograd only where the images of every d-th pixel have tiles enough."""
    measured = "native"
    if kernel_shape[:2] == (3, 3) and all(side >= 4 * d for side, d in zip(output_shape[1:3], dilation)):
        measured = form_3x3(product, *kernel_shape[2:], math.prod(output_shape[:3]))
    if dilation == (1, 1) or measured in ("rows", "tiles"):
        return measured
    return "taps"


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
