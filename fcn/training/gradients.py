"""The gradient of a loss over a batch: in one piece, or in parts, which take less memory."""

from collections.abc import Callable

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, PyTree

Forward = Callable[[PyTree, PyTree, PyTree, Array], tuple[PyTree, PyTree, PyTree]]
"""(params, model_state, batch, key) -> outputs, targets, new model_state."""
Loss = Callable[[PyTree, PyTree], Float[Array, ""]]
"""(outputs, targets) -> the loss."""
Gradient = tuple[tuple[Array, PyTree], PyTree]
"""(loss, new model_state), gradient: as `jax.value_and_grad(..., has_aux=True)` gives them."""


def gradient(forward: Forward, loss: Loss, params: PyTree, model_state: PyTree, batch: PyTree, key: Array) -> Gradient:
    """The gradient of `loss` over the whole batch with respect to `params`."""

    def loss_fn(params):
        outputs, targets, new = forward(params, model_state, batch, key)
        return loss(outputs, targets), new

    return jax.value_and_grad(loss_fn, has_aux=True)(params)


def gradient_in_parts(
    forward: Forward, loss: Loss, params: PyTree, model_state: PyTree, batch: PyTree, key: Array, *, parts: int
) -> Gradient:
    """That of `gradient`, from one part of the batch after the other.

    The outputs of all parts are computed first and kept, all else is not; the loss and its gradient are those of all outputs
    together, whatever the loss is; then each part is computed once more, and its gradient added (Gao, Zhang, Han, Callan,
    "Scaling Deep Contrastive Learning Batch Size under Memory Limited Setup", RepL4NLP 2021). What differs: BatchNorm takes
    the statistics of a part, and updates its averages with each; dropout draws for each part.

    Args:
      forward, loss, params, model_state, batch, key: as `gradient` takes them.
      parts: into how many the batch is divided, which its size must allow.
    """
    divided = (
        jax.tree.map(lambda x: _divide(x, parts), batch),
        jax.vmap(lambda i: jax.random.fold_in(key, i))(jnp.arange(parts)),
    )

    def outputs_of(state, part):
        outputs, targets, state = forward(params, state, *part)
        return state, (outputs, targets)

    new, found = jax.lax.scan(outputs_of, model_state, divided)
    value, sensitivity = jax.value_and_grad(loss)(*jax.tree.map(_join, found))

    def add(total, part):
        *inputs, cotangents = part
        _, pull = jax.vjp(lambda params: forward(params, model_state, *inputs)[0], params)
        return jax.tree.map(jnp.add, total, *pull(cotangents)), None

    zeros = jax.tree.map(jnp.zeros_like, params)
    total, _ = jax.lax.scan(add, zeros, (*divided, jax.tree.map(lambda x: _divide(x, parts), sensitivity)))
    return (value, new), total


def _divide(x: Array, parts: int) -> Array:
    """[B, ...] -> [parts, B / parts, ...]: each device's images go to all parts alike."""
    return jnp.swapaxes(x.reshape(-1, parts, *x.shape[1:]), 0, 1)


def _join(x: Array) -> Array:
    """Undoes `_divide`."""
    return jnp.swapaxes(x, 0, 1).reshape(-1, *x.shape[2:])
