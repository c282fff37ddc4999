"""What a data set is to this package (`Source`), and how to open one by name."""

import re
from pathlib import Path
from typing import Protocol, TypedDict, runtime_checkable

import numpy as np
from jaxtyping import Int, UInt8

from fcn.data.depth import ValueRange
from fcn.errors import unknown

IGNORE = 255


class Sample(TypedDict):
    """One labelled image."""

    image: UInt8[np.ndarray, "h w c"]
    label: Int[np.ndarray, "h w"]
    name: str


@runtime_checkable
class Source(Protocol):
    """A random-access sequence of labelled images: `len(source)`, `source[i]`.

    Labels are class numbers 0..K-1 (K = `len(classes)`); `ignore_index` marks pixels that count nowhere.
    """

    name: str
    classes: tuple[str, ...]
    palette: UInt8[np.ndarray, "k 3"]
    ignore_index: int

    def __len__(self) -> int: ...

    def __getitem__(self, index: int) -> Sample: ...


def open_source(
    name: str,
    split: str,
    *,
    root: str | Path | None = None,
    channels: int | None = None,
    value_range: ValueRange | None = None,
) -> Source:
    """Open one split of a data set.

    Args:
        name: "shapes" (the built-in set, prepared on first use), "folder" (images and labels in folders, see `FolderSource`)
            or "tfds:NAME" (any prepared TensorFlow Datasets set with an image and a mask, see `TfdsSource`).
        split: "train", "val" ..., or a part of one: "train[:20]", "train[80%:]", "all[-4:]" as in TensorFlow Datasets.
        root: "folder": the folder. "shapes": where it is kept (default: the environment's FCN_DATA_DIR, else
            `~/.cache/fcn/data`). "tfds:NAME": where sets are prepared (default: TFDS_DATA_DIR, else `~/tensorflow_datasets`).
        channels: 1 or 3 converts images to gray or RGB; by default the first image decides.
        value_range: the stored values of 16-bit images that become 0 and 255; by default those that the images of
            the split make use of (`source.value_range`). Give the range of the train split for all others.

    Raises:
        ValueError: the name, the split or the slice is not known.
        FileNotFoundError: the folder, an image or a label is missing.
    """
    base, part = parse_split(split)
    if name == "shapes":
        from fcn.data.shapes import open_shapes

        source = open_shapes(base, root=root, channels=channels)
    elif name == "folder":
        from fcn.data.folder import FolderSource

        source = FolderSource(root, base, channels=channels, value_range=value_range)
    elif name.startswith("tfds:"):
        from fcn.data.tfds import open_tfds

        source = open_tfds(name.removeprefix("tfds:"), base, root=root, channels=channels, value_range=value_range)
    else:
        raise unknown("data set", name, ("shapes", "folder", "tfds:NAME"))
    return source if part is None else Subset(source, split, *_bounds(part, len(source)))


class Subset:
    """The samples `start` to `stop` of another source."""

    def __init__(self, source: Source, split: str, start: int, stop: int):
        if stop <= start:
            raise ValueError(f"split {split!r} is empty: {source.name} has {len(source)} samples there")
        self.source, self.start, self.stop = source, start, stop
        self.name, self.classes, self.palette = source.name, source.classes, source.palette
        self.ignore_index, self.checked = source.ignore_index, getattr(source, "checked", False)

    @property
    def value_range(self) -> ValueRange | None:
        """That of the whole split."""
        return getattr(self.source, "value_range", None)

    @property
    def remarks(self) -> tuple[str, ...]:
        """Those of the whole split."""
        return getattr(self.source, "remarks", ())

    def __len__(self) -> int:
        return self.stop - self.start

    def __getitem__(self, index: int) -> Sample:
        return self.source[self.start + position(index, len(self))]

    def verify(self, index: int) -> dict:
        return verify(self.source, self.start + index)


def verify(source: Source, index: int) -> dict:
    """What the checks need of a sample: "image_size", "channels", "label", "name"; from `source.verify` where there is one."""
    if hasattr(source, "verify"):
        return source.verify(index)
    sample = source[index]
    refuse_other_types(sample)
    *size, channels = sample["image"].shape
    return {"image_size": tuple(size), "channels": channels, "label": sample["label"], "name": sample["name"]}


def refuse_other_types(sample: Sample) -> None:
    """Raise a ValueError for a sample that is no uint8 image [h, w, c] with integer labels [h, w], h, w and c at least 1."""
    image, label, name = np.asarray(sample["image"]), np.asarray(sample["label"]), sample["name"]
    if image.dtype != np.uint8:
        raise ValueError(f"{name}: an image of type {image.dtype}{_span(image)}; images are uint8, 0..255: scale and round it")
    if image.ndim != 3 or not image.size:
        raise ValueError(f"{name}: an image of shape {image.shape}; images are [height, width, channels], none of them 0")
    if label.dtype.kind not in "iu" or label.ndim != 2:
        raise ValueError(
            f"{name}: a label of type {label.dtype} and shape {label.shape}; labels are integers [height, width]: class numbers"
        )


def _span(values: np.ndarray) -> str:
    if values.dtype.kind not in "biuf" or not values.size:
        return ""
    finite = values[np.isfinite(values)]
    span = f" ({finite.min():g}..{finite.max():g}" if finite.size else " ("
    return span + (", NaN or infinite ones among them)" if finite.size < values.size else ")")


def position(index: int, length: int) -> int:
    """`index` as a number in 0..length-1 (negative counts from the end); IndexError beyond."""
    if not -length <= index < length:
        raise IndexError(f"index {index} of a source of {length} samples")
    return int(index) % length


def illegal_values(stored: Int[np.ndarray, "h w"], table: Int[np.ndarray, " n"]) -> list[int]:
    """The values of a mask to which `table`, from stored value to class number, gives none (-1, or nothing at all)."""
    low, high = int(stored.min()), int(stored.max())
    if low >= 0 and high < len(table) and table[stored].min() >= 0:
        return []
    return [int(v) for v in np.unique(stored) if not 0 <= v < len(table) or table[v] < 0]


def parse_split(split: str) -> tuple[str, tuple[str, str] | None]:
    """Name and bounds of a split: ("train", ("", "20")) for "train[:20]", ("train", None) for "train"."""
    match = re.fullmatch(r"([^\[\]]+)(?:\[(-?\d+%?)?:(-?\d+%?)?\])?", split)
    if match is None:
        raise ValueError(f"split {split!r} is neither a name nor a slice such as 'train[:20]' or 'train[80%:]'")
    base, start, stop = match.groups()
    return base, None if base == split else (start or "", stop or "")


def _bounds(part: tuple[str, str], length: int) -> tuple[int, int]:
    def bound(text: str, default: int) -> int:
        if not text:
            return default
        number = round(int(text[:-1]) * length / 100) if text.endswith("%") else int(text)
        return min(max(number + length if number < 0 else number, 0), length)

    return bound(part[0], 0), bound(part[1], length)
