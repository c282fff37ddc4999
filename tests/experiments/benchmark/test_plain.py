"""Plain Flax layers compute what this library's layers compute, by other operations."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import fcn
from experiments.benchmark.plain import plain_layers
from fcn.layers import pooling
from tests.variables import random_variables

CASES = [
    ("unet", {"base_features": 4, "depth": 2}, (1, 24, 36, 3)),
    ("fcn8s", {"encoder": "vgg11", "width_multiplier": 0.0625, "fc_features": 16}, (1, 33, 40, 3)),
    ("deeplabv3plus", {"encoder": "mobilenet_v2"}, (1, 48, 64, 3)),
    ("espnet_c", {"p": 1, "q": 1}, (1, 33, 47, 3)),
    ("linknet", {"encoder": "resnet18"}, (1, 64, 64, 3)),
    ("unet", {"encoder": "mit_b0"}, (1, 64, 64, 3)),
]


@pytest.mark.parametrize(
    ("name", "options", "shape"), CASES, ids=["/".join((name, options.get("encoder", ""))) for name, options, _ in CASES]
)
def test_logits(name, options, shape):
    """In float64 up to the logits: in float32 a MobileNetV2 with random variables loses four of its seven digits."""
    model, double = (fcn.create_model(name, num_classes=5, dtype=dtype, **options) for dtype in (None, jnp.float64))
    variables = random_variables(model, *shape)
    images = np.random.default_rng(0).normal(size=shape)
    with jax.enable_x64(True):
        variables = jax.tree.map(lambda leaf: jnp.asarray(leaf, jnp.float64), variables)
        ours = jax.jit(double.apply)(variables, images)
        with plain_layers():
            plain = jax.jit(lambda v, x: double.apply(v, x))(variables, images)
    assert np.abs(plain - ours).max() <= 1e-6 * np.abs(ours).max()


def test_inside_the_operations_are_plain_and_outside_ours():
    def operations():
        pool = jax.make_jaxpr(lambda x: fcn.models.unet.max_pool(x, 2))(jnp.zeros((1, 4, 4, 1)))
        return {equation.primitive.name for equation in pool.eqns}

    original = pooling.max_pool
    with plain_layers():
        assert "reduce_window_max" in operations()
    assert "reduce_window_max" not in operations()
    assert pooling.max_pool is original is fcn.models.unet.max_pool
