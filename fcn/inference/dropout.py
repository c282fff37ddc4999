"""Dropout while a network predicts: a network as many, each of which leaves out other features.

Gal, Ghahramani: "Dropout as a Bayesian Approximation", ICML 2016, section 4.
"""

import contextlib
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from typing import Any, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
from jaxtyping import Array

from fcn.inference.whole import covering_logits

_SIDE = 64
"""Of the image of which is asked whether anything is dropped."""


class Dropout(NamedTuple):
    """How often a network predicts with dropout.

    Attributes:
        samples: so many times; 0: once, without.
        seed: of what is dropped.
    """

    samples: int = 0
    seed: int = 0

    @property
    def keys(self) -> Array:
        """A key for each sample."""
        return jax.random.split(jax.random.key(self.seed), self.samples)


WITHOUT = Dropout()


@contextlib.contextmanager
def dropping(key: Array | None) -> Iterator[Mapping[str, Any]]:
    """Arguments of `model.apply`, in whose calls inside layers of dropout drop features; nothing else is as in training.

    Args:
        key: of what they drop; None: nothing.
    """
    if key is None:
        yield {}
        return
    with nn.intercept_methods(_drop):
        yield {"rngs": {"dropout": key}}


def refuse_without_dropout(model: nn.Module, variables: Mapping[str, Any], channels: int) -> None:
    """Raises ValueError for a network that drops nothing in training. It is traced, not run."""
    found = []

    def note(call, args, kwargs, context):
        if _is_idle(context.module):
            found.append(context.module)
        return call(*args, **kwargs)

    images = jax.ShapeDtypeStruct((1, _SIDE, _SIDE, channels), jnp.float32)
    with nn.intercept_methods(note):
        jax.eval_shape(partial(covering_logits, model), variables, images)
    if not found:
        name = type(model).__name__
        raise ValueError(f"{name} drops nothing as it is, so that all samples were one; leave dropout out, or take an ensemble")


def _drop(call: Callable, args: tuple, kwargs: dict[str, Any], context: Any) -> Any:
    layer = context.module
    if not _is_idle(layer):
        return call(*args, **kwargs)
    active = layer.clone(deterministic=False, parent=None, name=None)
    return active.apply({}, *args, rng=layer.make_rng(layer.rng_collection))


def _is_idle(layer: Any) -> bool:
    """Whether it is a layer of dropout that drops in training only."""
    return isinstance(layer, nn.Dropout) and layer.rate > 0 and bool(layer.deterministic)
