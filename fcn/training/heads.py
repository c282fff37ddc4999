"""One loss of the logits of a network and of those of its auxiliary heads."""

import re
from collections.abc import Callable

import jax
from flax.traverse_util import flatten_dict
from jaxtyping import Array, Float, PyTree


def loss_of_heads(
    loss: Callable[[Array], Float[Array, ""]], logits: Array, auxiliary: PyTree, aux_weight: float
) -> Float[Array, ""]:
    """The loss of `logits` plus `aux_weight` times that of each auxiliary head.

    Heads of deep supervision (coarse_1, coarse_2 ...) share the place of `logits` instead: they weigh 1 / 2^i, the logits 1,
    and the weights are divided by their sum (Isensee et al., "nnU-Net", Nature Methods 2021).

    Args:
      loss: logits -> loss.
      logits: those of the network.
      auxiliary: the collection "aux_logits".
      aux_weight: weight of each other head.
    """
    total, weight, others = loss(logits), 1.0, []
    for path, sown in flatten_dict(auxiliary).items():
        losses = [loss(head) for head in jax.tree.leaves(sown)]
        if match := re.fullmatch(r"coarse_(\d+)", path[-1]):
            share = 0.5 ** int(match[1])
            total, weight = total + share * sum(losses), weight + share
        else:
            others += losses
    return total / weight + aux_weight * sum(others)
