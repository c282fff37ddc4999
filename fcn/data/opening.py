"""Opens a data set by name: one split of it, or a part of one."""

import re
from pathlib import Path

from fcn.data.depth import ValueRange
from fcn.data.folder import FolderSource
from fcn.data.source import LabelKind, Sample, Source, image_sizes, kind_of, position, verify
from fcn.data.variants import ShapesVariant
from fcn.errors import unknown


def open_source(
    name: str,
    split: str,
    *,
    root: str | Path | None = None,
    channels: int | None = None,
    value_range: ValueRange | None = None,
    label_kind: LabelKind = "classes",
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
        label_kind: what labels are to be; a prepared set has class numbers only.

    Raises:
        ValueError: the name, the split or the slice is not known.
        FileNotFoundError: the folder, an image or a label is missing.
    """
    base, part = parse_split(split)
    if name == "shapes":
        from fcn.data.shapes import open_shapes

        source = open_shapes(base, root=root, channels=channels)
        source = source if label_kind == "classes" else ShapesVariant(source, label_kind)
    elif name == "folder":
        source = FolderSource(root, base, channels=channels, value_range=value_range, label_kind=label_kind)
    elif name.startswith("tfds:"):
        if label_kind in ("masks", "values"):
            raise ValueError(f"{name} has class numbers as labels; this task needs {label_kind}, as shapes and folders have")
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
        self.label_kind = kind_of(source)

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

    def image_sizes(self) -> list[tuple[int, int]] | None:
        """Those of the samples, if the source knows them."""
        sizes = image_sizes(self.source)
        return None if sizes is None else sizes[self.start : self.stop]

    def verify(self, index: int) -> dict:
        return verify(self.source, self.start + index)


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
