"""What predict writes of an image: kinds of results, each in the formats that it has."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from PIL import Image

from experiments.prediction.kinds import FORMATS, Format, Kind, chosen
from fcn.instances.objects import collection
from fcn.tasks import Task
from fcn.visualize import indexed
from fcn.visualize.files import Picture

UNCERTAINTY = ("uncertainty.png", "uncertainty.npy")
PROBABILITIES = "probabilities.npy"
_CONTOURS = {"png": "contours.png", "geojson": "contours.geojson", "coco-rle": "coco.json"}
_NO_LABELS = ("overlay.png", "probability.png", "objects.csv")


def endings_of(task: type[Task] | Task, save: Sequence[Kind], formats: Sequence[Format], overlay: bool) -> list[str]:
    """The endings of the files of an image, the one last that tells that it is done.

    Raises:
      ValueError: the task has no such result.
    """
    kinds = chosen(save, formats, overlay)
    if {"probabilities", "uncertainty"} & {*kinds} and getattr(task, "mode", None) is None:
        raise ValueError(f"the task {task.name!r} has no probabilities, nor their uncertainty; save labels or overlay")
    if "contours" in kinds and task.label_kind == "values":
        raise ValueError(f"the task {task.name!r} has values, which have no contours; save labels")
    found = [*UNCERTAINTY] if "uncertainty" in kinds else []
    if "probabilities" in kinds or not save:
        found += [ending for ending in task.suffixes if ending == "probability.png" and "png" in formats]
    found += [PROBABILITIES] if "probabilities" in kinds else []
    if "contours" in kinds:
        found += [ending for each, ending in _CONTOURS.items() if each in formats] or [_CONTOURS["png"]]
    found += [ending for ending in task.suffixes if ending == "overlay.png" and "overlay" in kinds]
    return found + (_label_endings(task, formats) if "labels" in kinds else [])


def _label_endings(task: type[Task] | Task, formats: Sequence[Format]) -> list[str]:
    own = [ending for ending in task.suffixes if ending not in _NO_LABELS]
    if task.label_kind == "values":
        return own
    forms = [each for each in formats if each in FORMATS["labels"]] or ["png"]
    named = [ending if form == "png" else f"{Path(ending).stem}.{form}" for form in forms for ending in own]
    return list(dict.fromkeys(named))


def made(ending: str, found: Mapping[str, Picture], task: Task, image: np.ndarray, scores: np.ndarray, name: str) -> Picture:
    """What goes into the file of an ending.

    Args:
      ending: one of `endings_of`.
      found: what the task gives as it is.
      task, image, scores: of the image.
      name: that of its file.
    """
    if ending in found:
        return found[ending]
    if ending == _CONTOURS["png"]:
        return task.outlined(image, scores)
    if ending == _CONTOURS["geojson"]:
        return lambda: collection([one for objects, parts in task.regions(scores) for one in objects.features(parts)])
    if ending == _CONTOURS["coco-rle"]:
        return lambda: _coco(task, scores, name)
    labels = next(picture for other, picture in found.items() if Path(other).stem == Path(ending).stem)
    return np.asarray(labels) if ending.endswith(".npy") else labels


def _coco(task: Task, scores: np.ndarray, name: str) -> str:
    """One image with its annotations; categories count from 1, as those of `experiments.prediction.coco`."""
    found = [one for objects, parts in task.regions(scores) for one in objects.coco(parts, task.classes)]
    height, width = scores.shape[:2]
    return json.dumps(
        {
            "images": [{"id": 1, "file_name": name, "height": height, "width": width}],
            "categories": [{"id": number, "name": name} for number, name in enumerate(task.classes, 1)],
            "annotations": [{"id": number, "image_id": 1, **one} for number, one in enumerate(found, 1)],
        }
    )


def with_ids(labels: Picture, ids: Sequence[int], colours: np.ndarray) -> Image.Image:
    """Class numbers as the ids that the training's labels have, in the classes' colours."""
    palette = np.zeros((max(ids) + 1, 3), np.uint8)
    palette[list(ids)] = colours
    return indexed(np.asarray(ids, np.uint8)[np.asarray(labels)], palette)
