"""What of a data set decides how to train on it."""

import dataclasses
import os
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any

import numpy as np
from jaxtyping import Int, Shaped

from fcn.data import Prepared
from fcn.data.loading.crops import Size
from fcn.data.loading.samples import NAMES
from fcn.data.source import Source, channel_names, kind_of, spread
from fcn.data.volumes.resampling import size_at

LOOKED_AT = 64
"""Images, or volumes, that are decoded."""
_COARSE = 3
"""Slices that lie so many times as far apart as pixels, and are so many times fewer, keep about their own distance."""
_SAME = 1e-3
"""The share by which spacings differ that are written otherwise."""
_BACKGROUND = 0.5
"""A first class with such a share is what objects lie on."""


@dataclasses.dataclass(frozen=True)
class Fingerprint:
    """What is known of training images and their labels."""

    size: Size
    """The median height and width, or the median sides of volumes at `spacing`."""
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
    spacing: tuple[float, ...] = (1.0, 1.0)
    """Of volumes, the millimetres between voxels along each axis that nnU-Net takes; 1 where files say none."""
    resampled: bool = False
    """Volumes have several spacings, and are brought to that one."""
    ct: bool = False
    """nnU-Net's dataset.json calls all channels CT."""

    @property
    def kind(self) -> str:
        """What the samples are called."""
        return NAMES[len(self.size)]

    @property
    def photos(self) -> bool:
        """Images in colour."""
        return len(self.size) == 2 and self.channels == 3

    def to_json(self) -> dict[str, Any]:
        """As JSON values."""
        return dataclasses.asdict(self)


def fingerprint(train: Prepared, as_read: bool = False) -> Fingerprint:
    """That of a training split of any sizes; 64 of its images, or volumes, are decoded.

    Args:
      train: the split.
      as_read: channels are as many as are read, also where those images are gray.

    Raises:
      ValueError: it holds signals.
    """
    if (axes := len(train.shape) - 1) == 1:
        raise ValueError(f"auto plans networks of images and volumes, and {train.name} holds signals; name a preset or a model")
    source = train.source
    with ThreadPoolExecutor(min(8, os.cpu_count() or 1)) as pool:
        look = partial(_Seen.at, source, len(train.classes))
        seen = list(pool.map(look, spread(len(source), LOOKED_AT)))
    spacing = target_spacing([one.spacing for one in seen], [one.size for one in seen])
    resampled = not np.allclose([one.spacing for one in seen], spacing, rtol=_SAME)
    sizes = np.array([size_at(one.size, one.spacing, spacing) for one in seen] if resampled else train.sizes())
    bright = [one.bright for one in seen]
    gray = axes == 2 and not as_read and all(one.gray for one in seen)
    return Fingerprint(
        size=tuple(map(int, np.median(sizes, axis=0))),
        images=len(source),
        classes=len(train.classes),
        channels=1 if gray else train.shape[-1],
        alike=bool((sizes == sizes[0]).all()),
        width=class_width(one.areas_and_edges for one in seen if one.areas_and_edges is not None),
        uneven=bool(np.quantile(bright, 0.1) < np.median(bright) / 2),
        spacing=spacing,
        resampled=resampled,
        ct={name.lower() for name in channel_names(source)} == {"ct"},
    )


def target_spacing(spacings: Sequence[tuple[float, ...]], sizes: Sequence[Size]) -> tuple[float, ...]:
    """What nnU-Net resamples to: the median along each axis.

    Where slices lie far apart, and are few, it is the finest tenth of their distances, but no finer than pixels.
    """
    target, sides = np.median(spacings, axis=0), np.median(sizes, axis=0)
    worst = int(np.argmax(target))
    others, fewest = np.delete(target, worst), np.delete(sides, worst).min()
    if target[worst] > _COARSE * others.max() and sides[worst] * _COARSE < fewest:
        target[worst] = max(np.percentile(spacings, 10, axis=0)[worst], others.max())
    return tuple(map(float, target))


@dataclasses.dataclass(frozen=True)
class _Seen:
    """What is kept of an image."""

    size: Size
    spacing: tuple[float, ...]
    gray: bool
    bright: float
    areas_and_edges: Int[np.ndarray, "2 k"] | None

    @classmethod
    def at(cls, source: Source, classes: int, index: int) -> "_Seen":
        sample = source[index]
        image = sample["image"]
        known = areas_and_edges(sample["label"], classes) if kind_of(source) == "classes" else None
        size = image.shape[:-1]
        spacing = sample.get("spacing", (1.0,) * len(size))
        return cls(size, spacing, is_gray(image), float(np.percentile(image, 99.8)), known)


def is_gray(image: Shaped[np.ndarray, "*spatial c"]) -> bool:
    """Whether an image has one channel, or three of the same values."""
    return image.shape[-1] == 1 or (image.shape[-1] == 3 and bool((image == image[..., :1]).all()))


def areas_and_edges(label: Shaped[np.ndarray, "*spatial"], classes: int) -> Int[np.ndarray, "2 k"]:
    """Pixels of each class, and sides of pixels where it meets another one; ignored pixels count nowhere."""
    known = (label >= 0) & (label < classes)
    edges = np.zeros(classes, np.int64)
    for axis in range(label.ndim):
        (a, b), (is_known, is_known_too) = (_neighbours(values, axis) for values in (label, known))
        meet = (a != b) & is_known & is_known_too
        for side in (a[meet], b[meet]):
            edges += np.bincount(side, minlength=classes)
    return np.stack([np.bincount(label[known], minlength=classes), edges])


def _neighbours(values: Shaped[np.ndarray, "*spatial"], axis: int):
    """All values but the first along an axis, and those before them."""
    along = np.moveaxis(values, axis, 0)
    return along[1:], along[:-1]


def class_width(counts: Iterable[Int[np.ndarray, "2 k"]]) -> float | None:
    """How wide the parts of a class are, the median over classes: twice the area by the outline, exact for stripes and slabs.

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
