"""Depthwise convolution: every channel is filtered alone.

One shifted multiplication and addition for each tap of the kernel, where XLA's grouped convolution, or cuDNN's of dilated
kernels, takes several times as long.
"""

import functools
import operator
from functools import partial

import jax.numpy as jnp
from jax import lax

from fcn.kernels import bilinear
from fcn.kernels.onednn import convolve_onednn
from fcn.kernels.windows import output_size, seen_by_taps
from fcn.kernels.xla import native_convolution


def function(operation, algorithm, problem):
    """A function of the operands.

    As a convolution with the mirrored kernel the gradient with respect to the images is one loop; as the derivative of a sum of
    shifted images, every one of them would be kept.
    """
    settings = {"strides": problem.strides, "pads": problem.pads, "dilation": problem.dilation}
    if algorithm == "onednn":
        return partial(convolve_onednn, **settings, groups=problem.groups)
    if algorithm == "native":
        return bilinear.by_transposition(operation, partial(native_convolution, **settings, groups=problem.groups), problem)
    pads = problem.mirrored_pads if problem.kernel_shape[3] == problem.groups else None
    if operation == "input_gradient" and pads:
        shifted = partial(_by_mirrored, settings=(problem.strides, pads, problem.dilation, problem.groups))
    else:
        shifted = bilinear.by_transposition(operation, partial(_shifted, **settings), problem)
    return shifted if algorithm == "shift and add" else _apart(shifted)


def _apart(function):
    """GPUs: on its own, or XLA computes what it shifts, such as a normalisation, anew for each tap."""
    return lambda *arguments: lax.optimization_barrier(function(*lax.optimization_barrier(arguments)))


def _by_mirrored(dy, kernel, settings):
    return bilinear.convolve((dy,), kernel[::-1, ::-1], *settings)


def _shifted(x, kernel, strides, pads, dilation):
    """The sum over the taps of a shifted image times the tap; sums are at least float32."""
    (kh, kw, _, features), dtype, multiplier = kernel.shape, x.dtype, kernel.shape[-1] // x.shape[-1]
    sums = jnp.promote_types(dtype, jnp.float32)
    size = output_size(x.shape[1:3], (kh, kw), strides, pads, dilation)
    x = jnp.pad(x.astype(sums), ((0, 0), *pads, (0, 0)))
    x = jnp.repeat(x, multiplier, axis=-1) if multiplier > 1 else x
    shifted = seen_by_taps(x, (kh, kw), size, strides, dilation)
    products = (image * tap for image, tap in zip(shifted, kernel.astype(sums).reshape(-1, features)))
    return functools.reduce(operator.add, products).astype(dtype)
