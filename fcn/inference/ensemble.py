"""Several networks of one kind as one, whose logits are those of the mean of what they predict."""

import dataclasses
import operator
from collections.abc import Mapping
from typing import Any, cast

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from fcn.inference.probabilities import mode_of, refuse_mean, to_logits, to_probabilities
from fcn.tasks import Task


@dataclasses.dataclass(frozen=True)
class Ensemble:
    """Predicts as one network whose logits are those of the mean of probabilities, or of values, of several.

    Lakshminarayanan, Pritzel, Blundell: "Simple and Scalable Predictive Uncertainty Estimation using Deep Ensembles", NeurIPS
    2017, section 2.4.

    Attributes:
        model: one of the networks.
        task: what the logits mean.
        size: how many networks there are.
    """

    model: nn.Module
    task: Task
    size: int

    def __post_init__(self):
        refuse_mean(self.task, "leave the ensemble out")

    def apply(self, variables: Mapping[str, Any], images: Float[Array | np.ndarray, "b h w c"]) -> Float[Array, "b h2 w2 k"]:
        """Logits of the mean; each variable has a leading axis over the networks."""
        mode = mode_of(self.task)
        each = cast("Array", jax.vmap(self.model.apply, in_axes=(0, None))(variables, images))
        return to_logits(jnp.mean(to_probabilities(each, mode), 0), mode)

    def members(self, variables: Mapping[str, Any]) -> list[Any]:
        """The variables of each network."""
        return [jax.tree.map(operator.itemgetter(number), variables) for number in range(self.size)]

    def __getattr__(self, name: str) -> Any:
        if name != "input_margins":  # which networks of valid convolutions have
            raise AttributeError(f"{type(self).__name__} has no {name}")
        return self.model.input_margins
