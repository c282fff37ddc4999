"""A network's first variables, the trained ones among them in their place."""

from collections.abc import Callable, Collection, Mapping
from pathlib import Path
from typing import Any

import flax.linen as nn
import jax.numpy as jnp
import numpy as np
from flax.traverse_util import flatten_dict, unflatten_dict
from jaxtyping import Array, Float

from fcn.models.parts.with_encoder import WithEncoder
from fcn.pretrained.origin import as_encoder, find_weights


def init(
    model: nn.Module,
    key: Array | Mapping[str, Array],
    images: Float[Array | np.ndarray, "b *spatial c"],
    *,
    weights: str | Path | Mapping[str, Any] | None = None,
    source: str | None = None,
    tell: Callable[[str], Any] | None = print,
) -> dict[str, Any]:
    """The variables that `model.init(key, images)` gives, with trained ones in place of all that `weights` has.

    Args:
        model: the network: a segmentation model, an encoder or a classifier.
        key: for what is not trained.
        images: of any size, as the network takes them; published weights and checkpoint files are adapted to their channels
            (see `from_torch`). Of saved models and variables for other channels, the first layer is left out.
        weights: a name of `fcn.pretrained.WEIGHTS` or of a network that comes with the library ("nuclei"), a checkpoint file, a
            folder that `fcn.save` or smp's `save_pretrained` wrote, or variables. Those of an encoder go to the encoder.
        source: whose names the tensors of a checkpoint file have (see `from_torch`).
        tell: is given a sentence that says which parts are trained and which are new; None: nobody is told.

    Raises:
        ValueError: an unknown name, weights of another encoder or that do not fit it, no `source` for a file, or none of the
            variables has a place in the model.
        FileNotFoundError: there is no such file or folder.
        ConnectionError: published weights cannot be downloaded.
    """
    variables = dict(model.init(dict(key) if isinstance(key, Mapping) else key, images))
    if weights is None:
        return variables
    if isinstance(weights, Mapping):
        name, given = "what was given", weights
    else:
        name, given = str(weights), find_weights(model, weights, source).read(images.shape[-1])
    placed, told = put_in_place(model, variables, given, name)
    if tell is not None:
        tell(told)
    return placed


def put_in_place(
    model: nn.Module, variables: Mapping[str, Any], given: Mapping[str, Any], name: str
) -> tuple[dict[str, Any], str]:
    """The model's variables with those of `given` in place of all that have their path and shape, and what was done.

    Those that are given may be the encoder's alone; `name` is what they are called. The text says how many arrays are theirs,
    and which parts are new.

    Raises:
        ValueError: none of them has a place in the model.
    """
    old: dict[tuple, Any] = flatten_dict(dict(variables))
    trained = _fitting(variables, _of_model(model, variables, given))
    if not trained:
        raise ValueError(f"{name} has no variable in common with {type(model).__name__}")
    placed = unflatten_dict({path: jnp.asarray(trained.get(path, value), value.dtype) for path, value in old.items()})
    new = ", ".join(_parts_without(old, trained)) or "none"
    return placed, f"starting from {name}: {len(trained)} of {len(old)} arrays; new: {new}"


def _of_model(model: nn.Module, variables: Mapping[str, Any], given: Mapping[str, Any]) -> Mapping[str, Any]:
    """Given variables with the names of the model; they may be its encoder's."""
    if not isinstance(model, WithEncoder):
        return given
    return max((given, as_encoder(given, model)), key=lambda names: len(_fitting(variables, names)))


def _fitting(variables: Mapping[str, Any], given: Mapping[str, Any]) -> dict[tuple, Any]:
    found: dict[tuple, Any] = flatten_dict(dict(given))
    wanted: dict[tuple, Any] = flatten_dict(dict(variables))
    shapes = {path: np.shape(value) for path, value in wanted.items()}
    return {path: found[path] for path, shape in shapes.items() if path in found and np.shape(found[path]) == shape}


def _parts_without(variables: Collection[tuple], trained: Collection[tuple]) -> list[str]:
    """The largest parts of a network that have no trained variable, by path."""
    touched = {path[1:end] for path in trained for end in range(1, len(path) + 1)}
    largest = {
        next((path[1:end] for end in range(2, len(path)) if path[1:end] not in touched), path[1:])
        for path in variables
        if path not in trained
    }
    return sorted(map("/".join, largest))
