"""Plain Flax in place of this library's layers: what `nn.Conv`, `nn.ConvTranspose`, `nn.max_pool` and `jax.image` give."""

import contextlib
import sys
from functools import partial

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax import lax

from fcn.kernels.attention import attend
from fcn.kernels.convolution import convolve
from fcn.kernels.native import native_convolution
from fcn.kernels.padding import pair
from fcn.kernels.pointwise import convolve_pointwise
from fcn.kernels.transposed import convolve_transposed
from fcn.kernels.upsampled import convolve_upsampled
from fcn.layers.activations import gelu
from fcn.layers.pooling import average_pool, max_pool
from fcn.layers.upsampling import bilinear_kernel, resize_bilinear, resize_nearest, upsample_bilinear_fcn


@contextlib.contextmanager
def plain_layers():
    """Inside, networks are traced with the plain forms. Where Flax and JAX have none (dilated windows, groups), ours stay."""
    swaps = {
        convolve: native_convolution,
        convolve_pointwise: _pointwise,
        convolve_upsampled: _upsampled,
        attend: jax.nn.dot_product_attention,
        gelu: partial(nn.gelu, approximate=False),
        max_pool: _max_pool,
        average_pool: _average_pool,
        convolve_transposed: _convolve_transposed,
        resize_bilinear: _resize_bilinear,
        resize_nearest: _resize_nearest,
        upsample_bilinear_fcn: _upsample_bilinear_fcn,
    }
    changed = []
    for module in [module for name, module in list(sys.modules.items()) if name.split(".")[0] == "fcn"]:
        for name, value in list(vars(module).items()):
            if callable(value) and getattr(value, "__hash__", None) and value in swaps:
                changed.append((module, name, value))
                setattr(module, name, swaps[value])
    try:
        yield
    finally:
        for module, name, value in changed:
            setattr(module, name, value)


def _pointwise(x, kernel):
    if x.ndim != 4:
        return convolve_pointwise(x, kernel)
    return native_convolution(x, kernel.reshape(1, 1, *kernel.shape[-2:]), (1, 1), "VALID", (1, 1))


def _upsampled(maps, kernel, factor, pads):
    x, *beside = maps
    x = jnp.concatenate([_resize_nearest(x, factor), *beside], -1)
    return native_convolution(x, kernel, (1, 1), pads, (1, 1))


def _max_pool(x, window=2, strides=None, *, padding=0, ceil_mode=False):
    window, strides, pads = _windows(x, window, strides, padding, ceil_mode)
    return nn.max_pool(x, window, strides, pads)


def _average_pool(x, window=2, strides=None, *, padding=0):
    window, strides, pads = _windows(x, window, strides, padding, False)
    return nn.avg_pool(x, window, strides, pads)


def _windows(x, window, strides, padding, ceil_mode):
    window, padding = pair(window), pair(padding)
    strides = window if strides is None else pair(strides)
    pads = []
    for size, k, s, p in zip(x.shape[1:3], window, strides, padding):
        beyond = -(size + 2 * p - k) % s if ceil_mode else 0
        pads.append((p, p + beyond))
    return window, strides, pads


def _convolve_transposed(x, kernel, strides, groups=1):
    if groups > 1:
        return convolve_transposed(x, kernel, strides, groups)
    return lax.conv_transpose(x, kernel, strides, "VALID", dimension_numbers=("NHWC", "HWIO", "NHWC"))


def _resize_bilinear(x, size, *, align_corners=False):
    if align_corners:
        return resize_bilinear(x, size, align_corners=True)
    return jax.image.resize(x, (x.shape[0], *size, x.shape[3]), "linear", antialias=False)


def _resize_nearest(x, factor):
    return jax.image.resize(x, (x.shape[0], x.shape[1] * factor, x.shape[2] * factor, x.shape[3]), "nearest")


def _upsample_bilinear_fcn(x, factor):
    kernel = jnp.asarray(bilinear_kernel(2 * factor), x.dtype)[:, :, None, None]
    kernel = jnp.broadcast_to(kernel, (*kernel.shape[:2], 1, x.shape[-1]))
    return lax.conv_general_dilated(
        x,
        kernel,
        (1, 1),
        [(2 * factor - 1, 2 * factor - 1)] * 2,
        lhs_dilation=(factor, factor),
        feature_group_count=x.shape[-1],
        dimension_numbers=("NHWC", "HWIO", "NHWC"),
    )
