import math

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from fcn.layers import constant_deviation, fan_in_scaling, he_normal, he_uniform, lecun_normal, xavier_uniform
from fcn.layers.initialisers import draw, noting

KEY = jax.random.key(2)
SHAPE = (3, 3, 40, 90)  # two blocks, the second one cut
CASES = [
    (he_normal, nn.initializers.he_normal()),
    (he_uniform, nn.initializers.he_uniform()),
    (lecun_normal, nn.initializers.lecun_normal()),
    (xavier_uniform, nn.initializers.xavier_uniform()),
    (fan_in_scaling(2.0, "normal"), nn.initializers.variance_scaling(2.0, "fan_in", "normal")),
]
NAMES = ["he_normal", "he_uniform", "lecun_normal", "xavier_uniform", "normal"]


@pytest.mark.parametrize(("ours", "flax"), CASES, ids=NAMES)
def test_distribution_is_that_of_flax(ours, flax):
    """Equal quantiles, up to the error of 32,400 draws (at most 0.0053 with a probability of 0.7; four times that)."""
    given, expected = (np.sort(np.ravel(init(jax.random.key(3), SHAPE))) for init in (ours, flax))
    assert given.dtype == np.float32 and len(np.unique(given)) > 0.99 * given.size
    deviation = expected.std()
    for share in (0.01, 0.1, 0.25, 0.5, 0.75, 0.9, 0.99):
        there = np.searchsorted(expected, np.quantile(given, share)) / expected.size
        assert abs(there - share) < 0.02
    assert math.isclose(given.std(), deviation, rel_tol=0.02)
    assert math.isclose(given.max(), expected.max(), rel_tol=0.1 if flax is CASES[-1][1] else 1e-3)


def test_constant_deviation():
    table = constant_deviation(0.02)(jax.random.key(0), (200, 300), jnp.bfloat16)
    assert table.dtype == jnp.bfloat16 and math.isclose(table.astype(jnp.float32).std(), 0.02, rel_tol=0.02)


def test_drawn_together_is_independent():
    """Kernels of one shape, of one distribution or another, have nothing in common; the key decides alone."""
    with noting():
        notes = [init(KEY, (100, 50)) for init in (he_normal, he_uniform, he_normal, he_uniform, lecun_normal)]
    first, again, other = (draw(jax.random.key(seed), notes) for seed in (0, 0, 1))
    jax.tree.map(np.testing.assert_array_equal, first, again)
    rows = np.stack([np.ravel(kernel) for kernel in [*first, *other]])
    assert np.abs(np.corrcoef(rows) - np.eye(len(rows))).max() < 0.06  # four deviations of 5,000 draws


@pytest.mark.parametrize("wide", [False, True])
def test_compiled_is_the_same(wide):
    """With more numbers than one thread draws at a time, and where the types of 64 bits are on for this thread alone."""
    shapes = ((7, 5), (300, 200), (1500, 1500), (1,))
    with jax.enable_x64(wide), noting():
        dtype = jnp.dtype("float64" if wide else "float32")
        notes = [init(KEY, shape, dtype) for init in (he_normal, he_uniform) for shape in shapes]
        drawn = draw(KEY, notes)
        assert {array.dtype for array in drawn} == {dtype}
        jax.tree.map(np.testing.assert_array_equal, jax.jit(lambda key: draw(key, notes))(KEY), drawn)
