"""Depthwise convolution: every channel is filtered alone.

Largest error against float64, relative to the largest result (192 channels at 64x64; convolution | gradient by the kernel):
0.2e-6 | 0.2e-6 in float32, 3.0e-3 | 2.2e-3 in bfloat16.

On a CPU as one shifted multiplication and addition for each tap of the kernel: 192 channels, 3x3, 64x64 take 2.5 / 2.1 / 20 ms
(forward, gradient by input, by kernel), XLA's grouped convolution 95 / 109 / 146 ms. So do dilated kernels on GPUs: 320
channels, 3x3 with dilation 12, 16 images of 32x32 take 0.05 / 0.05 / 0.07 ms on an H200 (bfloat16), and 0.23 / 0.37 / 0.89 ms
as cuDNN's convolution. Others, and other accelerators, keep XLA's.
"""

import math
from functools import partial

import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Float

from fcn.kernels.onednn import convolve_onednn, may_convolve
from fcn.kernels.sharding import type_like, varying_alike
from fcn.kernels.windows import output_size, seen_by_taps
from fcn.kernels.xla import native_convolution

MANY_TAPS = 25
"""For which oneDNN is faster in a network; with fewer XLA computes what comes before and after together with the shifts."""


def convolve_depthwise(
    x: Float[Array, "b h w c"], kernel: Float[Array, "kh kw 1 o"], strides: tuple, pads: tuple, dilation: tuple
) -> Float[Array, "b h2 w2 o"]:
    """A convolution with as many groups as channels: output channel i comes from input channel i // (O / C).

    Reverse-mode gradients only.
    """
    return _convolve(*varying_alike(x, kernel), strides, pads, dilation)


@partial(jax.custom_vjp, nondiff_argnums=(2, 3, 4))
def _convolve(x, kernel, strides, pads, dilation):
    if math.prod(kernel.shape[:2]) >= MANY_TAPS and dilation == (1, 1) and may_convolve(x.shape, pads):
        return convolve_onednn(x, kernel, strides, pads, dilation, x.shape[-1], otherwise=_convolve_otherwise)
    return _convolve_otherwise(x, kernel, strides, pads, dilation)


def _convolve_otherwise(x, kernel, strides, pads, dilation, groups=None):
    settings = {"strides": strides, "pads": pads, "dilation": dilation}
    return _by_platform(partial(_shifted, **settings), partial(_native, **settings), dilation)(x, kernel)


def _forward(x, kernel, strides, pads, dilation):
    return _convolve(x, kernel, strides, pads, dilation), (x, kernel)


def _backward(strides, pads, dilation, residuals, dy):
    settings = {"strides": strides, "pads": pads, "dilation": dilation}

    def native(x, kernel, dy):
        return jax.vjp(partial(_native, **settings), x, kernel)[1](dy)

    shifted = partial(_gradients_of_shifted, **settings)
    return _by_platform(shifted, native, dilation)(*residuals, dy)


_convolve.defvjp(_forward, _backward)


def _by_platform(shifted, native, dilation):
    """GPUs: on its own, or XLA computes what it shifts, such as a normalisation, anew for each tap."""

    def alone(*arguments):
        return lax.optimization_barrier(shifted(*lax.optimization_barrier(arguments)))

    on_gpu = native if dilation == (1, 1) else alone
    return partial(lax.platform_dependent, cpu=shifted, cuda=on_gpu, default=native)


def _shifted(x, kernel, strides, pads, dilation):
    """The sum over the taps of a shifted image times the tap; sums are at least float32."""
    (kh, kw, _, features), dtype, multiplier = kernel.shape, x.dtype, kernel.shape[-1] // x.shape[-1]
    sums = jnp.promote_types(dtype, jnp.float32)
    size = output_size(x.shape[1:3], (kh, kw), strides, pads, dilation)
    x = jnp.pad(x.astype(sums), ((0, 0), *pads, (0, 0)))
    x = jnp.repeat(x, multiplier, axis=-1) if multiplier > 1 else x
    shifted = seen_by_taps(x, (kh, kw), size, strides, dilation)
    return sum(image * tap for image, tap in zip(shifted, kernel.astype(sums).reshape(-1, features))).astype(dtype)


def _gradients_of_shifted(x, kernel, dy, strides, pads, dilation):
    """By the input and the kernel."""
    convolve = partial(_shifted, strides=strides, pads=pads, dilation=dilation)
    mirrored = tuple(((k - 1) * d - before, (k - 1) * d - after) for k, d, (before, after) in zip(kernel.shape, dilation, pads))
    if strides != (1, 1) or kernel.shape[-1] != x.shape[-1] or min(map(min, mirrored)) < 0:
        return jax.vjp(convolve, x, kernel)[1](dy)
    # As a convolution it is one loop; as the derivative of a sum of shifted images, every one of them would be kept.
    dx = convolve_depthwise(dy, kernel[::-1, ::-1], strides, mirrored, dilation)
    return dx, jax.linear_transpose(partial(convolve, x), type_like(kernel, kernel.shape))(dy)[0]


def _native(x, kernel, strides, pads, dilation):
    return native_convolution(x, kernel, strides, pads, dilation, groups=x.shape[-1])
