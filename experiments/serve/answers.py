"""What is answered for an image: its mask, an overlay, or what was found as JSON."""

import base64
import io
import json
from collections.abc import Iterator, Sequence
from typing import Any, Literal, NamedTuple

import numpy as np
from PIL import Image

from experiments.prediction.results import with_ids
from fcn import visualize
from fcn.instances.objects import Objects
from fcn.tasks import InstanceTask, Task

Kind = Literal["mask", "overlay", "json"]
PNG = "image/png"


class Answer(NamedTuple):
    """The body of a response, and its type."""

    body: bytes
    media_type: str


def make_answer(
    kind: Kind,
    task: Task,
    image: np.ndarray,
    scores: np.ndarray,
    *,
    ids: Sequence[int] | None = None,
    with_picture: bool = False,
) -> Answer:
    """What a network found in an image.

    Args:
      kind: "mask": a PNG of class ids in the classes' colours, or of the numbers of objects (16 bits). "overlay": the PNG that
        `experiments.predict` writes. "json": classes or objects with their shares and masks.
      task: what the scores mean.
      image: uint8 [H, W, C].
      scores: those of the task, [H, W, ...].
      ids: the number that stands for each class, 0 to 255; by default 0, 1 ...
      with_picture: JSON holds the image as PNG, for those that cannot show the file that they sent.

    Raises:
      ValueError: the task has no mask of one id a pixel.
    """
    if kind == "mask":
        return Answer(_png(_mask(task, scores, ids)), PNG)
    if kind == "overlay":
        files = task.files(image, scores)
        picture = files["overlay.png"] if "overlay.png" in files else files["values.png"]
        assert isinstance(picture, Image.Image | np.ndarray)  # texts are of tables
        return Answer(_png(picture), PNG)
    found = {"task": task.name, "height": image.shape[0], "width": image.shape[1], **_found(task, scores, ids)}
    if with_picture:
        found["picture"] = f"data:{PNG};base64,{base64.b64encode(_png(visualize.rgb(image))).decode()}"
    return Answer(json.dumps(found, separators=(",", ":")).encode(), "application/json")


def _png(picture: Image.Image | np.ndarray) -> bytes:
    image = picture if isinstance(picture, Image.Image) else Image.fromarray(picture)
    image.save(file := io.BytesIO(), "PNG", compress_level=1)
    return file.getvalue()


def _mask(task: Task, scores: np.ndarray, ids: Sequence[int] | None) -> Image.Image | np.ndarray:
    if task.label_kind in ("masks", "values"):
        what = "a mask for each class" if task.label_kind == "masks" else "values in place of classes"
        raise ValueError(f"the network gives {what}, not one class a pixel; ask for answer=json or answer=overlay")
    if not isinstance(task, InstanceTask):
        return with_ids(np.asarray(task.prediction(scores)).astype(np.uint8), ids or range(len(task.classes)), task.colours)
    found, _ = task.objects(scores)
    if found.max(initial=0) > np.iinfo(np.uint16).max:
        raise ValueError(f"{found.max()} objects were found, of which a mask of 16 bits tells 65535 apart; ask for answer=json")
    return found.astype(np.uint16)


def _found(task: Task, scores: np.ndarray, ids: Sequence[int] | None) -> dict[str, Any]:
    if task.label_kind == "values":
        bands = zip(task.classes, np.moveaxis(scores, -1, 0))
        return {"values": [{"name": name, **_statistics(band)} for name, band in bands]}
    if isinstance(task, InstanceTask):
        return {"objects": list(_objects(*task.objects(scores)))}
    found = np.asarray(task.prediction(scores))
    if task.label_kind == "masks":
        where = ((k, dict(regions(found[..., k])).get(1)) for k in range(len(task.classes)))
    else:
        where = regions(found)
    numbers = ids if ids and task.label_kind == "classes" else range(len(task.classes))
    known = [{"id": k, "name": name, "colour": colour} for k, name, colour in zip(numbers, task.classes, task.palette)]
    return {"classes": [{**known[k], **place} for k, place in where if place]}


def _objects(instances: np.ndarray, objects: Objects) -> Iterator[dict[str, Any]]:
    """Each object in the colour that it has in an overlay."""
    colours, places = visualize.default_palette(25)[1:].tolist(), dict(regions(instances))
    for number, name, score in zip(objects.ids.tolist(), objects.classes, objects.scores.tolist(), strict=True):
        known = {"id": number, "name": f"{name} {number}", "class": name, "score": round(score, 4)}
        yield {**known, "colour": colours[(number - 1) % 24], **places[number]}


def _statistics(values: np.ndarray) -> dict[str, float | None]:
    known = values[np.isfinite(values)]
    return {name: float(getattr(known, name)()) if known.size else None for name in ("min", "max", "mean")}


def regions(ids: np.ndarray) -> Iterator[tuple[int, dict[str, Any]]]:
    """The ids that a map [H, W] holds, from the least, each with its number of pixels, its share and its run-length encoding.

    The encoding is COCO's: lengths of runs outside and inside in turn, the first of them outside, column by column.
    """
    height, width = ids.shape
    flat = ids.ravel(order="F")
    starts = np.flatnonzero(np.concatenate([[True], flat[1:] != flat[:-1]]))
    ends = np.append(starts[1:], flat.size)
    order = np.argsort(flat[starts], kind="stable")
    found, first = np.unique(flat[starts][order], return_index=True)
    for number, runs in zip(found.tolist(), np.split(order, first[1:])):
        counts = np.diff(np.concatenate([[0], np.stack([starts[runs], ends[runs]], 1).ravel(), [flat.size]]))
        pixels = int((ends[runs] - starts[runs]).sum())
        counts = counts if counts[-1] else counts[:-1]
        yield (
            number,
            {
                "pixels": pixels,
                "share": pixels / flat.size,
                "rle": {"size": [height, width], "counts": counts.tolist()},
            },
        )
