"""The kernel gradients as matrix products against the definition in float64."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from fcn.layers import kernel_gradient as forms
from fcn.layers.convolution import cpu_gradient_form
from tests.layers.references import assert_close, kernel_gradient, normal


def pad(x, pads):
    return np.pad(np.asarray(x, np.float64), ((0, 0), *pads, (0, 0)))


@pytest.fixture(params=[1, 30_000], ids=["blocks of one row", "blocks of a few rows"])
def blocks(request, monkeypatch):
    """Loops over many blocks and over few; the eight devices of the tests would ask for one block, as in `test_convolution`."""
    monkeypatch.setattr(jax, "device_count", lambda: 1)
    monkeypatch.setattr(forms, "BLOCK_BYTES", request.param)


@pytest.mark.parametrize(
    ("shape", "features", "kernel_size", "strides", "pads", "dilation"),
    [
        ((2, 13, 17, 5), 7, (3, 3), (1, 1), ((1, 1), (1, 1)), (1, 1)),
        ((1, 1, 1, 2), 3, (3, 3), (1, 1), ((1, 1), (1, 1)), (1, 1)),
        ((2, 10, 9, 3), 4, (3, 3), (2, 2), ((0, 1), (1, 1)), (1, 1)),
        ((1, 12, 11, 3), 4, (5, 2), (1, 3), ((3, 1), (0, 2)), (2, 1)),
    ],
)
def test_im2col(blocks, shape, features, kernel_size, strides, pads, dilation):
    x = normal(*shape)
    padded = pad(x, pads)
    sides = [(n - (k - 1) * d - 1) // s + 1 for n, k, d, s in zip(padded.shape[1:3], kernel_size, dilation, strides)]
    dy = normal(shape[0], *sides, features, seed=1)
    given = jax.jit(lambda x, dy: forms.im2col_gradient(x, dy, kernel_size, strides, pads, dilation))(x, dy)
    assert_close(given, kernel_gradient(padded, dy, kernel_size, strides, dilation))


@pytest.mark.parametrize(
    ("shape", "features", "pads"),
    [
        ((2, 13, 18, 5), 7, ((1, 1), (1, 1))),
        ((1, 1, 1, 2), 3, ((1, 1), (1, 1))),
        ((3, 16, 12, 4), 4, ((0, 0), (0, 0))),
        ((1, 5, 30, 2), 3, ((3, 0), (1, 4))),
    ],
)
def test_winograd(blocks, shape, features, pads):
    x = normal(*shape)
    padded = pad(x, pads)
    dy = normal(shape[0], padded.shape[1] - 2, padded.shape[2] - 2, features, seed=1)
    given = jax.jit(lambda x, dy: forms.winograd_gradient(x, dy, pads))(x, dy)
    # The transforms multiply by up to 8 and divide by up to 24 again: an order of magnitude of rounding.
    assert_close(given, kernel_gradient(padded, dy, (3, 3)), 2e-5)


@pytest.mark.parametrize("form", [forms.winograd_gradient, lambda x, dy: forms.im2col_gradient(x, dy, (3, 3))])
def test_bfloat16_is_summed_in_float32(form):
    """The result is as exact as its own type: 8 bits."""
    x, dy = (jnp.asarray(a, jnp.bfloat16) for a in (normal(2, 34, 34, 4), normal(2, 32, 32, 8)))
    given = jax.jit(form)(x, dy)
    assert given.dtype == jnp.bfloat16
    np.testing.assert_allclose(np.asarray(given, np.float64), kernel_gradient(x, dy, (3, 3)), rtol=2**-8, atol=2e-3)


@pytest.mark.parametrize(
    ("form", "channels", "output", "kernel_size", "strides", "dilation"),
    [
        ("native", 3, (16, 128, 128, 16), (3, 3), (1, 1), (1, 1)),
        ("native", 16, (16, 64, 64, 16), (3, 3), (1, 1), (1, 1)),
        ("winograd", 16, (16, 128, 128, 16), (3, 3), (1, 1), (1, 1)),
        ("winograd", 32, (8, 90, 120, 32), (3, 3), (1, 1), (1, 1)),
        ("native", 512, (8, 5, 7, 512), (3, 3), (1, 1), (1, 1)),
        ("im2col", 3, (8, 256, 256, 64), (3, 3), (1, 1), (1, 1)),
        ("im2col", 64, (8, 90, 120, 64), (5, 5), (1, 1), (1, 1)),
        ("im2col", 64, (8, 90, 120, 64), (3, 3), (1, 1), (2, 2)),
        ("im2col", 3, (8, 128, 128, 64), (7, 7), (2, 2), (1, 1)),
        ("native", 128, (8, 11, 15, 256), (3, 3), (2, 2), (1, 1)),
        ("native", 512, (1, 7, 7, 4096), (7, 7), (1, 1), (1, 1)),
    ],
)
def test_choice(form, channels, output, kernel_size, strides, dilation):
    assert cpu_gradient_form(channels, output, kernel_size, strides, dilation) == form
