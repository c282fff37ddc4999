"""What `evaluate --outlines` measures: how well the outlines of each class are found in each image."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from jaxtyping import Integer

from experiments.building.networks import Network
from experiments.prediction.volumes import mean_of
from fcn.data import Prepared
from fcn.inference import Predictor
from fcn.metrics import boundary_f1, boundary_iou, hausdorff_distance
from fcn.text import columns, pad, short_name

MEASURES = {"boundary_f1": boundary_f1, "boundary_iou": boundary_iou, "hd95": hausdorff_distance}
_TITLES = ("boundary F1", "boundary IoU", "HD95 (pixels)")


def added(network: Network, source: Prepared, scores: Sequence[Mapping[str, float | None]]) -> list[dict[str, float | None]]:
    """The scores of the images, with the measures of each class ("hd95/NAME") and their means over classes ("hd95").

    Raises:
      ValueError: the network's task has no classes.
    """
    task = network.task
    if task.name not in ("semantic", "binary", "multilabel"):
        raise ValueError(f"--outlines are those of classes, and the network's task is {task.name!r}; leave it out")
    predictor = Predictor(network.model, network.variables, network.preprocessing.as_read(), task, bucket=None)
    samples = ((known, source[index]) for index, known in enumerate(scores))
    return [{**known, **of_image(task, predictor(sample["image"]), sample["label"])} for known, sample in samples]


def of_image(
    task: Any, predicted: Integer[np.ndarray, "h w *k"], label: Integer[np.ndarray, "h w *k"]
) -> dict[str, float | None]:
    """The measures of an image; None where a class is in neither map, of distances also where it is in one only."""
    valid = (label != task.ignore_index).reshape(*label.shape[:2], -1)
    masks = [np.moveaxis(task.masks(one) & valid, -1, 0) for one in (predicted, label)]
    names = task.classes[-len(masks[0]) :]
    found: dict[str, float | None] = {}
    for measure, function in MEASURES.items():
        values = [function(*pair) for pair in zip(*masks, strict=True)]
        known = [value if np.isfinite(value) else None for value in values]
        found |= {measure: mean_of(known), **{f"{measure}/{name}": value for name, value in zip(names, known, strict=True)}}
    return found


def means(scores: Sequence[Mapping[str, float | None]]) -> dict[str, float | None]:
    """The means of the measures over images, as "val/NAME"."""
    names = [name for name in scores[0] if name.partition("/")[0] in MEASURES]
    return {f"val/{name}": mean_of([row[name] for row in scores]) for name in names}


def table(means: Mapping[str, Any]) -> str:
    """The `means` over images, "val/MEASURE" and "val/MEASURE/CLASS", for a terminal: a line for each class."""
    first = next(iter(MEASURES))
    classes = [name.removeprefix(f"val/{first}/") for name in means if name.startswith(f"val/{first}/")]
    width = max(5, *(columns(short_name(name)) for name in classes))

    def line(title: str, cells: Sequence[str]) -> str:
        return pad(title, width) + "".join(f"{cell:>15}" for cell in cells)

    def numbers(end: str) -> list[str]:
        values = [means[f"val/{measure}{end}"] for measure in MEASURES]
        return ["-" if value is None else f"{value:.3f}" for value in values]

    rows = [line(short_name(name), numbers(f"/{name}")) for name in classes]
    return "\n".join([line("class", _TITLES), *rows, line("mean", numbers(""))])
