"""The algorithms of convolutions without groups, and of their gradients, by name; `fcn.kernels.table` chooses."""

from functools import partial

import jax
from jax import lax

from fcn.kernels.channel_padding import channel_padded_convolution
from fcn.kernels.im2col import im2col_convolution, im2col_gradient
from fcn.kernels.kn2row import kn2row_convolution, kn2row_gradient
from fcn.kernels.onednn import convolve_onednn
from fcn.kernels.padding import NO_PADS, pad_images
from fcn.kernels.pairs import convolve_pairs
from fcn.kernels.space_to_depth import space_to_depth_convolution
from fcn.kernels.strips import convolve_strips
from fcn.kernels.taps import convolve_taps
from fcn.kernels.wide import convolve_wide, wide_input_gradient, wide_kernel_gradient
from fcn.kernels.winograd import winograd_convolution, winograd_gradient
from fcn.kernels.xla import native_convolution

CONVOLUTIONS = {
    "rows": lambda x, kernel, strides, pads, dilation: winograd_convolution(x, kernel, pads, "rows", dilation),
    "tiles": lambda x, kernel, strides, pads, dilation: winograd_convolution(x, kernel, pads, "tiles", dilation),
    "taps": lambda x, kernel, strides, pads, dilation: convolve_taps(x, kernel, pads, dilation),
    "kn2row": lambda x, kernel, strides, pads, dilation: kn2row_convolution(x, kernel, pads, dilation),
    "pairs": lambda x, kernel, strides, pads, dilation: convolve_pairs(x, kernel, pads),
    "pairs and a row": lambda x, kernel, strides, pads, dilation: convolve_pairs(x, kernel, pads, another_row=True),
    "space to depth": lambda x, kernel, strides, pads, dilation: space_to_depth_convolution(x, kernel, strides, pads),
    "strips": lambda x, kernel, strides, pads, dilation: convolve_strips(x, kernel, strides, pads),
    "padded channels": channel_padded_convolution,
    "im2col": im2col_convolution,
    "wide": convolve_wide,
    "onednn": convolve_onednn,
    "native": native_convolution,
}
"""Functions of images, kernel, strides, pads and dilation."""
TRANSPOSED = ("im2col", "taps", "native", "space to depth")
"""Those whose gradient with respect to the images is their transpose. That of the others is their convolution with the mirrored
kernel."""


def function(operation, algorithm, problem):
    """A function of the operands."""
    settings = (problem.strides, problem.pads, problem.dilation)
    if operation == "convolution":
        return convolution(algorithm, *settings)
    if operation == "kernel_gradient":
        return kernel_gradient(algorithm, problem.kernel_shape, *settings)
    if algorithm == "wide":
        return partial(wide_input_gradient, shape=problem.shapes[0], **_named(*settings))
    if algorithm in TRANSPOSED:
        return _transposed(convolution(algorithm, *settings), problem.shapes[0])
    mirrored = convolution(algorithm, problem.strides, problem.mirrored_pads, problem.dilation)
    return lambda dy, kernel: mirrored(dy, kernel[::-1, ::-1].swapaxes(2, 3))


def convolution(algorithm, strides, pads, dilation):
    """A function of images and kernel."""
    return partial(CONVOLUTIONS[algorithm], **_named(strides, pads, dilation))


def kernel_gradient(algorithm, shape, strides, pads, dilation):
    """A function of the images and the gradient with respect to the output."""
    if algorithm in ("rows", "tiles"):
        return partial(winograd_gradient, pads=pads, along=algorithm, dilation=dilation)
    if algorithm == "kn2row":
        return partial(kn2row_gradient, kernel_size=shape[:2], pads=pads, dilation=dilation)
    if algorithm == "im2col":
        return partial(im2col_gradient, kernel_size=shape[:2], **_named(strides, pads, dilation))
    if algorithm == "wide":
        return partial(wide_kernel_gradient, shape=shape, **_named(strides, pads, dilation))

    def transposed(x, dy):
        around = pads
        if any(result > side for result, side in zip(dy.shape[1:3], x.shape[1:3])):  # XLA would take the smaller as kernel
            x, around = lax.optimization_barrier(pad_images(x, pads)), NO_PADS
        by_kernel = partial(convolution(algorithm, strides, around, dilation), x)
        return jax.linear_transpose(by_kernel, jax.ShapeDtypeStruct(shape, x.dtype))(dy)[0]

    return transposed


def _transposed(convolution, shape):
    def by_images(dy, kernel):
        images = jax.ShapeDtypeStruct(shape, dy.dtype)
        return jax.linear_transpose(lambda x: convolution(x, kernel), images)(dy)[0]

    return by_images


def _named(strides, pads, dilation):
    return {"strides": strides, "pads": pads, "dilation": dilation}
