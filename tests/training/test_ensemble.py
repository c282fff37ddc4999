"""Networks that are trained together do what they would do alone."""

import jax
import jax.numpy as jnp
import numpy as np

from fcn.training import ensembled, stacked, unstacked


def step_of(key):
    def step(state, batch):
        noise = jax.random.normal(jax.random.fold_in(key, state["step"]), batch.shape)
        new = {"step": state["step"] + 1, "w": state["w"] - 0.1 * jnp.mean(batch + noise)}
        return new, {"loss": new["w"] ** 2}

    return step


def test_each_network_has_its_own_seed_and_all_see_the_same_batches():
    keys = [jax.random.key(seed) for seed in (5, 6, 7)]
    states = [{"step": jnp.int32(0), "w": jnp.float32(w)} for w in (1, 2, 3)]
    batches = [jnp.float32([1, 2]), jnp.float32([3, 5])]
    step, together = ensembled(step_of, jnp.stack(keys)), stacked(states)
    for batch in batches:
        together, metrics = step(together, batch)
        alone = [step_of(key)(state, batch) for key, state in zip(keys, states)]
        states = [state for state, _ in alone]
        np.testing.assert_allclose(metrics["loss"], np.mean([each["loss"] for _, each in alone]), rtol=1e-6)
    for given, expected in zip(unstacked(together, 3), states, strict=True):
        assert given["step"] == expected["step"] == 2
        np.testing.assert_allclose(given["w"], expected["w"], rtol=1e-6)
