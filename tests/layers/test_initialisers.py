import math

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from fcn.layers import fan_in_scaling, he_normal, he_uniform, lecun_normal

SHAPES = [(3, 3, 16, 24), (1, 1, 7, 5), (2, 3, 4, 6, 8), (40, 30)]


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize(
    ("ours", "flax"),
    [
        (he_normal, nn.initializers.he_normal()),
        (he_uniform, nn.initializers.he_uniform()),
        (lecun_normal, nn.initializers.lecun_normal()),
        (fan_in_scaling(2.0, "normal"), nn.initializers.variance_scaling(2.0, "fan_in", "normal")),
    ],
    ids=["he_normal", "he_uniform", "lecun_normal", "normal"],
)
def test_numbers_are_those_of_flax(ours, flax, shape):
    key = jax.random.key(3)
    np.testing.assert_allclose(ours(key, shape), flax(key, shape), rtol=2e-6)


def test_variance_is_scale_over_fan_in():
    kernel = he_normal(jax.random.key(0), (3, 3, 64, 256))
    assert math.isclose(float(jnp.var(kernel)), 2 / (3 * 3 * 64), rel_tol=0.01)
    assert he_normal(jax.random.key(0), (3, 3, 4, 4), jnp.bfloat16).dtype == jnp.bfloat16
