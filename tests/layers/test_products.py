"""Products whose sums over positions are exchanged: the values and derivatives of the plain ones, and the order itself."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import export

from fcn.kernels.products import multiply, sum_over_positions
from tests.layers.references import assert_close, normal

CASES = [(70, 9, 4), (70, 4, 9), (63, 9, 4)]
"""Positions, channels and features: exchanged; not, for more features than channels; not, for few positions."""


@pytest.mark.parametrize(("positions", "channels", "features"), CASES)
@pytest.mark.parametrize("stack", [(), (6,)])
def test_sums(stack, positions, channels, features):
    x, y = normal(*stack, positions, channels), normal(*stack, positions, features, seed=1)
    expected = np.einsum("...pc,...po->...co", x.astype(np.float64), y.astype(np.float64))
    assert_close(jax.jit(sum_over_positions)(x, y), expected)


def loss(product):
    return lambda x, kernel: jnp.sum(jnp.sin(product(x, kernel)))


@pytest.mark.parametrize(("positions", "channels", "features"), CASES)
@pytest.mark.parametrize("by", [(0,), (1,), (0, 1)])
def test_gradients(positions, channels, features, by):
    arguments = normal(positions, channels), normal(channels, features, seed=1)
    given = jax.jit(jax.value_and_grad(loss(multiply), by))(*arguments)
    expected = jax.jit(jax.value_and_grad(loss(jnp.matmul), by))(*arguments)
    jax.tree.map(assert_close, given, expected)


def test_second_derivatives_forward_mode_and_vmap():
    x, kernel = normal(70, 9), normal(9, 4, seed=1)
    for transform in (
        lambda function: jax.hessian(function, 1),
        lambda function: jax.grad(lambda x, kernel: jnp.sum(jax.grad(function)(x, kernel) ** 2), 1),
        lambda function: lambda x, kernel: jax.jvp(function, (x, kernel), (2 * x, 3 * kernel)),
        lambda function: lambda x, kernel: jax.vmap(jax.grad(function, 1), (0, None))(jnp.stack([x, 2 * x]), kernel),
    ):
        given, expected = (jax.jit(transform(loss(product)))(x, kernel) for product in (multiply, jnp.matmul))
        jax.tree.map(lambda a, b: assert_close(a, b, 1e-5), given, expected)


def test_any_number_of_positions():
    (positions,) = export.symbolic_shape("positions")
    gradient = jax.jit(jax.grad(loss(multiply), 1))
    exported = export.export(gradient)(jax.ShapeDtypeStruct((positions, 9), jnp.float32), normal(9, 4))
    for count in (3, 70):
        assert_close(exported.call(normal(count, 9), normal(9, 4)), gradient(normal(count, 9), normal(9, 4)))


@pytest.mark.skipif(jax.default_backend() != "cpu", reason="accelerators keep XLA's order")
@pytest.mark.parametrize(("exchanged", "positions"), [(True, 70), (False, 63)])
def test_few_features_come_first(exchanged, positions):
    """With many positions the product lies in memory as [features, channels]; XLA is kept from exchanging the two again."""
    x = normal(positions, 9)
    by_sum = jax.jit(sum_over_positions).lower(x, normal(positions, 4))
    for program in (by_sum, jax.jit(jax.grad(loss(multiply), 1)).lower(x, normal(9, 4))):
        text, layouts = program.compile().as_text(), ("[4,9]{1,0}", "[9,4]{0,1}", "[9,4]{1,0}")
        product = {layout for layout in layouts if f" f32{layout} dot(" in text}
        assert len(product) == 1
        assert ("[9,4]{1,0}" not in product) == exchanged
