import jax
import jax.numpy as jnp
import numpy as np
from scipy.special import erf

from fcn.layers import gelu

PLACES = np.concatenate([np.linspace(-12, 12, 4001), [0.0, 1e-20, -1e-20]])


def test_equals_the_definition():
    """float32: within two roundings of a number near 1, times x; far below 0, where 1 + erf vanishes, no more holds."""
    x = np.float64(np.float32(PLACES))
    exact = 0.5 * x * (1 + erf(x / np.sqrt(2)))
    assert (np.abs(gelu(jnp.asarray(x, jnp.float32)) - exact) <= 2 * 2.0**-23 * np.abs(x)).all()


def test_gradient():
    """P(X <= x) + x p(x), within four roundings of a number near 1."""
    x = np.float64(np.float32(PLACES))
    exact = 0.5 * (1 + erf(x / np.sqrt(2))) + x * np.exp(-(x**2) / 2) / np.sqrt(2 * np.pi)
    assert np.abs(jax.vmap(jax.grad(gelu))(jnp.asarray(x, jnp.float32)) - exact).max() <= 4 * 2.0**-23


def test_bfloat16_is_rounded_once():
    x = jnp.asarray(PLACES, jnp.bfloat16)
    y = gelu(x)
    assert y.dtype == jnp.bfloat16
    np.testing.assert_array_equal(y, gelu(x.astype(jnp.float32)).astype(jnp.bfloat16))
