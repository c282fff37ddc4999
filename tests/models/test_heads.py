"""What is applied to logits by name."""

import jax.numpy as jnp
import numpy as np
import pytest

from fcn.models.parts.heads import activate


def test_activations():
    logits = np.random.default_rng(0).normal(size=(2, 3, 4)).astype(np.float32)
    powers = np.exp(logits)
    shares = powers / powers.sum(-1, keepdims=True)
    expected = {None: logits, "identity": logits, "sigmoid": powers / (1 + powers), "tanh": np.tanh(logits)}
    expected |= {"softmax": shares, "softmax2d": shares, "logsoftmax": np.log(shares), jnp.square: logits**2}
    for activation, values in expected.items():
        np.testing.assert_allclose(activate(activation, jnp.asarray(logits)), values, rtol=1e-5, err_msg=str(activation))
    with pytest.raises(ValueError, match="unknown activation 'softmx'; did you mean 'softmax'"):
        activate("softmx", jnp.asarray(logits))
