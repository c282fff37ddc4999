"""The errors that the table states, against the definitions in float64."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from fcn.kernels import dense_convolution
from fcn.kernels.call import Problem
from fcn.kernels.convolution import convolve
from fcn.kernels.table import RULES
from fcn.kernels.transposed import convolve_transposed
from fcn.kernels.upsampled import convolve_upsampled
from tests.layers.references import exact_convolution, kernel_gradient, needs_onednn, normal, pad

ONE, SAME, NONE = (1, 1), ((1, 1), (1, 1)), ((0, 0), (0, 0))


def dense(algorithm, shape, kernel_shape, strides=ONE, pads=SAME, dilation=ONE):
    """A convolution."""

    def compare(dtype):
        x, kernel = (jnp.asarray(normal(*sizes), dtype) for sizes in (shape, kernel_shape))
        problem = Problem((shape,), kernel_shape, dtype, strides, pads, dilation)
        y = jax.jit(dense_convolution.function("convolution", algorithm, problem))(x, kernel)
        return y, exact_convolution(pad(x, pads), kernel, strides, dilation)

    return compare


def by_kernel(algorithm, shape, kernel_shape, pads=SAME, dilation=ONE):
    """Its gradient with respect to the kernel."""

    def compare(dtype):
        x = jnp.asarray(normal(*shape), dtype)
        problem = Problem((shape,), kernel_shape, dtype, ONE, pads, dilation)
        dy = jnp.asarray(normal(*problem.output_shape, seed=1), dtype)
        given = jax.jit(dense_convolution.function("kernel_gradient", algorithm, problem))(x, dy)
        return given, kernel_gradient(pad(x, pads), dy, kernel_shape[:2], ONE, dilation)

    return compare


def in_groups(side, channels, groups):
    def compare(dtype):
        sizes = (2, side, side, channels), (3, 3, channels // groups, channels)
        x, kernel = (jnp.asarray(normal(*shape), dtype) for shape in sizes)
        y = jax.jit(partial(convolve, strides=ONE, pads=SAME, dilation=ONE, groups=groups))(x, kernel)
        return y, exact_convolution(pad(x, SAME), kernel, groups=groups)

    return compare


def of_doubled_pixels(dtype):
    x, kernel = jnp.asarray(normal(2, 32, 32, 256), dtype), jnp.asarray(normal(3, 3, 256, 64), dtype)
    enlarged = pad(np.repeat(np.repeat(np.asarray(x, np.float64), 2, 1), 2, 2), SAME)
    y = jax.jit(lambda x, kernel: convolve_upsampled((x,), kernel, 2, SAME))(x, kernel)
    return y, exact_convolution(enlarged, kernel)


def transposed(dtype):
    x, kernel = jnp.asarray(normal(2, 64, 64, 128), dtype), jnp.asarray(normal(2, 2, 128, 64), dtype)
    y = jax.jit(partial(convolve_transposed, strides=(2, 2)))(x, kernel)
    apart = np.zeros((2, 127, 127, 128))
    apart[:, ::2, ::2] = x
    return y, exact_convolution(pad(apart, SAME), kernel)


CASES = {
    ("dense", "convolution"): {
        "rows": dense("rows", (1, 64, 64, 256), (3, 3, 256, 64)),
        "tiles": dense("tiles", (1, 64, 64, 256), (3, 3, 256, 64)),
        "im2col": dense("im2col", (2, 64, 64, 256), (3, 3, 256, 64)),
        "taps": dense("taps", (2, 64, 64, 256), (3, 3, 256, 64), pads=((12, 12), (12, 12)), dilation=(12, 12)),
        "kn2row": dense("kn2row", (2, 64, 64, 256), (3, 3, 256, 12)),
        "pairs": dense("pairs", (2, 64, 64, 16), (3, 3, 16, 16)),
        "strips": dense("strips", (2, 128, 128, 3), (7, 7, 3, 64), (2, 2), ((3, 3), (3, 3))),
        "padded channels": dense("padded channels", (2, 64, 64, 25), (3, 3, 25, 25)),
        "space to depth": dense("space to depth", (2, 128, 128, 3), (3, 3, 3, 16), (2, 2)),
        "wide": dense("wide", (1, 9, 9, 512), (7, 7, 512, 256), pads=NONE),
    },
    ("dense", "kernel_gradient"): {
        "rows": by_kernel("rows", (1, 64, 64, 256), (3, 3, 256, 64)),
        "tiles": by_kernel("tiles", (1, 64, 64, 256), (3, 3, 256, 64)),
        "im2col": by_kernel("im2col", (2, 64, 64, 256), (3, 3, 256, 64)),
        "kn2row": by_kernel("kn2row", (2, 64, 64, 256), (3, 3, 256, 12)),
    },
    ("grouped", "convolution"): {"blocks": in_groups(56, 128, 32), "block products": in_groups(7, 256, 32)},
    ("depthwise", "convolution"): {"shift and add": in_groups(64, 192, 192)},
    ("upsampled", "convolution"): {"phases": of_doubled_pixels},
    ("transposed", "convolution"): {"product": transposed},
}
ONEDNN = "dense", "convolution", "onednn", dense("onednn", (2, 64, 64, 64), (3, 3, 64, 64))
ROWS = [pytest.param(*ONEDNN, marks=needs_onednn)]
ROWS += [(*kind, name, compare) for kind, cases in CASES.items() for name, compare in cases.items()]


@pytest.mark.parametrize(("layer", "operation", "algorithm", "compare"), ROWS)
def test_accuracy_that_the_table_states(layer, operation, algorithm, compare):
    """Other processors sum in another order, and other numbers are rounded otherwise: float32 within a factor of 4, and of 2 in
    bfloat16, which is rounded once, to 8 bits."""
    (errors,) = {
        rule.error for rule in RULES if (rule.layer, rule.algorithm) == (layer, algorithm) and operation in rule.operations
    }
    for dtype, error, factor in zip((jnp.float32, jnp.bfloat16), errors, (4, 2), strict=True):
        given, expected = compare(dtype)
        assert given.dtype == dtype
        assert given.shape == expected.shape
        measured = np.abs(np.asarray(given, np.float64) - expected).max() / np.abs(expected).max()
        assert error / factor <= measured <= factor * error
        assert dtype == jnp.float32 or measured <= 2**-8
