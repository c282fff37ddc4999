"""max_pool against `nn.max_pool`, and PyTorch's sizes worked out by hand."""

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from fcn.layers import max_pool
from tests.layers.references import assert_same, normal


@pytest.mark.parametrize(
    ("shape", "window", "strides", "padding"),
    [
        ((2, 8, 6, 3), 2, 2, 0),
        ((2, 9, 7, 3), 2, 2, 0),
        ((2, 9, 8, 3), 3, 2, 1),
        ((1, 9, 7, 3), 3, 1, 1),
        ((1, 11, 10, 2), (2, 5), (3, 1), (1, 2)),
        ((1, 1, 1, 2), 3, 2, 1),
    ],
)
def test_equals_flax(shape, window, strides, padding):
    """Values and gradients (no ties here) equal those of `reduce_window` exactly."""
    k, s, p = ((v, v) if isinstance(v, int) else v for v in (window, strides, padding))
    x = np.random.default_rng(0).permutation(np.prod(shape)).reshape(shape).astype(np.float32)

    def reference(x):
        return nn.max_pool(x, k, s, [(side, side) for side in p])

    # Where windows overlap, a gradient is a sum of up to 10 terms.
    assert_same(lambda x: max_pool(x, window, strides, padding=padding), reference, x, tolerance=1e-6)


def test_strides_are_the_window_by_default():
    x = normal(1, 6, 6, 1)
    np.testing.assert_array_equal(max_pool(x, 3), max_pool(x, 3, 3))


@pytest.mark.parametrize(
    ("size", "window", "strides", "padding", "starts"),
    [
        (5, 2, 2, 0, [0, 2, 4]),  # the last window reaches over the border
        (4, 2, 2, 0, [0, 2]),
        (1, 2, 2, 0, [0]),
        (6, 3, 2, 0, [0, 2, 4]),
        (5, 3, 3, 1, [-1, 2]),  # a window at 5 would start in the lower padding
        (3, 2, 2, 1, [-1, 1]),  # the same at 3
        (2, 1, 3, 0, [0]),
    ],
)
def test_ceil_mode(size, window, strides, padding, starts):
    x = normal(1, size, size, 1)
    line = np.concatenate([np.full(8, -np.inf), np.arange(size), np.full(8, -np.inf)])
    indices = [int(max(line[start + 8 : start + 8 + window])) for start in starts]
    by_rank = np.arange(size * size, dtype=np.float32).reshape(1, size, size, 1)
    given = max_pool(by_rank, window, strides, padding=padding, ceil_mode=True)
    np.testing.assert_array_equal(given[0, :, :, 0], np.asarray(indices)[:, None] * size + np.asarray(indices))
    assert max_pool(x, window, strides, padding=padding, ceil_mode=True).shape == given.shape


def test_one_of_equal_values_takes_the_gradient():
    """As in PyTorch, and a sign that the gradient does not depend on equality with the result (see `_larger`)."""
    gradient = jax.grad(lambda x: max_pool(x, 2).sum())(jnp.ones((1, 2, 2, 1)))
    np.testing.assert_array_equal(gradient, np.reshape([1.0, 0, 0, 0], (1, 2, 2, 1)))


def test_types():
    """Integers are padded with their smallest value; NaN is not swallowed; bfloat16 stays what it is."""
    x = jnp.full((1, 3, 3, 1), -100, jnp.int8)
    pooled = max_pool(x, 3, 2, padding=1)
    assert pooled.dtype == jnp.int8
    assert pooled.tolist() == [[[[-100], [-100]], [[-100], [-100]]]]
    assert np.isnan(max_pool(jnp.asarray([[[[jnp.nan], [1.0]], [[2.0], [3.0]]]]))).all()
    assert max_pool(jnp.ones((1, 2, 2, 1), jnp.bfloat16), ceil_mode=True).dtype == jnp.bfloat16


def test_errors():
    x = jnp.zeros((1, 1, 4, 1))
    with pytest.raises(
        ValueError, match=r"a side of 1 with padding 0 has no room for a window of 2; pad it, or take ceil_mode"
    ):
        max_pool(x)
    with pytest.raises(ValueError, match=r"padding=\(2, 2\) must be between 0 and half of window=\(3, 3\)"):
        max_pool(x, 3, padding=2)
