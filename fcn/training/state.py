"""What a training step reads and writes: arrays only."""

import hashlib
from functools import partial
from typing import Any

import flax.linen as nn
import flax.struct
import flax.traverse_util
import jax
import jax.numpy as jnp
import numpy as np
import optax
from jaxtyping import Array, PyTree

from fcn.layers import Network
from fcn.layers.network import initialise

Leaf = Any
"""An array, or what stands for one in a tree of its kind: its shape, its sharding."""


class TrainState(flax.struct.PyTreeNode):
    """Everything that changes from step to step; the model and the optimizer are closed over by the step.

    Attributes:
      step: number of finished steps, int32 scalar.
      params: the model's `"params"` collection.
      model_state: all its other collections, such as `"batch_stats"`.
      opt_state: the optimizer's state.
      ema: exponential moving average of `params` and `model_state` as one variables dict, or None where it is not kept.
    """

    step: Leaf
    params: PyTree
    model_state: PyTree
    opt_state: PyTree
    ema: PyTree = None

    @property
    def updates(self) -> Leaf:
        """Number of steps whose updates were made, as the optimizer counts them."""
        return self.step

    @property
    def variables(self) -> dict:
        """The variables to train: `{"params": ..., "batch_stats": ...}`."""
        return {"params": self.params, **self.model_state}

    @property
    def eval_variables(self) -> dict:
        """The variables to evaluate and use: the moving average where it is kept, else those being trained."""
        return self.variables if self.ema is None else self.ema


class SkippingState(TrainState):
    """A state whose updates are dropped where the loss or the gradient is not finite.

    Attributes:
      skipped: int32 [2], how many were, in all and in a row up to now.
    """

    skipped: Leaf = None

    @property
    def updates(self) -> Leaf:
        """Number of steps whose updates were made, as the optimizer counts them."""
        return self.step - self.skipped[0]


def create_state(
    model: nn.Module,
    tx: optax.GradientTransformation,
    key: Array,
    image_shape: tuple[int, ...],
    *,
    ema: bool = False,
    skip: bool = False,
) -> TrainState:
    """Initialises `model` for images of `image_shape` [H, W, C] (or signals, or volumes) and the optimizer for its parameters.

    Args:
      model, tx, key, image_shape: as said.
      ema: whether an average of the variables is kept.
      skip: whether updates that are not finite are dropped (`SkippingState`).
    """
    init = model.init if isinstance(model, Network) else jax.jit(model.init)
    variables = init(key, jnp.zeros((1, *image_shape)))
    return _first_state(variables, lambda params: initialise(partial(tx.init, params), key), ema, skip)


def abstract_state(
    model: nn.Module,
    tx: optax.GradientTransformation,
    image_shape: tuple[int, ...],
    *,
    ema: bool = False,
    skip: bool = False,
) -> TrainState:
    """Shapes and dtypes of what `create_state` gives, without computing it."""
    images = jnp.zeros((1, *image_shape))
    return jax.eval_shape(lambda key: _first_state(model.init(key, images), tx.init, ema, skip), jax.random.key(0))


def _first_state(variables, init_optimizer, ema, skip):
    params = variables["params"]
    model_state = {name: value for name, value in variables.items() if name != "params"}
    average = jax.tree.map(jnp.array, dict(variables)) if ema else None
    parts = (jnp.zeros((), jnp.int32), params, model_state, init_optimizer(params), average)
    return SkippingState(*parts, jnp.zeros(2, jnp.int32)) if skip else TrainState(*parts)


def parameter_digest(params: PyTree) -> str:
    """SHA-256 over the parameters' bytes, in the sorted order of their paths (`a/b/kernel`)."""
    digest = hashlib.sha256()
    flat = flax.traverse_util.flatten_dict(params, sep="/")
    for path in sorted(flat):
        digest.update(np.ascontiguousarray(jax.device_get(flat[path])).tobytes())
    return digest.hexdigest()
