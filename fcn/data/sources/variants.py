"""Other labels of the built-in data set `shapes`: a sample of each kind that a task may learn from."""

import re
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Int, Shaped

from fcn.data.panoptic import classified
from fcn.data.source import IGNORE, LabelKind, Sample, Source
from fcn.data.sources import scenes
from fcn.visualize import default_palette


class _Variant(NamedTuple):
    classes: tuple[str, ...]
    label: Callable[[Int[np.ndarray, "h w"]], Shaped[np.ndarray, "h w ..."]]
    """From class numbers."""


_TRAITS = {
    "object": scenes.CLASSES[1:],
    "round": ("disc", "ring"),
    "angular": ("square", "triangle", "cross"),
    "convex": ("disc", "square", "triangle"),
}
_STORED_NAME = re.compile(r"(train|val)_(\d+)")
_HAS = np.array([[name in shapes for shapes in _TRAITS.values()] for name in scenes.CLASSES], np.int32)


def _distance(label: Int[np.ndarray, "h w"]) -> Shaped[np.ndarray, "h w 1"]:
    """Pixels to the nearest one of the ground, or of an object of another class; 0 on the ground."""
    from scipy.ndimage import distance_transform_edt

    inside: list[Any] = [distance_transform_edt(label == number) for number in np.unique(label[label > 0])]
    return np.stack([np.zeros(label.shape), *inside]).sum(0, dtype=np.float32)[..., None]


def _objects(name: str) -> Int[np.ndarray, "h w"]:
    """The instance map of a scene, which is drawn anew: its name, "... (train_0012)", tells which it is."""
    split, number = _STORED_NAME.findall(name)[-1]
    return scenes.draw_scene(scenes.SEEDS[split], int(number)).instances.astype(np.int32)


_VARIANTS: dict[LabelKind, _Variant] = {
    "binary": _Variant(("background", "object"), lambda label: (label > 0).astype(np.int32)),
    "masks": _Variant(tuple(_TRAITS), lambda label: _HAS[label]),
    "values": _Variant(("distance",), _distance),
}


class ShapesVariant:
    """The scenes of `shapes` with other labels.

    "binary" tells objects from the ground; "masks" has several traits of an object at once (object, round, angular, convex);
    "values" the distance to the object's edge in pixels; "instances" numbers the objects, one that another hides in parts, too;
    "panoptic" tells their classes as well.

    Args:
        source: `shapes`.
        kind: which labels.
    """

    ignore_index, checked = IGNORE, True

    def __init__(self, source: Source, kind: LabelKind):
        self.source, self.label_kind, self.name = source, kind, source.name
        objects = {"instances": ("object",), "panoptic": scenes.CLASSES[1:]}
        self.classes, self._label = (objects[kind], None) if kind in objects else _VARIANTS[kind]
        self.palette = default_palette(len(self.classes) + (kind in objects))[-len(self.classes) :]

    def __len__(self) -> int:
        return len(self.source)

    def __getitem__(self, index: int) -> Sample:
        sample = self.source[index]
        label = self._numbered(sample) if self._label is None else self._label(sample["label"])
        return {**sample, "label": label}

    def _numbered(self, sample: Sample) -> Int[np.ndarray, "h w"]:
        objects = _objects(sample["name"])
        several = self.label_kind == "panoptic"
        return classified(objects, sample["label"], len(scenes.CLASSES), first=1) if several else objects
