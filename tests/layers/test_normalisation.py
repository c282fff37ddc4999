"""BatchNorm and ConvNormRelu against the formulas."""

import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from fcn.layers import BatchNorm, ConvNormRelu, norm_relu
from tests.layers.references import assert_close, convolution, normal


def values(channels):
    variance = np.abs(normal(channels, seed=4)) + 0.5
    return {
        "params": {"scale": normal(channels, seed=1), "bias": normal(channels, seed=2)},
        "batch_stats": {"mean": normal(channels, seed=3), "var": variance},
    }


def normalised(x, mean, variance, variables, epsilon=1e-5):
    x = np.asarray(x, np.float64)
    return (x - mean) / np.sqrt(variance + epsilon) * variables["params"]["scale"] + variables["params"]["bias"]


def test_variables_lie_in_the_modules_own_scope():
    shapes = jax.eval_shape(BatchNorm().init, jax.random.key(0), jnp.zeros((1, 2, 2, 3)))
    assert {k: sorted(v) for k, v in shapes.items()} == {"params": ["bias", "scale"], "batch_stats": ["mean", "var"]}


def test_batch_norm():
    x, variables = 2 * normal(4, 3, 5, 6) + 1, values(6)
    layer = BatchNorm(momentum=0.8)
    stats = variables["batch_stats"]
    assert_close(layer.apply(variables, x), normalised(x, stats["mean"], stats["var"], variables))

    given, new = layer.apply(variables, x, train=True, mutable=["batch_stats"])
    mean, variance = x.mean((0, 1, 2), dtype=np.float64), x.var((0, 1, 2), dtype=np.float64)
    assert_close(given, normalised(x, mean, variance, variables))
    assert_close(new["batch_stats"]["mean"], 0.8 * stats["mean"] + 0.2 * mean)
    assert_close(new["batch_stats"]["var"], 0.8 * stats["var"] + 0.2 * variance)


def test_batch_norm_in_bfloat16_keeps_its_statistics_in_float32():
    x, variables = jnp.asarray(normal(4, 3, 5, 6) + 30, jnp.bfloat16), values(6)
    given, new = BatchNorm(dtype=jnp.bfloat16).apply(variables, x, train=True, mutable=["batch_stats"])
    wide = np.asarray(x, np.float64)
    assert given.dtype == jnp.bfloat16
    assert {leaf.dtype for leaf in jax.tree.leaves(new)} == {np.dtype(np.float32)}
    stats = variables["batch_stats"]
    # E[x^2] - E[x]^2 at a mean of 30: 900 times the rounding of float32.
    assert_close(new["batch_stats"]["var"], 0.9 * stats["var"] + 0.1 * wide.var((0, 1, 2)), 900 * 2e-7)


def test_batch_norm_over_a_pmap_axis():
    x, variables = normal(2, 4, 3, 3, 5), values(5)

    def step(x):
        return BatchNorm(axis_name="data").apply(variables, x, train=True, mutable=["batch_stats"])

    parts, stats = jax.jit(jax.vmap(step, axis_name="data"))(x)
    whole, expected = BatchNorm().apply(variables, x.reshape(8, 3, 3, 5), train=True, mutable=["batch_stats"])
    assert_close(parts.reshape(8, 3, 3, 5), whole)
    for name in ("mean", "var"):
        assert_close(stats["batch_stats"][name][1], expected["batch_stats"][name])


def test_conv_norm_relu():
    layer, x = ConvNormRelu(5, 3, 2, dilation=2), normal(2, 7, 8, 3)
    variables = layer.init(jax.random.key(0), x)
    assert {k: sorted(v) for k, v in variables["params"].items()} == {"bn": ["bias", "scale"], "conv": ["kernel"]}
    given, new = layer.apply(variables, x, train=True, mutable=["batch_stats"])
    assert sorted(new["batch_stats"]) == ["bn"]
    y = np.asarray(convolution(x, variables["params"]["conv"]["kernel"], (2, 2), ((2, 2), (1, 2)), (2, 2)))
    bn = {"params": variables["params"]["bn"]}
    expected = np.maximum(normalised(y, y.mean((0, 1, 2)), y.var((0, 1, 2)), bn), 0)
    assert given.shape == (2, 4, 4, 5)
    assert_close(given, expected, 5e-6)


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"norm": "layer"}, "unknown norm 'layer'; choose one of batch, instance"),
        ({"norm": "data"}, "unknown norm 'data'"),  # an axis_name in the place of a norm
        ({"activation": "leaky"}, "unknown activation 'leaky'; did you mean 'leaky_relu'?"),
    ],
)
def test_another_norm_or_activation_is_refused(symbols, wrong, message):
    """Where annotations are not checked, as they are not in `symbols`."""
    options = {"norm": "batch", "activation": "relu", **wrong}
    with pytest.raises(ValueError, match=re.escape(message)):
        norm_relu(jnp.zeros((1, 2, 2, 3)), train=False, **options)
    with pytest.raises(ValueError, match=re.escape(message)):
        jax.eval_shape(ConvNormRelu(2, **options).init, jax.random.key(0), jnp.zeros((1, 2, 2, 3)))


def test_instance_norm_of_values_far_from_zero():
    """E[x^2] - E[x]^2 would be off by hundredths at a mean of 1000."""
    layer, x = ConvNormRelu(3, 1, norm="instance"), 1000 + normal(2, 6, 5, 3)
    norm = {"scale": normal(3, seed=1), "bias": normal(3, seed=2)}
    variables = {"params": {"conv": {"kernel": np.eye(3, dtype=np.float32)[None, None]}, "norm": norm}}
    wide = x.astype(np.float64)
    statistics = wide.mean((1, 2), keepdims=True), wide.var((1, 2), keepdims=True)
    expected = np.maximum(normalised(x, *statistics, {"params": norm}), 0)
    assert_close(layer.apply(variables, x), expected, 5e-4)
