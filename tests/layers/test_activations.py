import jax
import jax.numpy as jnp
import numpy as np
from scipy.special import erf

from fcn.layers import gelu

PLACES = np.concatenate([np.linspace(-12, 12, 4001), [0.0, 1e-20, -1e-20]])


def test_equals_the_definition():
    """float32: within a rounding of 1 + erf, times x."""
    exact = 0.5 * PLACES * (1 + erf(PLACES / np.sqrt(2)))
    np.testing.assert_allclose(gelu(jnp.asarray(PLACES, jnp.float32)), exact, rtol=2e-6, atol=1e-6)


def test_gradient():
    """P(X <= x) + x p(x)."""
    exact = 0.5 * (1 + erf(PLACES / np.sqrt(2))) + PLACES * np.exp(-(PLACES**2) / 2) / np.sqrt(2 * np.pi)
    np.testing.assert_allclose(jax.vmap(jax.grad(gelu))(jnp.asarray(PLACES, jnp.float32)), exact, rtol=2e-6, atol=1e-6)


def test_bfloat16_is_rounded_once():
    x = jnp.asarray(PLACES, jnp.bfloat16)
    y = gelu(x)
    assert y.dtype == jnp.bfloat16
    np.testing.assert_array_equal(y, gelu(x.astype(jnp.float32)).astype(jnp.bfloat16))
