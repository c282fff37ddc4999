"""Max-pooling with places and unpooling against PyTorch's functions."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from fcn.layers import average_pool, max_pool_with_indices, max_unpool
from tests.parity.reference import assert_close, nchw, nhwc, torch

F = torch.nn.functional
CASES = [((8, 6), False), ((9, 6), True), ((8, 7), False), ((9, 7), True), ((3, 3), False), ((1, 4), True)]


def normal(*shape, seed=0):
    return np.random.default_rng([seed, *shape]).normal(size=shape).astype(np.float32)


def pool(x, ceil_mode=False):
    return F.max_pool2d(nchw(x), 2, ceil_mode=ceil_mode, return_indices=True)


@pytest.mark.parametrize(("size", "ceil_mode"), CASES)
def test_values(size, ceil_mode):
    """Pooled values, and what unpooling makes of others at their places."""
    x = np.round(normal(2, *size, 3))  # with ties
    largest, places = jax.jit(max_pool_with_indices, static_argnames="ceil_mode")(x, ceil_mode=ceil_mode)
    expected, indices = pool(x, ceil_mode)
    np.testing.assert_array_equal(largest, nhwc(expected))
    assert places.dtype == jnp.uint8
    y = normal(*largest.shape)
    given = jax.jit(max_unpool, static_argnums=2)(y, places, size)
    np.testing.assert_array_equal(given, nhwc(F.max_unpool2d(nchw(y), indices, 2, output_size=size)))


@pytest.mark.parametrize(("size", "ceil_mode"), CASES[2:4])
def test_gradients(size, ceil_mode):
    """Through pooling and unpooling, with ties; `factor` makes the unpooled values others than the pooled ones."""
    x, weights, inner = np.round(normal(2, *size, 3)), normal(2, *size, 3, seed=1), normal(2, 5, 5, 3)

    def loss(x, inner):
        largest, places = max_pool_with_indices(x, ceil_mode=ceil_mode)
        factor = inner[:, : largest.shape[1], : largest.shape[2]]
        return (max_unpool(largest * factor, places, size) * weights).sum()

    a, b = nchw(x).requires_grad_(True), nchw(inner).requires_grad_(True)
    largest, indices = F.max_pool2d(a, 2, ceil_mode=ceil_mode, return_indices=True)
    factor = b[:, :, : largest.shape[2], : largest.shape[3]]
    (F.max_unpool2d(largest * factor, indices, 2, output_size=size) * nchw(weights)).sum().backward()
    given = jax.jit(jax.grad(loss, argnums=(0, 1)))(x, inner)
    np.testing.assert_array_equal(given[0], nhwc(a.grad))
    np.testing.assert_array_equal(given[1], nhwc(b.grad))


def test_nan_and_types():
    x = np.asarray([[1.0, np.nan], [np.nan, 2.0]], np.float32).reshape(1, 2, 2, 1)
    largest, places = max_pool_with_indices(x)
    expected, indices = pool(x)
    assert np.isnan(largest).all() and expected.isnan().all()
    assert places.item() == indices.item() == 2
    largest, places = max_pool_with_indices(jnp.ones((1, 3, 3, 1), jnp.bfloat16), ceil_mode=True)
    assert largest.dtype == max_unpool(largest, places, (3, 3)).dtype == jnp.bfloat16


def test_errors():
    with pytest.raises(ValueError, match="a map of 4x1 has no room for a window of 2x2; pad it, or take ceil_mode=True"):
        max_pool_with_indices(jnp.zeros((1, 4, 1, 1)))
    with pytest.raises(ValueError, match=r"size=\(6, 4\) does not pool to 2x2"):
        max_unpool(jnp.zeros((1, 2, 2, 1)), jnp.zeros((1, 2, 2, 1), jnp.uint8), (6, 4))


@pytest.mark.parametrize(
    ("size", "window", "strides", "padding"),
    [((8, 6), 2, None, 0), ((9, 8), 3, 2, 1), ((1, 1), 3, 2, 1), ((7, 11), (2, 5), (3, 1), (1, 2))],
)
def test_average_pool(size, window, strides, padding):
    x = normal(2, *size, 3)
    tensor = nchw(x).requires_grad_(True)
    expected = F.avg_pool2d(tensor, window, strides, padding)
    weights = normal(*nhwc(expected).shape)
    (expected * nchw(weights)).sum().backward()

    def loss(x):
        y = average_pool(x, window, strides, padding=padding)
        return (y * weights).sum(), y

    gradient, given = jax.jit(jax.grad(loss, has_aux=True))(x)
    assert_close(given, nhwc(expected), relative=1e-6)
    assert_close(gradient, nhwc(tensor.grad), relative=1e-6)


def test_average_pool_of_bfloat16():
    """Sums are float32: 289 is no bfloat16."""
    mean = jax.jit(average_pool, static_argnums=1)(jnp.ones((1, 17, 17, 1), jnp.bfloat16), 17)
    assert mean.dtype == jnp.bfloat16
    assert mean.item() == 1


def test_average_pool_errors():
    with pytest.raises(ValueError, match="a side of 1 with padding 0 has no room for a window of 2"):
        average_pool(jnp.zeros((1, 4, 1, 1)))
    with pytest.raises(ValueError, match=r"padding=\(2, 2\) must be between 0 and half of window=\(3, 3\)"):
        average_pool(jnp.zeros((1, 4, 4, 1)), 3, padding=2)
