"""Several networks that are trained together, each from a seed of its own: one program, one batch for all."""

import operator
from collections.abc import Callable, Sequence

import jax
import jax.numpy as jnp
from jaxtyping import Array, Key, PyTree

Step = Callable[[PyTree, PyTree], tuple[PyTree, dict]]


def stacked(states: Sequence[PyTree]) -> PyTree:
    """The states of several networks as one, with a leading axis over them."""
    return jax.tree.map(lambda *leaves: jnp.stack(leaves), *states)


def unstacked(state: PyTree, size: int) -> list[PyTree]:
    """Undoes `stacked`."""
    return [jax.tree.map(operator.itemgetter(number), state) for number in range(size)]


def ensembled(step_of: Callable[[Array], Step], keys: Key[Array, " k"]) -> Step:
    """The training step of several networks.

    Args:
      step_of: key -> the step of a network whose augmentation and dropout come from this key.
      keys: one for each network.

    Returns:
      `(state, batch) -> (state, metrics)` for a `stacked` state; metrics are means over the networks.
    """

    def step(state, batch):
        new, metrics = jax.vmap(lambda key, state: step_of(key)(state, batch))(keys, state)
        return new, jax.tree.map(lambda x: jnp.mean(x, 0), metrics)

    return step
