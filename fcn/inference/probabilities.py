"""Logits as probabilities, which can be averaged, and back; how uncertain they are."""

import jax
import jax.numpy as jnp
from jax.scipy.special import entr
from jaxtyping import Array, Float

from fcn.tasks import Task

AT_OTHER_SIZES = "let the network see images as they are: --scale 1"


def mode_of(task: Task | None) -> str | None:
    """What makes probabilities of logits: "multiclass" a softmax, "binary" and "multilabel" sigmoids; None: they are values."""
    return "multiclass" if task is None else getattr(task, "mode", None)


def refuse_mean(task: Task | None, instead: str) -> None:
    """Raises where a mean would be taken of what means nothing then.

    Raises:
        ValueError: the task's logits cannot be averaged.
    """
    if task is not None and not task.averages:
        raise ValueError(f"the task {task.name!r} predicts networks, whose mean is none of them; {instead}")


def to_probabilities(logits: Float[Array, "*pixels k"], mode: str | None) -> Float[Array, "*pixels k"]:
    """Probabilities, or the logits themselves where these are values."""
    if mode is None:
        return logits
    return jax.nn.softmax(logits) if mode == "multiclass" else jax.nn.sigmoid(logits)


def to_logits(probabilities: Float[Array, "*pixels k"], mode: str | None) -> Float[Array, "*pixels k"]:
    """Finite logits of these probabilities: for a softmax those whose exponentials add up to 1."""
    if mode is None:
        return probabilities
    least = jnp.finfo(probabilities.dtype).tiny
    logits = jnp.log(jnp.maximum(probabilities, least))
    return logits if mode == "multiclass" else logits - jnp.log(jnp.maximum(1 - probabilities, least))


def entropy(probabilities: Float[Array, "*pixels k"], mode: str | None) -> Float[Array, "*pixels"]:
    """In nats, of the class of a pixel; of several labels, which count as independent, the sum."""
    terms = entr(probabilities)
    return (terms if mode == "multiclass" else terms + entr(1 - probabilities)).sum(-1)
