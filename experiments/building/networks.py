"""A network that is ready to be used: from a run, from a saved model, or from published weights."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import flax.linen as nn

import fcn
from experiments.building.initialise import find_weights
from experiments.building.trained import restore
from experiments.configuration.config import DataConfig, ModelConfig, task_keywords
from experiments.runs.facts import read_task
from experiments.runs.run_folder import RunFolder
from fcn import tasks
from fcn.errors import unknown
from fcn.inference import Ensemble, export
from fcn.preprocessing import Preprocessing
from fcn.pretrained import WEIGHTS
from fcn.pretrained.names import channels_of
from fcn.pretrained.networks import all_classes, expected_images, open_network, open_saved, read_names
from fcn.pretrained.saving import load_preprocessing, load_task
from fcn.pretrained.smp import is_smp_folder, smp_model
from fcn.registry import MODELS
from fcn.shipped import located
from fcn.tasks import Task


class Network(NamedTuple):
    """A network, and what its user must know."""

    model: Any
    """A Flax module, or an `Ensemble` of several."""
    variables: dict[str, Any]
    task: Task
    preprocessing: Preprocessing
    data: DataConfig = DataConfig("folder")
    """What it was trained on, if it is known."""
    batch_size: int = 8
    step: int | None = None
    """That of a run's checkpoint."""
    label_ids: tuple[int, ...] | None = None
    """What the training's labels store for each class, where that is another number than its own."""


def from_folder(path: Path, which: str, classes: Path | None = None) -> Network:
    """The network of a run folder (its last or best checkpoint), of one that `fcn.save` or smp's `save_pretrained` wrote, or of
    a file that `experiments.export` wrote; one that comes with the library, by its name.

    smp's does not name its classes: a text file may, with a name on each line; else they are numbered.

    Raises:
      ValueError: classes are given for another folder, or its network does not segment.
    """
    path = located(path)
    if classes is not None and not is_smp_folder(path):
        raise ValueError(f"{path} is no folder of smp's, whose classes --classes names; leave {classes} out")
    if (path / "model.json").is_file() or is_export(path):
        saved = export.load_network(path) if is_export(path) else open_saved(path)
        if saved.classes is None:
            raise ValueError(f"{path} does not name its classes; save the model with classes=...")
        task = saved.task or tasks.make("semantic", saved.classes, palette=saved.palette or ())
        return Network(saved.model, saved.variables, task, expected_images(path, saved), label_ids=saved.label_ids)
    if is_smp_folder(path):
        model = smp_model(path)
        names = [f"class {i}" for i in range(model.num_classes)] if classes is None else read_names(classes)
        return _read(model, str(path), "smp", tasks.make("semantic", names))
    run = restore(RunFolder(path), which)
    known = {"data": run.config.data, "batch_size": run.config.batch_size, "step": run.step, "label_ids": run.label_ids}
    return Network(run.model, run.variables, run.task, run.preprocessing, **known)


def single(network: Network, path: Path) -> Network:
    """The network, unless it is an ensemble.

    Raises:
      ValueError: it is one.
    """
    if isinstance(network.model, Ensemble):
        raise ValueError(f"{path} is an ensemble of {network.model.size} networks; a saved model is one: train one")
    return network


def with_task_options(network: Network, options: Sequence[str]) -> Network:
    """The network with other options of its task, each name=value, such as threshold=0.4."""
    return network._replace(task=tasks.with_options(network.task, **task_keywords(options))) if options else network


def named(name: str, which: str = "last") -> Network:
    """The network of a folder or file, as `from_folder` gives it, or of published weights.

    Raises:
      ValueError: it does not segment, or nothing has that name.
      FileNotFoundError: there is no such folder.
    """
    if Path(name).exists():
        return from_folder(Path(name), which)
    saved = open_network(name)
    task = saved.task or tasks.make("semantic", saved.classes or (), palette=saved.palette or ())
    return Network(saved.model, saved.variables, task, expected_images(name, saved), label_ids=saved.label_ids)


def stored_task(path: Path) -> Task | None:
    """That of a run folder, a saved model or an export, without reading variables; None where nothing tells it."""
    path = located(path)
    if is_export(path):
        return export.stored_task(path)
    if (path / "model.json").is_file():
        return load_task(path)
    run = RunFolder(path)
    return read_task(run.read_facts()) if run.config.is_file() and run.facts.is_file() else None


def stored_preprocessing(path: Path) -> Preprocessing | None:
    """What a network expects, by its record, without reading its variables; None where nothing tells it."""
    path = located(path)
    if is_export(path):
        return export.stored_preprocessing(path)
    if (path / "model.json").is_file():
        return load_preprocessing(path)
    run = RunFolder(path)
    return run.read_preprocessing() if run.config.is_file() and run.facts.is_file() else None


def is_export(path: Path) -> bool:
    """Whether `experiments.export` wrote it, by its name."""
    return path.suffix == export.SUFFIX and path.is_file()


def from_weights(
    config: ModelConfig,
    weights: str,
    source: str | None,
    classes: Path | None,
    task: str = "semantic",
    task_options: Sequence[str] = (),
) -> Network:
    """A segmentation model with published weights or those of a checkpoint file.

    Args:
      config: which model.
      weights: a name of `fcn.pretrained.WEIGHTS` or a checkpoint file.
      source: whose names the file has.
      classes: a text file with the name of a class on each line; published weights know theirs, and objects are "object".
      task: what the channels mean.
      task_options: further fields of the task, each name=value.

    Raises:
      ValueError: an unknown model or task, classes that are not named, or weights of another number of classes.
      FileNotFoundError: there is no such file.
    """
    if config.name not in MODELS:
        raise unknown("model", config.name, MODELS)
    if weights in WEIGHTS and WEIGHTS[weights].classes:
        names = WEIGHTS[weights].classes
    elif weights in WEIGHTS or not Path(weights).exists():
        raise _no_weights(config.name, weights)
    elif Path(weights).is_dir() and not is_smp_folder(weights):
        raise ValueError(f"{weights} is a folder; give that of a run or of a saved model without --model, a file otherwise")
    elif classes is None and issubclass(tasks.find(task), tasks.InstanceTask):
        names = ("object",)
    elif classes is None:
        raise ValueError(f"{weights} does not say what its classes are; name them: --classes FILE, one on each line")
    else:
        names = read_names(classes)
    made = tasks.make(task, names, **task_keywords(task_options))
    model = fcn.create_model(config.name, num_classes=made.channels, encoder=config.encoder, **config.keywords())
    return _read(model, weights, source, made)


def _read(model: nn.Module, weights: str, source: str | None, task: Task) -> Network:
    """The model with all of its weights, for images of as many channels as these have."""
    origin = find_weights(model, weights, source)
    if not origin.whole:
        raise _no_weights(type(model).__name__, weights)
    with all_classes(weights, f"{len(task.classes)} that are named"):
        variables = origin.read(None)
    preprocessing = origin.preprocessing().with_channels(channels_of(model, variables))
    return Network(model, variables, task, preprocessing)


def _no_weights(model: str, weights: str) -> Exception:
    if weights in WEIGHTS or Path(weights).exists():
        return ValueError(f"{weights} has an encoder only, which does not segment; start a training from it: --init {weights}")
    if Path(weights).suffix in (".pth", ".pt", ".th", ".ckpt", ".safetensors", ".npz", ".h5"):
        return FileNotFoundError(f"no file {weights}")
    return unknown(f"weights of {model}", weights, [name for name, row in WEIGHTS.items() if row.classes])
