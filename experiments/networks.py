"""A network that is ready to be used: from a run, from a saved model, or from published weights."""

import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import flax.linen as nn

import fcn
from experiments.build import restore
from experiments.config import DataConfig, ModelConfig
from experiments.initialise import read_weights
from experiments.run_folder import RunFolder
from fcn.errors import unknown
from fcn.preprocessing import Preprocessing, default_preprocessing
from fcn.pretrained import WEIGHTS
from fcn.registry import MODELS
from fcn.visualize import default_palette


class Network(NamedTuple):
    """A network, and what its user must know."""

    model: nn.Module
    variables: dict[str, Any]
    classes: Sequence[str]
    palette: Sequence[Sequence[int]]
    preprocessing: Preprocessing
    data: DataConfig = DataConfig("folder")
    """What it was trained on, if it is known."""
    batch_size: int = 8
    step: int | None = None
    """That of a run's checkpoint."""


def from_folder(path: Path, which: str) -> Network:
    """The network of a run folder (its last or best checkpoint) or of a folder that `fcn.save` wrote."""
    if (path / "model.json").is_file():
        saved = fcn.load(path)
        if saved.classes is None:
            raise ValueError(f"{path} does not name its classes; save the model with classes=...")
        palette = default_palette(len(saved.classes)) if saved.palette is None else saved.palette
        return Network(saved.model, saved.variables, saved.classes, palette, saved.preprocessing or default_preprocessing(3))
    run = restore(RunFolder(path), which)
    known = {"data": run.config.data, "batch_size": run.config.batch_size, "step": run.step}
    return Network(run.model, run.variables, run.classes, run.palette, run.preprocessing, **known)


def from_weights(config: ModelConfig, weights: str, source: str | None, classes: Path | None) -> Network:
    """A segmentation model with published weights or those of a checkpoint file.

    Args:
      config: which model.
      weights: a name of `fcn.pretrained.WEIGHTS` or a checkpoint file.
      source: whose names the file has.
      classes: a text file with the name of a class on each line; published weights know theirs.

    Raises:
      ValueError: an unknown model, classes that are not named, or weights of another number of classes.
      FileNotFoundError: there is no such file.
    """
    if config.name not in MODELS:
        raise unknown("model", config.name, MODELS)
    if weights in WEIGHTS and WEIGHTS[weights].classes:
        names = WEIGHTS[weights].classes
    elif weights in WEIGHTS or not Path(weights).exists():
        raise _no_weights(config.name, weights)
    elif classes is None:
        raise ValueError(f"{weights} does not say what its classes are; name them: --classes FILE, one on each line")
    elif not classes.is_file():
        raise FileNotFoundError(f"no file {classes}")
    else:
        names = tuple(line.strip() for line in classes.read_text().splitlines() if line.strip())
    model = fcn.create_model(config.name, num_classes=len(names), encoder=config.encoder, **config.keywords())
    with warnings.catch_warnings():
        warnings.filterwarnings("error", message="another number of classes")
        try:
            variables = read_weights(model, weights, source, 3)
        except UserWarning:
            raise ValueError(f"{weights} has another number of classes than the {len(names)} that {classes} names") from None
    return Network(model, variables, names, default_palette(len(names)), MODELS[config.name].preprocessing)


def _no_weights(model: str, weights: str) -> Exception:
    if weights in WEIGHTS:
        return ValueError(f"{weights} has an encoder only, which does not segment; start a training from it: --init {weights}")
    if Path(weights).suffix in (".pth", ".pt", ".th", ".ckpt", ".safetensors", ".npz"):
        return FileNotFoundError(f"no file {weights}")
    return unknown(f"weights of {model}", weights, [name for name, row in WEIGHTS.items() if row.classes])
