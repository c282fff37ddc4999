"""Signals through a network: what `predict` writes of each."""

import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from jaxtyping import Float32, Shaped

from experiments.building.networks import Network
from experiments.prediction.outputs import Done, settled
from experiments.prediction.stages import refusal_of
from experiments.prediction.volumes import tile_of, with_ids
from fcn.data.sources.picks import FILE, PickSource
from fcn.data.volumes import read_volume
from fcn.data.volumes.files import stem_of
from fcn.data.volumes.layout import volumes_in
from fcn.data.volumes.values import scaled
from fcn.inference import VolumePredictor
from fcn.inference.files import Files
from fcn.tasks import PickTask
from fcn.text import printable
from fcn.visualize import draw_signal
from fcn.visualize.files import Picture, save_pictures

SIGNAL, MASK = "signal.png", "mask.csv"


class Planned(NamedTuple):
    """The files that are written for a signal, and what reads it."""

    files: Files
    read: Callable[[], np.ndarray]


def planned(inputs: Sequence[Path], out: Path, network: Network, done: Done) -> list[Planned]:
    """What is written for each signal of files and folders: NAME_picks.csv and NAME_picks.png, or NAME_mask.csv and
    NAME_signal.png.

    A folder is searched for signals; of waveforms.npz each of its windows is one.

    Raises:
      FileExistsError, FileNotFoundError: as for images.
      ValueError: the task makes neither picks nor classes, or signals have another sampling rate.
    """
    task = network.task
    if not isinstance(task, PickTask) and task.name not in ("semantic", "binary"):
        raise ValueError(f"signals are predicted by the tasks picks, semantic and binary, not by {task.name!r}")
    endings = task.suffixes if isinstance(task, PickTask) else (SIGNAL, MASK)
    named = [each for given in inputs for each in _signals(given, network)]
    plans = [Planned(Files.named(path, out / name, endings), read) for path, name, read in named]
    chosen = {id(files) for files in settled([plan.files for plan in plans], out, done)}
    return [plan for plan in plans if id(plan.files) in chosen]


def _signals(given: Path, network: Network) -> Iterator[tuple[Path, str, Callable[[], np.ndarray]]]:
    """The file, the name and what reads it of each signal that a path stands for."""
    if not given.exists():
        raise FileNotFoundError(f"no signal {given}")
    many = given / FILE if given.is_dir() else given
    if many.name == FILE and many.is_file():
        source = PickSource(many.parent, "all", picked=False)
        if isinstance(network.task, PickTask):
            network.task.refuse_other_rate(str(many), source.sampling_rate)
        for index, name in enumerate(source.names):
            yield many, name, lambda index=index: source.read(index).values
        return
    found = list(volumes_in(given)) if given.is_dir() else [given]
    if not found:
        raise FileNotFoundError(f"no signals in {given} (.npz, .npy, .csv)")
    for path in found:
        yield path, stem_of(path), lambda path=path: np.asarray(read_volume(path).values)


def predict_all(network: Network, plans: Sequence[Planned], tile: str) -> list[Path]:
    """Writes what is planned, and says of each signal what was found, or why nothing was; gives those that were refused."""
    predictor = VolumePredictor(network.model, network.variables, network.preprocessing, network.task)
    refused = []
    for files, read in plans:
        try:
            print(_predict(predictor, network, files, read(), tile))
        except Exception as error:
            print(f"error: {refusal_of(error, files.image)}", file=sys.stderr)
            refused.append(files.image)
    return refused


def _predict(predictor: VolumePredictor, network: Network, files: Files, values: np.ndarray, tile: str) -> str:
    expected = network.preprocessing
    values = values[:, None] if values.ndim == 1 else values
    scores = predictor.scores(values, tile=tile_of(network, tile))
    found = _found(network, scaled(values, expected.per_image, expected.value_range), scores)
    files.done.parent.mkdir(parents=True, exist_ok=True)
    save_pictures({path: found[ending] for ending, path in files.paths.items()})
    return f"{printable(f'{files.image} -> {files.done}')}: {network.task.summary(scores)}"


def _found(network: Network, signal: Float32[np.ndarray, "l c"], scores: Shaped[np.ndarray, "..."]) -> dict[str, Picture]:
    """What is written, by ending."""
    if isinstance(network.task, PickTask):
        return network.task.files(signal, scores)
    classes = np.asarray(network.task.prediction(scores))
    table = "\n".join(["class", *map(str, with_ids(network, classes)), ""])
    return {SIGNAL: draw_signal(signal, [], classes, network.task.colours), MASK: table}
