"""The kernel gradient as a matrix product against the definition in float64."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from fcn.kernels import im2col
from tests.layers.references import assert_close, assert_rounded_once, kernel_gradient, normal, pad


@pytest.fixture(params=[1, 30_000], ids=["blocks of one row", "blocks of a few rows"])
def blocks(request, monkeypatch):
    """Loops over many blocks and over few."""
    monkeypatch.setattr(im2col, "BLOCK_BYTES", request.param)


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
    given = jax.jit(lambda x, dy: im2col.im2col_gradient(x, dy, kernel_size, strides, pads, dilation, alone=True))(x, dy)
    assert_close(given, kernel_gradient(padded, dy, kernel_size, strides, dilation))


def test_without_positions_the_gradient_is_zero(blocks):
    gradient = im2col.im2col_gradient(jnp.ones((1, 2, 5, 2)), jnp.ones((1, 0, 2, 3)), (3, 3), (2, 2), alone=True)
    np.testing.assert_array_equal(gradient, np.zeros((3, 3, 2, 3)))


def test_bfloat16_is_summed_in_float32():
    """The result is as exact as its own type: 8 bits."""
    x, dy = (jnp.asarray(a, jnp.bfloat16) for a in (normal(2, 34, 34, 4), normal(2, 32, 32, 8)))
    given = jax.jit(lambda x, dy: im2col.im2col_gradient(x, dy, (3, 3), alone=True))(x, dy)
    assert_rounded_once(given, kernel_gradient(x, dy, (3, 3)))
