"""A chain of residual blocks whose sums are computed once, and blocks that are computed in turn."""

import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from fcn.kernels.fusion import sum_in_turn
from fcn.layers import materialize

KERNELS = jax.random.normal(jax.random.key(0), (8, 16, 16)) / 4


def chain(x, kernels, keep=materialize):
    for kernel in kernels:
        x = keep(jax.nn.relu(x + x @ kernel))
    return x


@pytest.mark.parametrize("dtype", [jnp.float32, jnp.bfloat16])
def test_values_and_gradients_are_those_without_it(dtype):
    x = jax.random.normal(jax.random.key(1), (4, 16), dtype)
    kernels = KERNELS.astype(dtype)

    def both(keep):
        return jax.value_and_grad(lambda *a: chain(*a, keep=keep).astype(jnp.float32).sum(), argnums=(0, 1))(x, kernels)

    for got, expected in zip(jax.tree.leaves(both(materialize)), jax.tree.leaves(both(lambda x: x))):
        assert got.dtype == expected.dtype
        np.testing.assert_array_equal(got, expected)


def test_it_can_be_batched_and_differentiated_forward():
    x = jax.random.normal(jax.random.key(1), (3, 4, 16))
    batched = jax.vmap(lambda x: chain(x, KERNELS))(x)  # products of batches may be summed in another order
    np.testing.assert_allclose(batched, chain(x, KERNELS), rtol=1e-5)
    value, tangent = jax.jvp(lambda x: materialize(x * x), (x,), (jnp.ones_like(x),))
    np.testing.assert_array_equal(value, x * x)
    np.testing.assert_array_equal(tangent, 2 * x)


def most_operands(keep):
    program = jax.jit(lambda x, kernels: chain(x, kernels, keep)).lower(jnp.ones((256, 16)), KERNELS).compile().as_text()
    return max(operands.count("%") for operands in re.findall(r" fusion\(([^)]*)\), kind=kLoop", program))


@pytest.mark.skipif(jax.default_backend() != "cpu", reason="accelerators fuse as they like")
def test_no_operation_adds_up_the_blocks_before_it():
    assert most_operands(materialize) <= 3
    assert most_operands(lambda x: x) >= len(KERNELS)  # what it is for


def sum_of_products(x, y):
    return sum_in_turn(lambda rows, x, y: x[rows].T @ y[rows], [slice(0, 3), slice(3, 4), slice(4, 7)], x, y)


def test_a_sum_in_turn_is_the_sum_over_all_blocks():
    x, y = jax.random.normal(jax.random.key(2), (2, 7, 5))
    np.testing.assert_allclose(jax.jit(sum_of_products)(x, y), x.T @ y, rtol=1e-5, atol=1e-6)
    gradient = jax.grad(lambda x: jnp.sum(sum_of_products(x, y) ** 2))(x)
    np.testing.assert_allclose(gradient, 2 * y @ (y.T @ x), rtol=1e-5, atol=1e-6)


@pytest.mark.skipif(jax.default_backend() != "cpu", reason="the order is for CPUs; programs of others look different")
def test_blocks_in_turn_wait_for_the_sum_before_them():
    """Each block but the first is in a conditional whose operand is that sum."""
    program = jax.jit(sum_of_products).lower(*jnp.ones((2, 7, 5))).compile().as_text()
    (first, _), (_, operand) = re.findall(r"%(\S+) = \(?f32\[5,5\]\S* conditional\(\S+ %([^,]+), ", program)
    assert operand == first
