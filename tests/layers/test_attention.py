"""Attention against its formula."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from fcn.layers import attend
from tests.layers.references import normal


def formula(query, key, value):
    """In float64, head by head."""
    result = np.zeros(query.shape)
    for n in range(query.shape[0]):
        for head in range(query.shape[2]):
            scores = query[n, :, head] @ key[n, :, head].T / np.sqrt(query.shape[-1])
            weights = np.exp(scores - scores.max(-1, keepdims=True))
            result[n, :, head] = weights / weights.sum(-1, keepdims=True) @ value[n, :, head]
    return result


@pytest.mark.parametrize(("dtype", "tolerance"), [("float32", 1e-5), ("bfloat16", 2e-2)])
@pytest.mark.parametrize("features", [16, 12])
def test_equals_the_formula(dtype, tolerance, features):
    """In 16 bits also where cuDNN computes, which takes heads of 16 features and not of 12."""
    arrays = [jnp.asarray(normal(2, count, 3, features, seed=count), dtype) for count in (40, 24, 24)]
    exact = [np.asarray(array, np.float64) for array in arrays]
    y = jax.jit(attend)(*arrays)
    assert y.dtype == dtype
    np.testing.assert_allclose(np.asarray(y, np.float64), formula(*exact), atol=tolerance)


@pytest.mark.parametrize(("dtype", "tolerance"), [("float32", 1e-5), ("bfloat16", 1e-2)])
def test_gradients(dtype, tolerance):
    """Each along itself: by differences of the formula."""
    arrays = [jnp.asarray(normal(1, count, 2, 8, seed=count), dtype) for count in (10, 8, 8)]
    weight = jnp.asarray(normal(1, 10, 2, 8, seed=5), dtype)
    gradients = jax.jit(jax.grad(lambda *a: jnp.sum((attend(*a) * weight).astype(jnp.float32)), (0, 1, 2)))(*arrays)
    exact, along, weight = ([np.asarray(a, np.float64) for a in some] for some in (arrays, gradients, [weight]))
    for place, direction in enumerate(along):
        values = []
        for step in (1e-5, -1e-5):
            moved = [a + step * direction if i == place else a for i, a in enumerate(exact)]
            values.append(np.sum(formula(*moved) * weight[0]))
        squared = np.sum(direction**2)
        assert abs((values[0] - values[1]) / 2e-5 - squared) <= tolerance * squared
