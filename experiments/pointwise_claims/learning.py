"""A training loop that is as short as it can be."""

from collections.abc import Callable, Iterator

import jax
import optax


def train(loss: Callable, variables: dict, batches: Iterator, steps: int, learning_rate: float) -> tuple[dict, list[float]]:
    """Adam on `loss(variables, *batch) -> (value, batch_stats)`, one-cycle learning rate.

    Args:
        loss: gives the value, and the new "batch_stats" of the variables (the same ones where there are none).
        variables: with the collection "params", and "batch_stats" where the network has them.
        batches: at least `steps` tuples of arrays.
        steps: updates of the parameters.
        learning_rate: the highest rate.

    Returns:
        The trained variables and the losses.
    """
    optimizer = optax.adam(optax.cosine_onecycle_schedule(steps, learning_rate, 0.2))
    state, losses = optimizer.init(variables["params"]), []

    @jax.jit
    def step(variables, state, *batch):
        def of(params):
            return loss(variables | {"params": params}, *batch)

        (value, stats), gradient = jax.value_and_grad(of, has_aux=True)(variables["params"])
        updates, state = optimizer.update(gradient, state)
        params = optax.apply_updates(variables["params"], updates)
        return variables | {"params": params} | stats, state, value

    for _, batch in zip(range(steps), batches):
        variables, state, value = step(variables, state, *batch)
        losses.append(value)
    return variables, [float(value) for value in losses]
