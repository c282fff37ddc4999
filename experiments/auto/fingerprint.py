"""What of a data set decides how to train on it."""

import dataclasses
import os
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
from jaxtyping import Int, Shaped, UInt8

from fcn.data import Prepared
from fcn.data.loading.crops import Size
from fcn.data.loading.samples import NAMES
from fcn.data.source import kind_of, spread

LOOKED_AT = 64
"""Images that are decoded."""
_BACKGROUND = 0.5
"""A first class with such a share is what objects lie on."""


@dataclasses.dataclass(frozen=True)
class Fingerprint:
    """What is known of training images and their labels."""

    size: Size
    """The median height and width."""
    images: int
    classes: int
    channels: int
    """1 where the colours of all images that were decoded are gray."""
    alike: bool = True
    """All images have one size."""
    width: float | None = None
    """How many pixels wide the parts of the median class are, if that is known."""
    uneven: bool = False
    """A tenth of the images is less than half as bright as the middle one."""

    def to_json(self) -> dict[str, Any]:
        """As JSON values."""
        return dataclasses.asdict(self)


def fingerprint(train: Prepared, as_read: bool = False) -> Fingerprint:
    """That of a training split of any sizes; 64 of its images are decoded.

    Args:
      train: the split.
      as_read: channels are as many as are read, also where those images are gray.

    Raises:
      ValueError: it holds signals or volumes.
    """
    if (axes := len(train.shape) - 1) != 2:
        raise ValueError(f"auto plans networks of images, and {train.name} holds {NAMES[axes]}; name a preset or a model")
    sizes = np.array(train.sizes())
    source = train.source
    with ThreadPoolExecutor(min(8, os.cpu_count() or 1)) as pool:
        samples = pool.map(source.__getitem__, spread(len(source), LOOKED_AT))
        seen = [_Seen.of(sample, len(train.classes), kind_of(source)) for sample in samples]
    height, width = np.median(sizes, axis=0)
    bright = [one.bright for one in seen]
    return Fingerprint(
        size=(int(height), int(width)),
        images=len(source),
        classes=len(train.classes),
        channels=1 if not as_read and all(one.gray for one in seen) else train.shape[2],
        alike=bool((sizes == sizes[0]).all()),
        width=class_width(one.areas_and_edges for one in seen if one.areas_and_edges is not None),
        uneven=bool(np.quantile(bright, 0.1) < np.median(bright) / 2),
    )


@dataclasses.dataclass(frozen=True)
class _Seen:
    """What is kept of an image."""

    gray: bool
    bright: float
    areas_and_edges: Int[np.ndarray, "2 k"] | None

    @classmethod
    def of(cls, sample: Any, classes: int, kind: str) -> "_Seen":
        image = sample["image"]
        known = areas_and_edges(sample["label"], classes) if kind == "classes" else None
        return cls(is_gray(image), float(np.percentile(image, 99.8)), known)


def is_gray(image: UInt8[np.ndarray, "h w c"]) -> bool:
    """Whether an image has one channel, or three of the same values."""
    return image.shape[2] == 1 or (image.shape[2] == 3 and bool((image == image[..., :1]).all()))


def areas_and_edges(label: Shaped[np.ndarray, "h w"], classes: int) -> Int[np.ndarray, "2 k"]:
    """Pixels of each class, and sides of pixels where it meets another one; ignored pixels count nowhere."""
    known = (label >= 0) & (label < classes)
    edges = np.zeros(classes, np.int64)
    for a, b in (((slice(1, None),), (slice(None, -1),)), ((slice(None), slice(1, None)), (slice(None), slice(None, -1)))):
        meet = (label[a] != label[b]) & known[a] & known[b]
        for side in (label[a][meet], label[b][meet]):
            edges += np.bincount(side, minlength=classes)
    return np.stack([np.bincount(label[known], minlength=classes), edges])


def class_width(counts: Iterable[Int[np.ndarray, "2 k"]]) -> float | None:
    """How wide the parts of a class are, the median over classes: twice the area by the outline, exact for stripes.

    Classes without outline are left out, and so is a first class that covers half of all, which objects lie on.
    """
    known = list(counts)
    if not known:
        return None
    areas, edges = np.sum(known, axis=0)
    counted = edges > 0
    if counted.sum() > 1 and areas[0] > _BACKGROUND * areas.sum():
        counted[0] = False
    return float(np.median(2 * areas[counted] / edges[counted])) if counted.any() else None
