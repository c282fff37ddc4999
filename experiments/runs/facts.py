"""data.json: what a run knows of its data, by which others use its network, and by which it goes on with the same data only."""

import hashlib
import json
from collections.abc import Iterator
from typing import Any

from experiments.configuration.config import DataConfig, TrainConfig
from fcn import tasks
from fcn.data import Prepared, Source
from fcn.data.loading.sampling import Order, Shuffled
from fcn.data.source import Subset
from fcn.preprocessing import Preprocessing, default_preprocessing, from_json
from fcn.tasks import Task

_MADE_HERE = ("shapes",)
"""Data sets whose files are made on each machine: of the same pixels, but not of the same sizes."""
_SHOWN = 3


def describe(
    data: DataConfig, train: Prepared, val: Prepared, preprocessing: Preprocessing, task: Task, order: Order | None = None
) -> dict[str, Any]:
    """The facts of a run: task, classes, colours, image shape [H, W, C], preprocessing, and, of each split, "files" (their
    sizes in bytes by name) and "label_values" (the class number of what labels store); "sampling" tells the weights of images,
    where they have any, by a hash, "left_out" the numbers of samples that could not be used, where that may be.
    """
    splits, files, values = {"train": train, "val": val}, {}, {}
    for name, split in splits.items():
        files[name] = {} if data.name in _MADE_HERE else _told(split.source, "file_sizes")
        values[name] = _told(split.source, "label_values")
    facts = {
        "task": tasks.to_json(task),
        "classes": list(task.classes),
        "palette": [list(colour) for colour in task.palette],
        "image_shape": list(train.shape),
        "preprocessing": preprocessing.to_json(),
        "label_values": values,
        "files": files,
    }
    if data.skip_bad:
        facts["left_out"] = {name: getattr(split.source, "left_out", ()) for name, split in splits.items()}
    if order is not None and not isinstance(order, Shuffled):
        facts["sampling"] = hashlib.sha256(repr(order).encode()).hexdigest()
    return json.loads(json.dumps(facts))  # as it is read again


def _told(source: Source, what: str) -> dict[str, int]:
    """What a source, or the one that it is a part of, tells of itself; sources need not."""
    while isinstance(source, Subset):
        source = source.source
    return getattr(source, what, dict)()


def read_preprocessing(facts: dict[str, Any], config: TrainConfig) -> Preprocessing:
    """What the network of a run expects of images; older runs do not say it, but their configuration tells."""
    if "preprocessing" in facts:
        return from_json(facts["preprocessing"])
    known = {"size": config.data.size, "value_range": facts.get("value_range")}
    return from_json(default_preprocessing(facts["image_shape"][-1]).to_json() | known)


def read_task(facts: dict[str, Any]) -> Task:
    """What the channels of a run's network mean; older runs do not say it, and are semantic."""
    return tasks.from_json(facts.get("task"), facts["classes"], facts["palette"])


def label_ids(facts: dict[str, Any]) -> tuple[int, ...] | None:
    """What the training's labels store for each class, where that is not its number; labels in colours store none."""
    stored = facts.get("label_values", {}).get("train", {})
    ids = {number: int(value) for value, number in stored.items() if value.isdigit()}
    found = tuple(ids.get(number, -1) for number in range(len(facts["classes"])))
    return found if found != tuple(range(len(found))) and min(found) >= 0 and max(found) < 256 else None


def differences(old: dict[str, Any], new: dict[str, Any]) -> list[str]:
    """How data differ from those that a run recorded, in a few words each; older runs do not know all of it."""
    found = []
    if old["classes"] != new["classes"]:
        found.append(f"classes {', '.join(old['classes'])} -> {', '.join(new['classes'])}")
    if old["image_shape"] != new["image_shape"]:
        found.append(f"image shape {old['image_shape']} -> {new['image_shape']}")
    ranges = [facts.get("preprocessing", facts).get("value_range") for facts in (old, new)]
    if ranges[0] != ranges[1]:
        found.append(f"value range {ranges[0]} -> {ranges[1]}")
    left_out = new.get("left_out")  # perhaps a disk that did not answer; it moves the numbers of all samples behind
    if (before := old.get("left_out", left_out)) != left_out:
        found.append(f"samples that are left out {before} -> {left_out}")
    if old.get("sampling") != new.get("sampling"):
        found.append("how often images are drawn")
    for kind, what in (("label_values", "label value "), ("files", "")):
        for split, known in old.get(kind, {}).items():
            changes = [f"{split}: {what}{text}" for text in _changes(known, new[kind][split])]
            found += changes[:_SHOWN] + ([f"{len(changes) - _SHOWN} more"] if len(changes) > _SHOWN else [])
    return found


def _changes(old: dict[str, Any], new: dict[str, Any]) -> Iterator[str]:
    for name in sorted(old.keys() | new.keys()):
        if name not in new:
            yield f"{name} is missing"
        elif name not in old:
            yield f"{name} is new"
        elif old[name] != new[name]:
            yield f"{name} has changed ({old[name]} -> {new[name]})"
