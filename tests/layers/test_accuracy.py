"""The errors that the layers' docstrings state, against the definitions in float64."""

import inspect
import re
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from fcn.kernels import (
    dense_convolution,
    depthwise,
    folded,
    fours,
    grouped,
    im2col,
    onednn,
    pairs,
    shifts,
    strips,
    taps,
    transposed,
    upsampled,
    wide,
)
from tests.layers.references import exact_convolution, kernel_gradient, needs_onednn, normal, pad

ONE, SAME, NONE = (1, 1), ((1, 1), (1, 1)), ((0, 0), (0, 0))


def dense(form, shape, kernel_shape, strides=ONE, pads=SAME, dilation=ONE, gradient=False):
    """A form of a convolution, and of the gradient by its kernel."""

    def compare(dtype):
        x, kernel = (jnp.asarray(normal(*sizes), dtype) for sizes in (shape, kernel_shape))
        settings = {"strides": strides, "pads": pads, "dilation": dilation}
        y = jax.jit(dense_convolution.convolution_in_form(form, **settings))(x, kernel)
        yield y, exact_convolution(pad(x, pads), kernel, strides, dilation)
        if gradient:
            dy = jnp.asarray(normal(*y.shape, seed=1), dtype)
            given = jax.jit(dense_convolution.kernel_gradient_in_form(form, kernel_shape, **settings))(x, dy)
            yield given, kernel_gradient(pad(x, pads), dy, kernel_shape[:2], strides, dilation)

    return compare


def in_groups(*cases):
    def compare(dtype):
        for side, channels, groups in cases:
            sizes = (2, side, side, channels), (3, 3, channels // groups, channels)
            x, kernel = (jnp.asarray(normal(*shape), dtype) for shape in sizes)
            y = jax.jit(partial(grouped.convolve_grouped, strides=ONE, pads=SAME, dilation=ONE, groups=groups))(x, kernel)
            yield y, exact_convolution(pad(x, SAME), kernel, groups=groups)

    return compare


def of_each_channel(dtype):
    x, kernel = jnp.asarray(normal(2, 64, 64, 192), dtype), jnp.asarray(normal(3, 3, 1, 192), dtype)
    y, pull = jax.vjp(jax.jit(partial(depthwise.convolve_depthwise, strides=ONE, pads=SAME, dilation=ONE)), x, kernel)
    yield y, exact_convolution(pad(x, SAME), kernel, groups=192)
    dy, padded = jnp.asarray(normal(*y.shape, seed=1), dtype), pad(x, SAME)
    seen = [[padded[:, i : i + 64, j : j + 64] for j in range(3)] for i in range(3)]
    yield pull(dy)[1][:, :, 0], np.einsum("ijnhwc,nhwc->ijc", seen, np.asarray(dy, np.float64))


def of_doubled_pixels(dtype):
    x, kernel = jnp.asarray(normal(2, 32, 32, 256), dtype), jnp.asarray(normal(3, 3, 256, 64), dtype)
    enlarged = pad(np.repeat(np.repeat(np.asarray(x, np.float64), 2, 1), 2, 2), SAME)
    y, pull = jax.vjp(jax.jit(lambda x, kernel: upsampled.convolve_upsampled((x,), kernel, 2, SAME)), x, kernel)
    yield y, exact_convolution(enlarged, kernel)
    dy = jnp.asarray(normal(*y.shape, seed=1), dtype)
    yield pull(dy)[1], kernel_gradient(enlarged, dy, (3, 3))


def transposed_convolutions(dtype):
    for size, stride, side, channels, features in ((2, 2, 64, 128, 64), (16, 8, 32, 21, 21)):
        x = jnp.asarray(normal(2, side, side, channels), dtype)
        kernel = jnp.asarray(normal(size, size, channels, features), dtype)
        y = jax.jit(partial(transposed.convolve_transposed, strides=(stride, stride)))(x, kernel)
        apart = np.zeros((2, (side - 1) * stride + 1, (side - 1) * stride + 1, channels))
        apart[:, ::stride, ::stride] = x
        yield y, exact_convolution(pad(apart, ((size - 1, size - 1),) * 2), kernel)


CASES = [
    (im2col, dense("im2col", (2, 64, 64, 256), (3, 3, 256, 64), gradient=True)),
    (taps, dense("taps", (2, 64, 64, 256), (3, 3, 256, 64), pads=((12, 12), (12, 12)), dilation=(12, 12))),
    (shifts, dense("shifts", (2, 64, 64, 256), (3, 3, 256, 12), gradient=True)),
    pytest.param(onednn, dense("onednn", (2, 64, 64, 64), (3, 3, 64, 64)), marks=needs_onednn),
    (pairs, dense("pairs", (2, 64, 64, 16), (3, 3, 16, 16))),
    (strips, dense("strips", (2, 128, 128, 3), (7, 7, 3, 64), (2, 2), ((3, 3), (3, 3)))),
    (fours, dense("fours", (2, 64, 64, 25), (3, 3, 25, 25))),
    (folded, dense("folded", (2, 128, 128, 3), (3, 3, 3, 16), (2, 2))),
    (wide, dense("wide", (1, 9, 9, 512), (7, 7, 512, 256), pads=NONE, gradient=True)),
    (grouped, in_groups((56, 128, 32), (7, 256, 32))),
    (depthwise, of_each_channel),
    (upsampled, of_doubled_pixels),
    (transposed, transposed_convolutions),
]


def stated(module):
    """The numbers for float32 and for bfloat16."""
    text = " ".join(inspect.getdoc(module).split())
    found = re.search(r"Largest error against float64.*?: ([-e\d.| ]+) in float32, ([-e\d.| ]+) in bfloat16\.", text)
    return [[float(number) for number in numbers.split("|")] for numbers in found.groups()]


@pytest.mark.parametrize(("module", "compare"), CASES, ids=lambda value: getattr(value, "__name__", "").split(".")[-1])
def test_accuracy_that_the_docstring_states(module, compare):
    """Other processors sum in another order, and other numbers are rounded otherwise: float32 within a factor of 4, and of 2 in
    bfloat16, which is rounded once, to 8 bits."""
    for dtype, errors, factor in zip((jnp.float32, jnp.bfloat16), stated(module), (4, 2)):
        for (given, expected), error in zip(compare(dtype), errors, strict=True):
            assert given.dtype == dtype
            assert given.shape == expected.shape
            measured = np.abs(np.asarray(given, np.float64) - expected).max() / np.abs(expected).max()
            assert error / factor <= measured <= factor * error
            assert dtype == jnp.float32 or measured <= 2**-8
