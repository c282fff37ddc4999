"""Kernel gradients from shifted output gradients against the definition in float64."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from fcn.kernels.kn2row import kn2row_gradient
from tests.layers.references import assert_close, assert_rounded_once, kernel_gradient, normal, pad

pytestmark = pytest.mark.usefixtures("blocks_of_rows")

ONE = (1, 1)


@pytest.mark.parametrize("channels", [4, 40], ids=["few channels", "many channels"])
@pytest.mark.parametrize(
    ("sides", "kernel_size", "pads", "dilation"),
    [
        ((13, 17), (3, 3), (ONE, ONE), ONE),
        ((1, 1), (3, 3), (ONE, ONE), ONE),
        ((12, 11), (5, 2), ((3, 1), (0, 2)), (2, 3)),
        ((12, 11), (3, 3), ((0, 0), (0, 0)), ONE),
        ((3, 4), (3, 3), ((9, 9), (9, 9)), (9, 9)),
        ((5, 6), (1, 3), ((2, 2), (4, 0)), ONE),
        ((12, 11), (3, 3), ((-1, 2), (1, -1)), ONE),
        ((2, 11), (3, 3), ((0, 0), (1, 1)), ONE),
    ],
)
def test_values(channels, sides, kernel_size, pads, dilation):
    x = normal(2, *sides, channels)
    padded = pad(x, pads)
    size = [n - (k - 1) * d for n, k, d in zip(padded.shape[1:3], kernel_size, dilation)]
    dy = normal(2, *size, 3, seed=1)
    given = jax.jit(lambda x, dy: kn2row_gradient(x, dy, kernel_size, pads, dilation, alone=True))(x, dy)
    assert_close(given, kernel_gradient(padded, dy, kernel_size, ONE, dilation))


@pytest.mark.parametrize("shape", [(0, 5, 6, 4), (2, 0, 6, 4), (2, 0, 6, 40)])
def test_without_pixels_the_gradient_is_zero(shape):
    gradient = kn2row_gradient(jnp.ones(shape), jnp.ones((*shape[:3], 3)), (3, 3), (ONE, ONE), ONE, alone=True)
    np.testing.assert_array_equal(gradient, np.zeros((3, 3, shape[3], 3)))


@pytest.mark.parametrize("channels", [4, 40])
def test_bfloat16_is_summed_in_float32(channels):
    """The result is as exact as its own type: 8 bits."""
    x, dy = (jnp.asarray(a, jnp.bfloat16) for a in (normal(2, 34, 34, channels), normal(2, 32, 32, 8)))
    given = jax.jit(lambda x, dy: kn2row_gradient(x, dy, (3, 3), ((0, 0), (0, 0)), ONE, alone=True))(x, dy)
    assert_rounded_once(given, kernel_gradient(x, dy, (3, 3)))
