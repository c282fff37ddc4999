"""Depthwise convolution: every channel is filtered alone.

Largest error against float64, relative to the largest result (192 channels at 64x64; convolution | gradient by the kernel):
0.2e-6 | 0.2e-6 in float32, 3.0e-3 | 2.2e-3 in bfloat16.

On a CPU as one shifted multiplication and addition for each tap of the kernel: 192 channels, 3x3, 64x64 take 2.5 / 2.1 / 20 ms
(forward, gradient by input, by kernel), XLA's grouped convolution 95 / 109 / 146 ms. So do dilated kernels on GPUs: 320
channels, 3x3 with dilation 12, 16 images of 32x32 take 0.05 / 0.05 / 0.07 ms on an H200 (bfloat16), and 0.23 / 0.37 / 0.89 ms
as cuDNN's convolution. Others, and other accelerators, keep XLA's.
"""

import functools
import math
import operator
from functools import partial

import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Float

from fcn.kernels import bilinear
from fcn.kernels.onednn import convolve_onednn, may_convolve
from fcn.kernels.windows import is_known, output_size, seen_by_taps
from fcn.kernels.xla import native_convolution

MANY_TAPS = 25
"""For which oneDNN is faster in a network; with fewer XLA computes what comes before and after together with the shifts."""


def convolve_depthwise(
    x: Float[Array, "b h w c"], kernel: Float[Array, "kh kw 1 o"], strides: tuple, pads: tuple, dilation: tuple
) -> Float[Array, "b h2 w2 o"]:
    """A convolution with as many groups as channels: output channel i comes from input channel i // (O / C)."""
    return bilinear.convolve((x,), kernel, strides, pads, dilation, groups=x.shape[-1])


def _choose(operation, platform, problem):
    settings = {"strides": problem.strides, "pads": problem.pads, "dilation": problem.dilation}
    if not is_known(problem.output_shape[1:3]):
        return _of(_native, operation, problem, settings)
    if platform == "cpu" and operation == "convolution" and _is_large(problem):
        groups = problem.groups
        return lambda x, kernel: convolve_onednn(x, kernel, *settings.values(), groups, otherwise=_convolve_otherwise)
    if platform == "cpu":
        return _of(_shifted, operation, problem, settings)
    if platform == "cuda" and problem.dilation != (1, 1):
        return _alone(_of(_shifted, operation, problem, settings))
    return _of(_native, operation, problem, settings)


bilinear.CHOICES["depthwise"] = _choose


def _is_large(problem):
    large = math.prod(problem.kernel_shape[:2]) >= MANY_TAPS and problem.dilation == (1, 1)
    return large and may_convolve(problem.shapes[0], problem.pads)


def _convolve_otherwise(x, kernel, strides, pads, dilation, groups):
    return _shifted(x, kernel, strides, pads, dilation)


def _alone(function):
    """GPUs: on its own, or XLA computes what it shifts, such as a normalisation, anew for each tap."""
    return lambda *arguments: lax.optimization_barrier(function(*lax.optimization_barrier(arguments)))


def _of(convolution, operation, problem, settings):
    """The operation by a way of convolving."""
    convolve = partial(convolution, **settings)
    if operation == "convolution":
        return convolve
    shape = problem.kernel_shape if operation == "kernel_gradient" else problem.shapes[0]
    target = jax.ShapeDtypeStruct(shape, problem.dtype)
    if operation == "kernel_gradient":
        return lambda x, dy: jax.linear_transpose(partial(convolve, x), target)(dy)[0]
    mirrored = _mirrored(problem) if convolution is _shifted else None
    if mirrored:
        # As a convolution it is one loop; as the derivative of a sum of shifted images, every one of them would be kept.
        return lambda dy, kernel: convolve_depthwise(dy, kernel[::-1, ::-1], problem.strides, mirrored, problem.dilation)
    return lambda dy, kernel: jax.linear_transpose(lambda x: convolve(x, kernel), target)(dy)[0]


def _mirrored(problem):
    """The zeros around the gradient by the output, where that by the input is its convolution; else None."""
    sides = zip(problem.kernel_shape, problem.dilation, problem.pads)
    mirrored = tuple(((k - 1) * d - before, (k - 1) * d - after) for k, d, (before, after) in sides)
    multiplied, empty = problem.kernel_shape[3] != problem.groups, 0 in problem.output_shape
    return None if problem.strides != (1, 1) or multiplied or empty or min(map(min, mirrored)) < 0 else mirrored


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


def _native(x, kernel, strides, pads, dilation):
    return native_convolution(x, kernel, strides, pads, dilation, groups=x.shape[-1])
