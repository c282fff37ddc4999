"""What a run starts from: published weights, a file, a saved model or another run."""

from pathlib import Path
from typing import Any

import flax.linen as nn
import jax.numpy as jnp
from flax.traverse_util import flatten_dict, unflatten_dict

import fcn
from fcn.errors import unknown
from fcn.preprocessing import Preprocessing, default_preprocessing
from fcn.pretrained import WEIGHTS, load_weights
from fcn.pretrained.names import SOURCES
from fcn.registry import ENCODERS, MODELS
from fcn.training import TrainState


def start_from(state: TrainState, model: nn.Module, weights: str, source: str | None, in_channels: int) -> TrainState:
    """`state` with all variables replaced that `weights` has.

    Args:
      state: as `create_state` gives it; its step must be 0.
      model: the network.
      weights: a name of `fcn.pretrained.WEIGHTS`, a folder that `fcn.save` wrote, a run folder, or a checkpoint file. Those
        of a backbone go to the encoder.
      source: whose names a checkpoint file has (see `fcn.from_torch`).
      in_channels: channels of the images.

    Raises:
      ValueError: an unknown name, no `source` for a file, or weights that have nothing in common with the model.
      FileNotFoundError: there is no such file or folder.
    """
    given = flatten_dict(read_weights(model, weights, source, in_channels))
    variables = flatten_dict(state.variables)
    taken = {path: given[path] for path in variables if path in given and given[path].shape == variables[path].shape}
    if not taken:
        raise ValueError(f"{weights} has no variable in common with {type(model).__name__}")
    missing = sorted({"/".join(path[1:-1]) for path in variables if path not in taken})
    print(f"starting from {weights}: {len(taken)} of {len(variables)} arrays; new: {', '.join(missing) or 'none'}")
    new = unflatten_dict({path: jnp.asarray(taken.get(path, old), old.dtype) for path, old in variables.items()})
    model_state = {name: value for name, value in new.items() if name != "params"}
    average = None if state.ema is None else {name: _copies(value) for name, value in new.items()}
    return state.replace(params=new["params"], model_state=model_state, ema=average)


def preprocessing_of(model: nn.Module, weights: str, source: str | None, in_channels: int) -> Preprocessing:
    """What `weights` expect of images, for so many channels; see `start_from` for the arguments."""
    path = Path(weights)
    if weights in WEIGHTS:
        row = WEIGHTS[weights]
        record = (MODELS if row.classes else ENCODERS)[row.model].preprocessing
    elif (path / "model.json").is_file():
        record = fcn.load(path).preprocessing or default_preprocessing(in_channels)
    elif (path / "config.json").is_file():
        from experiments.build import read_preprocessing
        from experiments.run_folder import RunFolder

        record = read_preprocessing(RunFolder(path))
    else:
        record = _of_file(model, source)
    return record.with_channels(in_channels)


def _of_file(model: nn.Module, source: str | None) -> Preprocessing:
    """What a checkpoint file of another implementation expects: as published weights of the model, or of its encoder, do."""
    encoder = getattr(model, "encoder", None)
    if encoder is not None and source not in getattr(model, "references", {}):
        return ENCODERS[encoder].preprocessing
    rows = [row for row in MODELS.values() if getattr(row.constructor, "func", row.constructor) is type(model)]
    return rows[0].preprocessing if rows else default_preprocessing(3)


def read_weights(model: nn.Module, weights: str, source: str | None, in_channels: int) -> dict[str, Any]:
    """The variables that `weights` holds, with the names of `model`."""
    path = Path(weights)
    if weights in WEIGHTS:
        if WEIGHTS[weights].classes:
            return load_weights(weights, model=model, in_channels=in_channels)
        encoder = _encoder(model, weights)
        return _as_encoder(load_weights(weights, model=encoder, in_channels=in_channels), model)
    if (path / "model.json").is_file():
        return fcn.load(path).variables
    if (path / "config.json").is_file():
        from experiments.build import restore
        from experiments.run_folder import RunFolder

        return restore(RunFolder(path)).variables
    if path.is_file():
        if source is None:
            options = "--source, or --init-source of a training"
            raise ValueError(f"{path} is a checkpoint file; say whose names it has ({options}): {', '.join(SOURCES)}")
        if source in getattr(model, "references", {}) or not getattr(model, "encoder", None):
            return fcn.from_torch(model, path, source=source, in_channels=in_channels)
        encoder = fcn.create_encoder(model.encoder)
        return _as_encoder(fcn.from_torch(encoder, path, source=source, in_channels=in_channels), model)
    if path.exists() or len(path.parts) > 1:
        raise FileNotFoundError(f"{path} is no checkpoint file, saved model or run folder")
    raise unknown("weights", weights, WEIGHTS)


def _encoder(model: nn.Module, weights: str) -> nn.Module:
    """The encoder of `model`, at full depth, if the weights are for it."""
    name = getattr(model, "encoder", None)
    if name != WEIGHTS[weights].model:
        raise ValueError(f"{weights} is for the encoder {WEIGHTS[weights].model}, but the model's encoder is {name}")
    return fcn.create_encoder(name)


def _as_encoder(variables: dict[str, Any], model: nn.Module) -> dict[str, Any]:
    name = getattr(model, "encoder_name", "encoder")
    return {collection: {name: values} for collection, values in variables.items()}


def _copies(tree: Any) -> Any:
    """Buffers of their own: those of the state are consumed by the step."""
    return unflatten_dict({path: jnp.array(value) for path, value in flatten_dict(tree).items()})
