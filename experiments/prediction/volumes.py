"""Volumes through a network: what `predict` writes of each, and by what `evaluate` measures it."""

import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Integer
from PIL import Image

from experiments.building.networks import Network
from experiments.prediction.outputs import Done, settled
from experiments.prediction.stages import refusal_of, row_of
from fcn import visualize
from fcn.data import Prepared
from fcn.data.loading.samples import NAMES
from fcn.data.volumes import write_label_volume
from fcn.data.volumes.files import read_case, stem_of
from fcn.data.volumes.layout import channel_files, volumes_in
from fcn.data.volumes.resampling import size_at
from fcn.data.volumes.values import scaled
from fcn.inference import VolumePredictor
from fcn.inference.files import Files
from fcn.metrics.surfaces import hausdorff_distance
from fcn.text import printable, short_name
from fcn.visualize.files import save_pictures

MASK, SLICES = "mask.nii.gz", "slices.png"


def planned(
    inputs: Sequence[Path], out: Path, overlay: bool, done: Done, slices: bool = False, joined: bool = False
) -> list[Files]:
    """The files to write for each volume: NAME_mask.nii.gz and NAME_slices.png; of a folder, in its subfolders as there.

    Args:
      inputs: files and folders.
      out: the folder to write to.
      overlay: whether there are pictures.
      done: what becomes of volumes whose files exist.
      slices: the pages of TIFF files are slices.
      joined: CASE_0001 and so on are channels of CASE_0000.

    Raises:
      FileExistsError, FileNotFoundError: as for images.
    """
    endings = [*([SLICES] if overlay else []), MASK]
    named = [pair for given in inputs for pair in _named(given, slices, joined)]
    plans = [Files.named(path, out / place / _case(path), endings) for path, place in dict.fromkeys(named)]
    return settled(plans, out, done)


def predict_all(
    network: Network,
    plans: Sequence[Files],
    tile: str,
    tta: Sequence[str | float] = (),
    others: Sequence[dict[str, Any]] = (),
    rows: list[dict[str, Any]] | None = None,
) -> list[Path]:
    """Writes what is planned, and says of each volume what was found, or why nothing was; gives those that were refused.

    Args:
      tile: as `tile_of` takes it.
      tta: the views that are averaged.
      others: the variables of further networks of an ensemble.
      rows: get of each volume its size, the seconds that predicting it took, and the share of each class.

    Raises:
      ValueError: the network is for images or signals.
    """
    if (axes := network.preprocessing.axes) != 3:
        raise ValueError(f"the network takes {NAMES[axes]}, not volumes")
    predictor = VolumePredictor(network.model, [network.variables, *others], network.preprocessing, network.task)
    see = partial(predictor.scores, tile=tile_of(network, tile), tta=tta)
    return [files.image for files in plans if not _done(see, network, files, [] if rows is None else rows)]


def _named(given: Path, slices: bool, joined: bool) -> Iterator[tuple[Path, Path]]:
    """The volumes that a file or folder stands for, and the folder below the results in which each belongs."""
    if not given.exists():
        raise FileNotFoundError(f"no volume {given}")
    if given.is_file():
        yield given, Path()
        return
    found = list(volumes_in(given, slices, joined))
    if not found:
        raise FileNotFoundError(f"no volumes in {given} (.nii.gz, .nii, .npz, .npy)")
    top = next((given / name for name in ("images", "imagesTr") if (given / name).is_dir()), given)
    yield from ((path, path.relative_to(top).parent) for path in found)


def _case(path: Path) -> str:
    return stem_of(path).removesuffix("_0000")


def _done(see: Callable, network: Network, files: Files, rows: list[dict[str, Any]]) -> bool:
    try:
        print(_predict(see, network, files, rows))
    except Exception as error:
        print(f"error: {refusal_of(error, files.image)}", file=sys.stderr)
        return False
    return True


def _predict(see: Callable, network: Network, files: Files, rows: list[dict[str, Any]]) -> str:
    expected = network.preprocessing
    first = read_case(channel_files(files.image) if expected.channels > 1 else [files.image])
    values = first.values[..., None] if first.values.ndim == 3 else first.values
    if expected.spacing is not None and first.spacing is None:
        raise ValueError(f"{files.image}: its file says no spacing, and the network takes volumes at one; use NIfTI (.nii.gz)")
    size = size_at(values.shape, first.spacing, expected.spacing) if expected.spacing and first.spacing else None
    began = time.perf_counter()
    scores = see(np.asarray(values), size=size)
    seconds = time.perf_counter() - began
    mask = np.asarray(network.task.prediction(scores))
    files.done.parent.mkdir(parents=True, exist_ok=True)
    if SLICES in files.paths:
        shown = scaled(values, expected.per_image, expected.value_range)
        save_pictures({files.paths[SLICES]: Image.fromarray(overlaid(network, shown, mask))})
    write_label_volume(files.done, with_ids(network, mask), files.image)
    rows.append(row_of(files, values.shape, seconds, network.task.figures(scores)))
    return f"{printable(f'{files.image} -> {files.done}')}: {network.task.summary(scores)}"


def overlaid(network: Network, image: np.ndarray, mask: Integer[np.ndarray, "d h w"]) -> np.ndarray:
    """Three slices of a volume, the classes but the first in colour over it."""
    picture, label = visualize.as_pictures(image, np.where(mask == 0, 255, mask))
    return visualize.overlay(picture, label, network.task.colours)


def with_ids(network: Network, mask: Integer[np.ndarray, "d h w"]) -> Integer[np.ndarray, "d h w"]:
    """Class numbers as the ids that the training's labels have."""
    return mask if network.label_ids is None else np.asarray(network.label_ids)[mask]


def tile_of(network: Network, asked: str = "none") -> Any:
    """The blocks in which volumes are seen: those asked for, else as large as the crops of training."""
    if asked == "none":
        return network.data.crop or "auto"
    return "auto" if asked == "auto" else int(asked)


def measured(network: Network, source: Prepared) -> list[dict[str, Any]]:
    """What the network does on each volume: its name as "image", Dice and HD95 (in millimetres) of each class but the first
    ("dice/NAME"), and their means ("dice"); None where a class is nowhere.

    Raises:
      ValueError: the task has no classes that exclude each other.
    """
    task = network.task
    if task.name not in ("semantic", "binary"):
        raise ValueError(f"volumes are measured for the tasks semantic and binary, not for {task.name!r}")
    predictor = VolumePredictor(network.model, network.variables, network.preprocessing, task, as_read=True)
    samples: Any = (source.source[index] for index in range(len(source)))
    return [{"image": sample["name"], **_measured(predictor, network, sample)} for sample in samples]


def _measured(predictor: VolumePredictor, network: Network, sample: Any) -> dict[str, float | None]:
    task = network.task
    found = np.asarray(task.prediction(predictor.scores(sample["image"], tile=tile_of(network))))
    valid, label = sample["label"] != task.ignore_index, sample["label"]
    dice: dict[str, float | None] = {}
    distance: dict[str, float | None] = {}
    for number, name in list(enumerate(task.classes))[1:]:
        predicted, true = (found == number) & valid, (label == number) & valid
        total = int(predicted.sum() + true.sum())
        dice[f"dice/{name}"] = 2 * int((predicted & true).sum()) / total if total else None
        far = hausdorff_distance(predicted, true, spacing=sample["spacing"])
        distance[f"hd95/{name}"] = far if np.isfinite(far) else None
    means = {"dice": mean_of(list(dice.values())), "hd95": mean_of(list(distance.values()))}
    return {**means, **dice, **distance}


def mean_of(values: Sequence[float | None]) -> float | None:
    """That of the values that are known."""
    known = [value for value in values if value is not None]
    return float(np.mean(known)) if known else None


def means_of(rows: Sequence[dict[str, Any]]) -> dict[str, float | None]:
    """The means over volumes, as "val/NAME"."""
    return {f"val/{name}": mean_of([row[name] for row in rows]) for name in rows[0] if name != "image"}


def table(classes: Sequence[str], means: Mapping[str, Any], axes: int = 3) -> str:
    """Dice and HD95 of each class, for a terminal; of volumes it is in millimetres."""
    rows = [f"{'':<24}{'Dice':>8}{'HD95 (mm)' if axes == 3 else 'HD95':>12}"]
    for name, key in [*((short_name(name), f"/{name}") for name in classes[1:]), ("mean", "")]:
        rows.append(f"{name:<24}{_number(means[f'val/dice{key}'], 4):>8}{_number(means[f'val/hd95{key}'], 2):>12}")
    return "\n".join(rows)


def _number(value: float | None, digits: int) -> str:
    return "-" if value is None else f"{value:.{digits}f}"
