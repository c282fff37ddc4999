"""The plain forms that the layers are compared with, and how they are compared."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax

from fcn.kernels import onednn

needs_onednn = pytest.mark.skipif(not onednn.is_inside(), reason="this XLA has no oneDNN inside, or computes on an accelerator")

AXES = ("NHWC", "HWIO", "NHWC")


def pad(x, pads):
    """Zeros around images, ((top, bottom), (left, right)), in float64; where a number is negative, rows or columns are cut."""
    x = np.pad(np.asarray(x, np.float64), ((0, 0), *((max(0, a), max(0, b)) for a, b in pads), (0, 0)))
    rows, columns = (slice(max(0, -a), size - max(0, -b)) for (a, b), size in zip(pads, x.shape[1:3]))
    return x[:, rows, columns]


def normal(*shape, seed=0):
    return np.random.default_rng([seed, *shape]).normal(size=shape).astype(np.float32)


def convolution(x, kernel, strides=(1, 1), pads=((0, 0), (0, 0)), dilation=(1, 1), groups=1):
    """XLA's convolution."""
    return lax.conv_general_dilated(
        x, kernel, strides, pads, rhs_dilation=dilation, feature_group_count=groups, dimension_numbers=AXES
    )


def exact_convolution(x, kernel, strides=(1, 1), dilation=(1, 1), groups=1):
    """The definition, in float64: a sum over the kernel's taps; `x` is padded already."""
    x, kernel = np.asarray(x, np.float64), np.asarray(kernel, np.float64)
    size = [(side - d * (k - 1) - 1) // s + 1 for side, k, s, d in zip(x.shape[1:3], kernel.shape, strides, dilation)]
    x, kernel = x.reshape(*x.shape[:3], groups, -1), kernel.reshape(*kernel.shape[:3], groups, -1)
    total = 0
    for tap in np.ndindex(*kernel.shape[:2]):
        seen = _seen(x, tap, size, strides, dilation)
        total = total + np.einsum("nhwgc,cgo->nhwgo", seen, kernel[tap], optimize=True)
    return total.reshape(*total.shape[:3], -1)


def kernel_gradient(x, dy, kernel_size, strides=(1, 1), dilation=(1, 1)):
    """The definition, in float64: one sum over positions for each tap; `x` is padded already."""
    x, dy = np.asarray(x, np.float64), np.asarray(dy, np.float64)
    taps = np.zeros((*kernel_size, x.shape[-1], dy.shape[-1]))
    for tap in np.ndindex(*kernel_size):
        taps[tap] = np.tensordot(_seen(x, tap, dy.shape[1:3], strides, dilation), dy, axes=((0, 1, 2), (0, 1, 2)))
    return taps


def _seen(x, tap, size, strides, dilation):
    """The pixels that a tap (row, column) sees, for an output of this size."""
    starts = [place * d for place, d in zip(tap, dilation)]
    rows, columns = (slice(start, start + (n - 1) * s + 1, s) for start, n, s in zip(starts, size, strides))
    return x[:, rows, columns]


def assert_close(given, expected, tolerance=2e-6):
    """Equal within `tolerance` of the largest value: the rounding of float32 sums by default."""
    given, expected = np.asarray(given, np.float64), np.asarray(expected, np.float64)
    assert given.shape == expected.shape
    np.testing.assert_allclose(given, expected, rtol=0, atol=tolerance * max(np.abs(expected).max(initial=0), 1e-30))


def assert_rounded_once(given, expected):
    """bfloat16, as exact as its 8 bits; what nearly cancels out, within the rounding of Winograd's sums in float32."""
    assert given.dtype == jnp.bfloat16
    np.testing.assert_allclose(np.asarray(given, np.float64), expected, rtol=2**-8, atol=2e-3)


def value_and_gradients(apply, *arguments):
    """`apply(*arguments)` and its gradients with respect to all arguments, for one random cotangent."""
    y, pull = jax.vjp(apply, *arguments)
    cotangent = jnp.asarray(normal(*y.shape, seed=7), y.dtype)
    return y, pull(cotangent)


def assert_same(apply, reference, *arguments, tolerance=2e-6):
    """Values and gradients with respect to all arguments agree, and have the types of the reference."""
    both = jax.jit(lambda *arguments: [jax.tree.leaves(value_and_gradients(f, *arguments)) for f in (apply, reference)])
    given, expected = both(*arguments)
    assert [leaf.dtype for leaf in given] == [leaf.dtype for leaf in expected]
    for a, b in zip(given, expected, strict=True):
        assert_close(a, b, tolerance)
