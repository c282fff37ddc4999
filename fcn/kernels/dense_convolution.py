"""The algorithms of convolutions without groups, and of their gradients, by name; `fcn.kernels.table` chooses."""

from functools import partial

from jax import lax

from fcn.kernels.bilinear import by_transposition
from fcn.kernels.few_channels import channel_padded_convolution, convolve_pairs, convolve_strips
from fcn.kernels.im2col import (
    convolve_wide,
    im2col_convolution,
    im2col_gradient,
    wide_input_gradient,
    wide_kernel_gradient,
)
from fcn.kernels.kn2row import kn2row_convolution, kn2row_gradient
from fcn.kernels.onednn import convolve_onednn
from fcn.kernels.padding import NO_PADS, pad_images
from fcn.kernels.space_to_depth import space_to_depth_convolution
from fcn.kernels.taps import convolve_taps
from fcn.kernels.winograd import winograd_convolution, winograd_gradient
from fcn.kernels.xla import native_convolution

ALL = "strides", "pads", "dilation"
CONVOLUTIONS = {
    "rows": (partial(winograd_convolution, along="rows"), "pads", "dilation", "alone"),
    "tiles": (partial(winograd_convolution, along="tiles"), "pads", "dilation", "alone"),
    "taps": (convolve_taps, "pads", "dilation"),
    "kn2row": (kn2row_convolution, "pads", "dilation"),
    "pairs": (convolve_pairs, "pads"),
    "pairs and a row": (partial(convolve_pairs, another_row=True), "pads"),
    "space to depth": (space_to_depth_convolution, "strides", "pads"),
    "strips": (convolve_strips, "strides", "pads"),
    "padded channels": (channel_padded_convolution, *ALL),
    "im2col": (im2col_convolution, *ALL),
    "wide": (convolve_wide, *ALL),
    "onednn": (convolve_onednn, *ALL),
    "native": (native_convolution, *ALL),
}
"""Functions of images and kernel, and what they are told of the problem."""
KERNEL_GRADIENTS = {
    "rows": (partial(winograd_gradient, along="rows"), "pads", "dilation", "alone"),
    "tiles": (partial(winograd_gradient, along="tiles"), "pads", "dilation", "alone"),
    "kn2row": (kn2row_gradient, "kernel_size", "pads", "dilation", "alone"),
    "im2col": (im2col_gradient, "kernel_size", *ALL, "alone"),
    "wide": (wide_kernel_gradient, "kernel_shape", *ALL),
}
"""Likewise, of the images and the gradient with respect to the output. That of the others is their transpose."""
TRANSPOSED = ("im2col", "taps", "native", "space to depth")
"""Those whose gradient with respect to the images is their transpose. That of the others is their convolution with the mirrored
kernel."""


def function(operation, algorithm, problem):
    """A function of the operands."""
    if operation == "convolution":
        return _told(problem, *CONVOLUTIONS[algorithm])
    if operation == "kernel_gradient":
        return _kernel_gradient(algorithm, problem)
    if algorithm == "wide":
        return _told(problem, wide_input_gradient, "images_shape", *ALL)
    if algorithm in TRANSPOSED:
        return by_transposition(operation, _told(problem, *CONVOLUTIONS[algorithm]), problem)
    mirrored = _told(problem._replace(pads=problem.mirrored_pads), *CONVOLUTIONS[algorithm])
    return lambda dy, kernel: mirrored(dy, kernel[::-1, ::-1].swapaxes(2, 3))


def _kernel_gradient(algorithm, problem):
    if algorithm in KERNEL_GRADIENTS:
        return _told(problem, *KERNEL_GRADIENTS[algorithm])
    if all(result <= side for result, side in zip(problem.output_shape[1:3], problem.images_shape[1:3])):
        return by_transposition("kernel_gradient", _told(problem, *CONVOLUTIONS[algorithm]), problem)
    pads, problem = problem.pads, problem._replace(pads=NO_PADS)  # XLA would take the smaller of the two as kernel
    transposed = by_transposition("kernel_gradient", _told(problem, *CONVOLUTIONS[algorithm]), problem)
    return lambda x, dy: transposed(lax.optimization_barrier(pad_images(x, pads)), dy)


def _told(problem, algorithm, *names):
    """The algorithm, told these of the problem's settings."""
    return partial(algorithm, **{name: getattr(problem, name) for name in names})
