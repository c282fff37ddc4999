"""Attention against its formula."""

from unittest.mock import Mock

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from fcn.kernels.call import Call
from fcn.kernels.table import find
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
    """In 16 bits also where cuDNN computes, which takes heads of 16 features and not of 12.

    bfloat16 rounds scores, weights and results to 8 bits, 2^-9 of up to 3 each; float32's sums of 24 stay below 1e-5.
    """
    arrays = [jnp.asarray(normal(2, count, 3, features, seed=count), dtype) for count in (40, 24, 24)]
    exact = [np.asarray(array, np.float64) for array in arrays]
    y = jax.jit(attend)(*arrays)
    assert y.dtype == dtype
    np.testing.assert_allclose(np.asarray(y, np.float64), formula(*exact), atol=tolerance)


@pytest.mark.parametrize(
    ("capability", "dtype", "queries", "keys", "features", "suits"),
    [
        ("9.0", "bfloat16", 16, 8, 32, True),
        ("8.0", "float16", 16, 8, 128, True),
        ("9.0", "float32", 16, 8, 32, False),
        ("9.0", "bfloat16", 15, 8, 32, False),
        ("9.0", "bfloat16", 16, 7, 32, False),
        ("9.0", "bfloat16", 16, 8, 12, False),
        ("9.0", "bfloat16", 16, 8, 136, False),
        ("7.5", "bfloat16", 16, 8, 32, False),
        ("gfx90a", "bfloat16", 16, 8, 32, False),
    ],
)
def test_what_cudnn_takes(monkeypatch, capability, dtype, queries, keys, features, suits):
    monkeypatch.setattr(jax, "local_devices", lambda: [Mock(spec=jax.Device, compute_capability=capability)])
    query, key = ((2, count, 4, features) for count in (queries, keys))
    assert (find(Call("attention", "attention", "cuda", query, key, key, jnp.dtype(dtype))).algorithm == "cudnn") == suits


@pytest.mark.parametrize(
    ("key", "value", "dtype", "suits"),
    [
        ((2, 8, 6, 16), (2, 8, 6, 16), "float32", True),
        ((2, 8, 6, 16), (2, 8, 6, 16), "bfloat16", False),
        ((2, 8, 3, 16), (2, 8, 3, 16), "float32", False),
        ((1, 8, 6, 16), (1, 8, 6, 16), "float32", False),
        ((2, 8, 6, 16), (2, 8, 6, 1), "float32", False),
        ((8, 6, 16), (8, 6, 16), "float32", False),
    ],
)
def test_where_heads_may_be_apart(key, value, dtype, suits):
    """Where all arrays are alike; others, such as fewer heads of keys, are JAX's own to compute or to refuse."""
    call = Call("attention", "attention", "cpu", (2, 10, 6, 16), key, value, jnp.dtype(dtype))
    assert (find(call).algorithm == "heads apart") == suits


@pytest.mark.parametrize(("dtype", "tolerance"), [("float32", 1e-5), ("bfloat16", 1e-2)])
def test_gradients(dtype, tolerance):
    """Each along itself: by differences of the formula. bfloat16's has the rounding of weights and scores, 2^-8 each."""
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
