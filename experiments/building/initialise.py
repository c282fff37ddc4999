"""What a run starts from: published weights, a file, a saved model or another run."""

from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from experiments.building.trained import restore
from experiments.runs.run_folder import RunFolder
from fcn.preprocessing import Preprocessing
from fcn.pretrained import WEIGHTS, origin
from fcn.pretrained.initialising import put_in_place
from fcn.pretrained.origin import Origin
from fcn.pretrained.smp import is_smp_folder
from fcn.shipped import located
from fcn.training import TrainState, stacked, unstacked


def start_from(
    state: TrainState, model: nn.Module, weights: str, source: str | None, in_channels: int, networks: int = 1
) -> TrainState:
    """`state` with all variables replaced that `weights` has.

    Args:
      state: as `create_state` gives it; its step must be 0.
      model: the network.
      weights: a name of `fcn.pretrained.WEIGHTS`, a folder that `fcn.save` or smp's `save_pretrained` wrote, a run folder, or a
        checkpoint file. Those of a backbone go to the encoder.
      source: whose names a checkpoint file has (see `fcn.from_torch`).
      in_channels: channels of the images.
      networks: how many `state` is of, stacked where there are several; each gets the same weights.

    Raises:
      ValueError: an unknown name, no `source` for a file, or weights that have nothing in common with the model.
      FileNotFoundError: there is no such file or folder.
    """
    given = find_weights(model, weights, source).read(in_channels)
    states = [state] if networks == 1 else unstacked(state, networks)
    placed = [put_in_place(model, one.variables, given, weights) for one in states]
    if jax.process_index() == 0:
        print(placed[0][1])
    started = [_with(one, variables) for one, (variables, _) in zip(states, placed, strict=True)]
    return started[0] if networks == 1 else stacked(started)


def _with(state: TrainState, variables: dict[str, Any]) -> TrainState:
    model_state = {name: value for name, value in variables.items() if name != "params"}
    average = None if state.ema is None else {name: _copies(value) for name, value in variables.items()}
    return state.replace(params=variables["params"], model_state=model_state, ema=average)


def find_weights(model: nn.Module, weights: str, source: str | None) -> Origin:
    """Tells what `weights` is; see `start_from` for the arguments and the errors."""
    run = RunFolder(located(weights))
    others = weights in WEIGHTS or (run.path / "model.json").is_file() or is_smp_folder(run.path)
    if run.config.is_file() and not others:
        return Origin(lambda _: _variables_of(run), run.read_preprocessing)
    if run.path.is_dir() and not others:
        raise FileNotFoundError(f"{run.path} is no saved model or run folder{run.run_of_before()}")
    return origin.find_weights(model, weights, source)


def preprocessing_of(model: nn.Module, weights: str, source: str | None, in_channels: int) -> Preprocessing:
    """What `weights` expect of images, for so many channels; see `start_from` for the arguments."""
    return find_weights(model, weights, source).preprocessing().with_channels(in_channels)


def _variables_of(folder: RunFolder) -> dict[str, Any]:
    run = restore(folder)
    if run.config.ensemble > 1:
        raise ValueError(f"{folder.path} is an ensemble of {run.config.ensemble} networks; start from the run of one")
    return run.variables


def _copies(tree: Any) -> Any:
    """Buffers of their own: those of the state are consumed by the step."""
    return jax.tree.map(jnp.array, tree)
