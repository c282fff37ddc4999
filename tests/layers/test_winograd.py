"""Winograd's convolutions and kernel gradients against the definition in float64."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from fcn.kernels import blocks, winograd
from fcn.parallel import compiler_options
from tests.layers.references import assert_close, assert_rounded_once, exact_convolution, kernel_gradient, normal, pad

pytestmark = pytest.mark.usefixtures("blocks_of_rows")

SHAPES = [
    ((2, 13, 18, 5), 7, ((1, 1), (1, 1))),
    ((1, 1, 1, 2), 3, ((1, 1), (1, 1))),
    ((3, 16, 12, 4), 4, ((0, 0), (0, 0))),
    ((1, 5, 30, 2), 3, ((3, 0), (1, 4))),
]


@pytest.mark.parametrize("along", ["rows", "tiles"])
@pytest.mark.parametrize(("shape", "features", "pads"), SHAPES)
def test_values(along, shape, features, pads):
    """The transforms multiply by up to 4 and divide by up to 6 again: an order of magnitude of rounding."""
    x, kernel = normal(*shape), normal(3, 3, shape[-1], features)
    given = jax.jit(lambda x, kernel: winograd.winograd_convolution(x, kernel, pads, along, alone=True))(x, kernel)
    assert_close(given, exact_convolution(pad(x, pads), kernel), 1e-5)

    dy = normal(*given.shape, seed=1)
    given = jax.jit(lambda x, dy: winograd.winograd_gradient(x, dy, pads, along, alone=True))(x, dy)
    assert_close(given, kernel_gradient(pad(x, pads), dy, (3, 3)), 1e-5)


@pytest.mark.parametrize("along", ["rows", "tiles"])
def test_bfloat16_is_summed_in_float32(along):
    """The result is as exact as its own type: 8 bits."""
    pads = ((0, 0), (0, 0))
    x, dy = (jnp.asarray(a, jnp.bfloat16) for a in (normal(2, 34, 34, 4), normal(2, 32, 32, 8)))
    kernel = jnp.asarray(normal(3, 3, 4, 8), jnp.bfloat16)
    given = jax.jit(lambda x, kernel: winograd.winograd_convolution(x, kernel, pads, along, alone=True))(x, kernel)
    assert_rounded_once(given, exact_convolution(x, kernel))
    given = jax.jit(lambda x, dy: winograd.winograd_gradient(x, dy, pads, along, alone=True))(x, dy)
    assert_rounded_once(given, kernel_gradient(x, dy, (3, 3)))


@pytest.mark.parametrize("along", ["rows", "tiles"])
def test_float64_keeps_its_accuracy(along):
    """The matrices' square roots are not rounded to float32."""
    pads = ((1, 1), (1, 1))
    with jax.enable_x64(True):
        x, kernel = (jnp.asarray(a, jnp.float64) for a in (normal(2, 9, 10, 4), normal(3, 3, 4, 3)))
        given = winograd.winograd_convolution(x, kernel, pads, along, alone=True)
        assert_close(given, exact_convolution(pad(x, pads), kernel), 1e-14)
        gradient = winograd.winograd_gradient(x, given, pads, along, alone=True)
        assert_close(gradient, kernel_gradient(pad(x, pads), given, (3, 3)), 1e-14)


@pytest.mark.parametrize(("along", "largest", "usual"), [("rows", 3e-6, 1.5e-6), ("tiles", 5e-6, 2e-6)])
def test_accuracy_that_the_docstring_states(along, largest, usual):
    """256 channels, relative to the largest result and to the root of the mean square."""
    pads, x, kernel = ((1, 1), (1, 1)), jnp.asarray(normal(1, 24, 24, 256)), jnp.asarray(normal(3, 3, 256, 32))
    expected = exact_convolution(pad(x, pads), kernel)
    error = np.abs(np.asarray(winograd.winograd_convolution(x, kernel, pads, along, alone=True), np.float64) - expected)
    assert error.max() < largest * np.abs(expected).max()
    assert np.sqrt(np.mean(error**2)) < usual * np.sqrt(np.mean(expected**2))


@pytest.mark.skipif(jax.default_backend() != "cpu", reason="the memory is that of XLA's order for CPUs")
@pytest.mark.parametrize("blocks_of_rows", ["one block"], indirect=True)  # this test makes its own
@pytest.mark.parametrize("along", ["rows", "tiles"])
def test_many_blocks_are_transformed_anew(along, monkeypatch):
    """A network's kernel gradients have blocks of their own: the same values, and no transformed image waits for them."""
    monkeypatch.setattr(blocks, "BLOCK_BYTES", 2**20)
    pads, x, kernels = ((1, 1), (1, 1)), normal(1, 66, 64, 16), [normal(3, 3, 16, 16, seed=seed) / 12 for seed in range(4)]

    def gradients(x, kernels):
        maps = [x]
        for kernel in kernels:
            maps.append(jnp.sin(winograd.winograd_convolution(maps[-1], kernel, pads, along, alone=True)))
        dy, found = maps.pop(), []
        while maps:  # as in a network, each waits for those before
            found.append(winograd.winograd_gradient(maps.pop(), dy + sum(map(jnp.sum, found)), pads, along, alone=True))
        return found

    def run(many):
        monkeypatch.setattr(winograd, "MANY_BLOCKS", many)
        step = jax.jit(lambda *arguments: gradients(*arguments), compiler_options=compiler_options(jax.devices()))
        compiled = step.lower(x, kernels).compile()
        return compiled(x, kernels), compiled.memory_analysis().temp_size_in_bytes

    (expected, usual), (given, less) = run(99), run(2)
    jax.tree.map(lambda a, b: assert_close(a, b, 1e-5), given, expected)
    assert less < 0.7 * usual


@pytest.mark.parametrize("blocks_of_rows", ["one block"], indirect=True)
@pytest.mark.parametrize(("rows", "count"), [(1, 1), (16, 2), (17, 3), (17, 4), (128, 5), (64, 8)])
def test_blocks_cover_all_rows_once(rows, count, monkeypatch):
    """Those of the gradient are the convolution's where they are few."""
    monkeypatch.setattr(winograd, "number_of_blocks", lambda rows, total_bytes, alone: count)
    of_convolution, of_gradient = winograd._blocks(rows, 1, True), winograd._blocks(rows, 1, True, of_gradient=True)
    for found in (of_convolution, of_gradient):
        assert [row for start, size in found for row in range(start, start + size)] == list(range(rows))
    assert len(of_convolution) == count
    assert (of_gradient == of_convolution) == (count < winograd.MANY_BLOCKS)
