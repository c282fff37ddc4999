import contextlib
import math

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from fcn.layers import constant_deviation, fan_in_scaling, he_normal, he_uniform, initialisers, lecun_normal, xavier_uniform
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


def notes_of(*shapes, dtype=jnp.float32):
    with noting():
        return [init(KEY, shape, dtype) for init in (he_normal, he_uniform) for shape in shapes]


MANY = (1500, 1500)
"""More numbers than one thread draws at a time."""


@pytest.mark.parametrize(
    ("context", "dtype"),
    [
        (contextlib.nullcontext(), "float32"),
        (jax.enable_x64(True), "float64"),
        (jax.threefry_partitionable(False), "float32"),
        (jax.default_prng_impl("rbg"), "bfloat16"),
    ],
    ids=["plain", "64 bits", "another split", "another generator"],
)
def test_compiled_is_the_same(context, dtype):
    """Threads draw as their caller would."""
    with context:
        key = jax.random.key(4)
        notes = notes_of((7, 5), (300, 200), MANY, (1,), (5, 0), dtype=jnp.dtype(dtype))
        drawn = draw(key, notes)
        assert {array.dtype for array in drawn} == {jnp.dtype(dtype)}
        for compiled in (jax.jit(lambda key: draw(key, notes))(key), jax.jit(lambda: draw(key, notes))()):
            jax.tree.map(np.testing.assert_array_equal, compiled, drawn)
        assert draw(key, []) == []


@pytest.fixture
def drawn_rows(monkeypatch):
    """How many blocks each run of the program drew, and where."""
    runs, row = [], initialisers._row

    def noted(key, places, *arguments):
        numbers = row(key, places, *arguments)
        runs.append((len(places), numbers.devices()))
        return numbers

    monkeypatch.setattr(initialisers, "_row", noted)
    return runs


@pytest.mark.skipif(jax.device_count() == 1, reason="takes two devices: --xla_force_host_platform_device_count=8")
def test_threads_keep_the_default_device(drawn_rows):
    """With a key that lies on no particular device, the callers' default computes."""
    with jax.default_device(jax.devices()[1]):
        drawn = draw(jax.random.key(0), notes_of(MANY))
    devices = {device for _, there in drawn_rows for device in there}
    assert devices == {jax.devices()[1]} == {device for array in drawn for device in array.devices()}


def test_draws_no_more_than_it_needs(drawn_rows):
    """A program makes one block where one is enough, and all blocks of all large networks with few programs."""
    he_normal(KEY, (3, 3, 4, 5))
    assert [blocks for blocks, _ in drawn_rows] == [1]
    draw(KEY, notes_of((180, 182), (180, 182), (180, 182), (180, 182), MANY))
    assert [blocks for blocks, _ in drawn_rows] == [1, *[64] * 4]


@pytest.mark.skipif(jax.default_backend() != "cpu", reason="on accelerators the parts of an array are copies of it")
def test_arrays_lie_where_they_were_drawn():
    """On a CPU nothing is copied: kernels begin a whole number of blocks apart, as they were drawn."""
    first, second = draw(KEY, notes_of((7, 5), (300, 200)))[:2]
    assert second.unsafe_buffer_pointer() - first.unsafe_buffer_pointer() == 4 * initialisers._BLOCK
