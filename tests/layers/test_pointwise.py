"""PointwiseConv against `nn.Conv` with kernel size 1, and as a loop over positions."""

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jaxtyping import TypeCheckError

from fcn.layers import PointwiseConv
from tests.layers.references import assert_close, assert_same, normal

SHAPES = [(2, 11, 3), (2, 5, 7, 3), (1, 1, 1, 3), (2, 3, 4, 5, 3)]


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("use_bias", [True, False])
def test_equals_flax(shape, use_bias):
    ours = PointwiseConv(4, use_bias=use_bias)
    theirs = nn.Conv(4, (1,) * (len(shape) - 2), use_bias=use_bias)
    shapes = jax.eval_shape(ours.init, jax.random.key(0), jnp.zeros(shape))
    assert shapes == jax.eval_shape(theirs.init, jax.random.key(0), jnp.zeros(shape))
    values = jax.tree.map(lambda leaf: normal(*leaf.shape, seed=1), shapes)
    assert_same(ours.apply, theirs.apply, values, normal(*shape))


def test_is_a_dense_layer_at_every_position():
    x, kernel, bias = normal(2, 3, 4, 5), normal(1, 1, 5, 6), normal(6)
    y = PointwiseConv(6).apply({"params": {"kernel": kernel, "bias": bias}}, x)
    for position in np.ndindex(2, 3, 4):
        assert_close(y[position], x[position] @ kernel[0, 0] + bias)


def test_without_spatial_axes_and_without_samples():
    layer = PointwiseConv(6)
    values = layer.init(jax.random.key(0), jnp.zeros((2, 5)))
    assert values["params"]["kernel"].shape == (5, 6)
    assert layer.apply(values, jnp.zeros((0, 5))).shape == (0, 6)
    with pytest.raises((ValueError, TypeCheckError), match=r"\(5,\)|\[5\]"):  # the latter where annotations are checked
        layer.init(jax.random.key(0), jnp.zeros(5))


def test_bfloat16():
    """Equal to the float32 result of the rounded inputs, rounded twice (product and sum with the bias): 7 bits."""
    x, kernel, bias = normal(2, 3, 4, 64), normal(1, 1, 64, 6), normal(6)
    values = {"params": {"kernel": kernel, "bias": bias}}
    y = PointwiseConv(6, dtype=jnp.bfloat16).apply(values, x)
    assert y.dtype == jnp.bfloat16
    x, kernel, bias = (np.asarray(jnp.asarray(a, jnp.bfloat16), np.float64) for a in (x, kernel, bias))
    assert_close(y.astype(jnp.float32), x @ kernel[0, 0] + bias, 2**-7)
