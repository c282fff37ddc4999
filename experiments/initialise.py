"""What a run starts from: published weights, a file, a saved model or another run."""

from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
from flax.traverse_util import flatten_dict, unflatten_dict

import fcn
from experiments.run_folder import RunFolder
from experiments.trained import restore
from fcn.errors import unknown
from fcn.preprocessing import Preprocessing, default_preprocessing
from fcn.pretrained import WEIGHTS, load_weights
from fcn.pretrained.names import SOURCES
from fcn.pretrained.reading import check_file
from fcn.pretrained.saving import load_preprocessing
from fcn.pretrained.smp import is_smp_folder
from fcn.registry import ENCODERS, MODELS, entry_of
from fcn.training import TrainState


def start_from(state: TrainState, model: nn.Module, weights: str, source: str | None, in_channels: int) -> TrainState:
    """`state` with all variables replaced that `weights` has.

    Args:
      state: as `create_state` gives it; its step must be 0.
      model: the network.
      weights: a name of `fcn.pretrained.WEIGHTS`, a folder that `fcn.save` or smp's `save_pretrained` wrote, a run folder, or a
        checkpoint file. Those of a backbone go to the encoder.
      source: whose names a checkpoint file has (see `fcn.from_torch`).
      in_channels: channels of the images.

    Raises:
      ValueError: an unknown name, no `source` for a file, or weights that have nothing in common with the model.
      FileNotFoundError: there is no such file or folder.
    """
    given = flatten_dict(find_weights(model, weights, source).read(in_channels))
    variables = flatten_dict(state.variables)
    taken = {path: given[path] for path in variables if path in given and given[path].shape == variables[path].shape}
    if not taken:
        raise ValueError(f"{weights} has no variable in common with {type(model).__name__}")
    missing = sorted({"/".join(path[1:-1]) for path in variables if path not in taken})
    if jax.process_index() == 0:
        print(f"starting from {weights}: {len(taken)} of {len(variables)} arrays; new: {', '.join(missing) or 'none'}")
    new = unflatten_dict({path: jnp.asarray(taken.get(path, old), old.dtype) for path, old in variables.items()})
    model_state = {name: value for name, value in new.items() if name != "params"}
    average = None if state.ema is None else {name: _copies(value) for name, value in new.items()}
    return state.replace(params=new["params"], model_state=model_state, ema=average)


class Origin(NamedTuple):
    """Weights that were found, and not read yet."""

    read: Callable[[int | None], dict[str, Any]]
    """(Channels of the images, or None: as many as the weights have) -> the variables, with the names of the model."""
    preprocessing: Callable[[], Preprocessing]
    """What they expect of images."""
    whole: bool = True
    """They are a whole model's, not those of its encoder."""


def find_weights(model: nn.Module, weights: str, source: str | None) -> Origin:
    """Tells what `weights` is; see `start_from` for the arguments and the errors."""
    path = Path(weights)
    if weights in WEIGHTS:
        return _published(model, weights)
    if (path / "model.json").is_file():
        return Origin(lambda _: fcn.load(path).variables, lambda: load_preprocessing(path) or default_preprocessing(3))
    if is_smp_folder(path):
        return _file(model, path, source or "smp")
    if (path / "config.json").is_file():
        run = RunFolder(path)
        return Origin(lambda _: restore(run).variables, run.read_preprocessing)
    if path.is_file():
        return _file(model, check_file(path), source)
    if path.exists() or len(path.parts) > 1:
        raise FileNotFoundError(f"{path} is no checkpoint file, saved model or run folder{RunFolder(path).run_of_before()}")
    raise unknown("weights", weights, WEIGHTS)


def preprocessing_of(model: nn.Module, weights: str, source: str | None, in_channels: int) -> Preprocessing:
    """What `weights` expect of images, for so many channels; see `start_from` for the arguments."""
    return find_weights(model, weights, source).preprocessing().with_channels(in_channels)


def _published(model: nn.Module, weights: str) -> Origin:
    row = WEIGHTS[weights]
    if row.classes:
        return Origin(
            lambda channels: load_weights(weights, model=model, in_channels=channels), lambda: MODELS[row.model].preprocessing
        )
    name = getattr(model, "encoder", None)
    if name != row.model:
        raise ValueError(f"{weights} is for the encoder {row.model}, but the model's encoder is {name}")

    def read(channels):
        return _as_encoder(load_weights(weights, model=fcn.create_encoder(name), in_channels=channels), model)

    return Origin(read, lambda: ENCODERS[name].preprocessing, whole=False)


def _file(model: nn.Module, path: Path, source: str | None) -> Origin:
    """Of another implementation: it expects what published weights of the model, or of its encoder, do."""
    if source is None:
        options = "--source, or --init-source of a training"
        raise ValueError(f"{path} is a checkpoint file; say whose names it has ({options}): {', '.join(SOURCES)}")
    encoder = getattr(model, "encoder", None)
    if source in getattr(model, "references", {}) or encoder is None:
        row = entry_of(model)
        record = row.preprocessing if row else default_preprocessing(3)
        return Origin(lambda channels: fcn.from_torch(model, path, source=source, in_channels=channels), lambda: record)

    def read(channels):
        return _as_encoder(fcn.from_torch(fcn.create_encoder(encoder), path, source=source, in_channels=channels), model)

    return Origin(read, lambda: ENCODERS[encoder].preprocessing, whole=False)


def _as_encoder(variables: dict[str, Any], model: nn.Module) -> dict[str, Any]:
    name = getattr(model, "encoder_name", "encoder")
    return {collection: {name: values} for collection, values in variables.items()}


def _copies(tree: Any) -> Any:
    """Buffers of their own: those of the state are consumed by the step."""
    return unflatten_dict({path: jnp.array(value) for path, value in flatten_dict(tree).items()})
