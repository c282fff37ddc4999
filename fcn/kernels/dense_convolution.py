"""Convolutions without groups, in the form that suits their shape.

On a CPU, 3x3 kernels with many channels go by Winograd's algorithm (`fcn.kernels.winograd`), forward and backward, and dilated
ones tap by tap (`fcn.kernels.taps`); few positions, dilated kernels of few channels, and many gradients by kernels are one
matrix product (`fcn.kernels.im2col`), and so are kernels from many channels to few, their gradients and those of few channels
(`fcn.kernels.shifts`): where that is faster than XLA's own (`fcn.kernels.forms`), to which some shapes go in disguise
(`fcn.kernels.folded`, `fcn.kernels.fours`, `fcn.kernels.pairs`, `fcn.kernels.strips`). Where oneDNN may be used
(`fcn.kernels.onednn`), it takes all but Winograd's and those of few positions, and multiplies for these.

On an NVIDIA GPU, large kernels are one matrix product where positions are few (`fcn.kernels.wide`), strided stems fold pixels
into channels, and gradients by dilated kernels are those of plain ones (`fcn.kernels.dilated`). All else there, and on other
accelerators, is XLA's.
"""

import math
from functools import partial
from typing import Literal

import jax
import jax.numpy as jnp
from jax import lax

from fcn.kernels import bilinear
from fcn.kernels.dilated import apart
from fcn.kernels.folded import convolve_folded, pays_folded
from fcn.kernels.forms import FEWEST, Form, form_3x3
from fcn.kernels.fours import convolve_fours, pays_in_fours
from fcn.kernels.im2col import im2col_convolution, im2col_gradient
from fcn.kernels.onednn import convolve_onednn, may_convolve, usable
from fcn.kernels.padding import NO_PADS, pad_images
from fcn.kernels.pairs import convolve_pairs, pays_in_pairs
from fcn.kernels.shifts import convolve_shifts, fewer_than_windows, pays_in_cached_blocks, shifts_gradient
from fcn.kernels.strips import convolve_strips, pays_in_strips
from fcn.kernels.taps import convolve_taps
from fcn.kernels.wide import convolve_wide, wide_gradient_by_input, wide_gradient_by_kernel
from fcn.kernels.windows import is_known, output_size
from fcn.kernels.winograd import winograd_convolution, winograd_gradient
from fcn.kernels.xla import native_convolution

AnyForm = Form | Literal["taps", "shifts", "fours", "pairs", "strips", "wide", "apart", "folded"]


def convolve_dense(x, kernel, strides, pads, dilation):
    """A convolution without groups."""
    return bilinear.convolve((x,), kernel, strides, pads, dilation)


def _choose(operation, platform, problem):
    """XLA's own where it is neither a CPU nor an NVIDIA GPU."""
    (shape,), settings = problem.shapes, (problem.strides, problem.pads, problem.dilation)
    form = _form(operation, platform, problem)
    if operation == "convolution":
        return convolution_in_form(form, *settings)
    if operation == "input_gradient":
        return _input_gradient_in_form(form, shape, problem.kernel_shape, *settings)
    return kernel_gradient_in_form(form, problem.kernel_shape, *settings)


bilinear.CHOICES["dense"] = _choose


def _form(operation, platform, problem) -> AnyForm:
    (shape,), kernel_shape, settings = problem.shapes, problem.kernel_shape, (problem.strides, problem.pads, problem.dilation)
    if platform == "cuda":
        form = form_on_gpu(shape, kernel_shape, problem.dtype, *settings)
        dilated = problem.dilation != (1, 1) == problem.strides and is_known(shape)
        return "apart" if operation == "kernel_gradient" and form == "native" and dilated else form
    if platform != "cpu":
        return "native"
    if operation == "convolution":
        return convolution_form(shape, kernel_shape, *settings)
    if operation == "input_gradient":
        return _input_gradient_form(shape, kernel_shape, problem.output_shape, *settings)
    return gradient_form(kernel_shape, problem.output_shape, problem.strides, problem.dilation)


def convolution_in_form(form, strides, pads, dilation):
    """A function of images and kernel."""
    if form in ("rows", "tiles"):
        return partial(winograd_convolution, pads=pads, along=form, dilation=dilation)
    if form in ("taps", "shifts"):
        return partial(convolve_taps if form == "taps" else convolve_shifts, pads=pads, dilation=dilation)
    if form == "pairs":
        return partial(convolve_pairs, pads=pads)
    if form == "folded":
        return partial(convolve_folded, strides=strides, pads=pads)
    if form == "strips":
        return partial(convolve_strips, strides=strides, pads=pads)
    if form == "fours":
        return partial(convolve_fours, strides=strides, pads=pads, dilation=dilation)
    if form == "onednn":
        return partial(convolve_onednn, strides=strides, pads=pads, dilation=dilation, otherwise=_convolve_otherwise)
    convolution = {"im2col": im2col_convolution, "wide": convolve_wide, "native": native_convolution}[form]
    return partial(convolution, strides=strides, pads=pads, dilation=dilation)


def _convolve_otherwise(x, kernel, strides, pads, dilation, groups):
    """A convolution, without groups, in the form that is fast where oneDNN may not be used."""
    form = own_form(x.shape, kernel.shape, strides, pads, dilation)
    return convolution_in_form(form, strides, pads, dilation)(x, kernel)


def _mirrored(kernel_shape, pads, dilation):
    """The zeros around the gradient by the output, where it is convolved with the mirrored kernel to that by the input."""
    spans = ((k - 1) * d for k, d in zip(kernel_shape, dilation))
    return tuple((span - before, span - after) for span, (before, after) in zip(spans, pads))


def _input_gradient_form(shape, kernel_shape, output_shape, strides, pads, dilation) -> AnyForm:
    """Which form of the gradient by the input is fast on a CPU: with stride 1, that of the convolution which it is."""
    mirrored = _mirrored(kernel_shape, pads, dilation)
    if strides == (1, 1) and min(map(min, mirrored)) >= 0 and 0 not in output_shape:
        return convolution_form(output_shape, (*kernel_shape[:2], *kernel_shape[:1:-1]), strides, mirrored, dilation)
    form = own_form(shape, kernel_shape, strides, pads, dilation)
    return form if form in ("im2col", "taps") else "native"  # with strides, the others' is that of XLA's own


def _input_gradient_in_form(form, shape, kernel_shape, strides, pads, dilation):
    """A function of the gradient by the output and the kernel."""
    if form in ("rows", "tiles", "shifts", "fours", "pairs", "strips", "onednn"):
        convolution = convolution_in_form(form, strides, _mirrored(kernel_shape, pads, dilation), dilation)
        return lambda dy, kernel: convolution(dy, kernel[::-1, ::-1].swapaxes(2, 3))

    if form == "wide":
        return partial(wide_gradient_by_input, shape=shape, strides=strides, pads=pads, dilation=dilation)

    convolution = convolution_in_form(form, strides, pads, dilation)

    def transposed(dy, kernel):
        return jax.linear_transpose(lambda x: convolution(x, kernel), jax.ShapeDtypeStruct(shape, dy.dtype))(dy)[0]

    return transposed


def kernel_gradient_in_form(form, shape, strides, pads, dilation):
    """A function of the input and the gradient by the output."""
    if form in ("rows", "tiles"):
        return partial(winograd_gradient, pads=pads, along=form, dilation=dilation)
    if form == "im2col":
        return partial(im2col_gradient, kernel_size=shape[:2], strides=strides, pads=pads, dilation=dilation)
    if form == "shifts":
        return partial(shifts_gradient, kernel_size=shape[:2], pads=pads, dilation=dilation)
    if form == "wide":
        return partial(wide_gradient_by_kernel, shape=shape, strides=strides, pads=pads, dilation=dilation)

    if form == "apart":
        return partial(_gradient_of_images_apart, shape=shape, pads=pads, dilation=dilation)

    def transposed(x, dy):
        around = pads
        if any(result > side for result, side in zip(dy.shape[1:3], x.shape[1:3])):  # XLA would take the smaller as kernel
            x, around = lax.optimization_barrier(pad_images(x, pads)), NO_PADS
        convolution = convolution_in_form(form, strides, around, dilation)
        return jax.linear_transpose(lambda kernel: convolution(x, kernel), jax.ShapeDtypeStruct(shape, x.dtype))(dy)[0]

    return transposed


def _gradient_of_images_apart(x, dy, shape, pads, dilation):
    """XLA for GPUs takes the gradient by a dilated kernel for a convolution whose kernel is the image; not that of these."""
    size, beyond = dy.shape[1:3], tuple(k - 1 for k in shape[:2])
    x, dy = apart(x, pads, size, dilation, beyond), apart(dy, NO_PADS, size, dilation)
    return kernel_gradient_in_form("native", shape, (1, 1), NO_PADS, (1, 1))(x, dy)


FEW = 256
"""Positions in all images of a batch; products of that many rows are small beside the kernel."""
NARROW = 32
"""Channels of a dilated kernel whose taps are too small to be products of their own."""
FEWEST_APART = 64
"""Channels from which on a dilated kernel goes by Winograd's algorithm where there is oneDNN."""
FEW_FEATURES = 16
"""Features that are too few columns for a product; for just so many, other forms of the convolution, not of its kernel's
gradient, are faster where there are many positions."""
MANY_TAPS = 25
"""Taps that make a kernel large, for GPUs."""


def form_on_gpu(shape, kernel_shape, dtype, strides, pads, dilation) -> AnyForm:
    """Which form of a convolution, and of its gradients, is fast on a GPU."""
    *sides, channels, features = kernel_shape
    if math.prod(sides) < MANY_TAPS or not is_known(shape):
        return "native"
    if channels <= 4 and strides == (2, 2) and dilation == (1, 1) and jnp.finfo(dtype).bits == 16:
        return "folded"
    positions = shape[0] * math.prod(output_size(shape[1:3], sides, strides, pads, dilation))
    few = positions <= 4 * features  # the windows of more would take much more memory than the kernel
    return "wide" if channels >= 64 and few else "native"


def convolution_form(shape, kernel_shape, strides, pads, dilation) -> AnyForm:
    """Which form of a convolution is fast on a CPU."""
    if not may_convolve(shape, pads):
        return own_form(shape, kernel_shape, strides, pads, dilation)
    output = (shape[0], *output_size(shape[1:3], kernel_shape[:2], strides, pads, dilation), kernel_shape[3])
    if strides != (1, 1) or kernel_shape[:2] != (3, 3):
        return "onednn"
    form = _form_with_stride_1("convolution", kernel_shape, output, dilation, onednn=True)
    small = dilation != (1, 1) and min(kernel_shape[2:]) < FEWEST_APART
    return "onednn" if small or form in ("native", "taps") else form


def own_form(shape, kernel_shape, strides, pads, dilation) -> AnyForm:
    """Which form of a convolution is fast on a CPU without oneDNN."""
    if min(map(min, pads)) < 0 or not is_known(shape):
        return "native"
    output = (shape[0], *output_size(shape[1:3], kernel_shape[:2], strides, pads, dilation), kernel_shape[3])
    if strides == dilation == (1, 1) and pays_in_pairs(output, kernel_shape):
        return "pairs"
    if dilation == (1, 1) and pays_folded(kernel_shape, strides):
        return "folded"
    if dilation == (1, 1) and pays_in_strips(output, kernel_shape, strides):
        return "strips"
    form = _form_of_products(output, kernel_shape, strides, dilation)
    return "fours" if form == "native" and pays_in_fours(*kernel_shape[2:]) else form


def _form_of_products(output, kernel_shape, strides, dilation) -> AnyForm:
    """The form of matrix products that is faster than XLA's convolution, if any is."""
    positions, channels = math.prod(output[:3]), kernel_shape[2:]
    narrow = min(channels) >= 8 and max(channels) <= NARROW and positions * math.prod(kernel_shape[:3]) <= 2**21
    fewer = channels[1] < FEW_FEATURES or (channels[1] == FEW_FEATURES and positions <= 2**14)
    columns = math.prod(kernel_shape[:2]) * channels[1]  # of the product, which must not take much more memory than the images
    if fewer and strides == (1, 1) and columns <= 3 * channels[0]:
        return "shifts"
    if min(channels) < FEWEST["convolution"] and dilation != (1, 1):
        return "im2col" if narrow else "native"
    if strides == (1, 1) and (dilation != (1, 1) or kernel_shape[:2] == (3, 3)):
        form = _form_with_stride_1("convolution", kernel_shape, output, dilation, onednn=False)
        small = "native" if pays_in_fours(*channels) else "im2col"
        return small if narrow and form == "taps" else form
    return "im2col" if _few_positions("convolution", kernel_shape, positions) else "native"


def gradient_form(kernel_shape, output_shape, strides, dilation) -> AnyForm:
    """Which form of a kernel's gradient is fast on a CPU."""
    if not is_known(output_shape):
        return "native"
    positions, channels = math.prod(output_shape[:3]), kernel_shape[2:]
    few_features = channels[1] <= FEW_FEATURES and fewer_than_windows(kernel_shape)
    if strides == (1, 1) and (few_features or pays_in_cached_blocks(kernel_shape, dilation)):
        return "shifts"
    if strides == (1, 1) and (dilation != (1, 1) or kernel_shape[:2] == (3, 3)) and min(channels) >= FEWEST["gradient"]:
        return _form_with_stride_1("gradient", kernel_shape, output_shape, dilation, onednn=usable())
    few = _few_positions("gradient", kernel_shape, positions)
    if (few or strides != (1, 1)) and math.prod(kernel_shape) < 2**24:
        return "im2col"
    return "im2col" if positions * max(channels) >= 2**20 else "native"


def _few_positions(product, kernel_shape, positions):
    """Whether the windows are small beside the kernel, which has channels enough for a product."""
    return positions <= FEW and min(kernel_shape[2:]) >= FEWEST[product]


def _form_with_stride_1(product, kernel_shape, output_shape, dilation, *, onednn):
    """3x3 kernels as measured; dilated ones by Winograd only where the images of every d-th pixel have tiles enough.

    Images smaller than a tile are one product: XLA would make the kernel the image, and take 6 ms for 2x2 positions of 512
    channels.
    """
    positions = math.prod(output_shape[:3])
    measured = "im2col" if _few_positions(product, kernel_shape, positions) else "native"
    if kernel_shape[:2] == (3, 3) and all(side >= 4 * d for side, d in zip(output_shape[1:3], dilation)):
        measured = form_3x3(product, *kernel_shape[2:], positions, onednn=onednn)
    if dilation == (1, 1) or measured in ("rows", "tiles"):
        return measured
    return "taps"
