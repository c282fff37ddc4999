"""Opens a data set by name: one split of it, or a part of one."""

import re
from pathlib import Path
from typing import Any, Literal

from fcn.data.layouts.layout import existing_folder
from fcn.data.reading.depth import ValueRange
from fcn.data.source import LabelKind, Source, Subset
from fcn.data.sources.folder import FolderSource
from fcn.data.sources.picks import FILE, PickSource
from fcn.data.sources.variants import ShapesVariant
from fcn.data.volumes import VolumeSource, find_volumes
from fcn.errors import unknown
from fcn.preprocessing import PerImage

Pages = Literal["channels", "slices"] | None
"""What the pages of TIFF files are."""


def open_source(
    name: str,
    split: str,
    *,
    root: str | Path | None = None,
    channels: int | None = None,
    value_range: ValueRange | None = None,
    label_kind: LabelKind = "classes",
    unlabelled: bool = False,
    pages: Pages = None,
    spacing: tuple[float, ...] | None = None,
    per_image: PerImage | None = None,
) -> Source:
    """Open one split of a data set.

    Args:
        name: "shapes" (the built-in set, prepared on first use), "folder" (images and labels in folders, see `FolderSource`, or
            volumes and signals, see `fcn.data.volumes.VolumeSource`) or "tfds:NAME" (any prepared TensorFlow Datasets set with
            an image and a mask, see `TfdsSource`).
        split: "train", "val" ..., or a part of one: "train[:20]", "train[80%:]", "all[-4:]" as in TensorFlow Datasets.
        root: "folder": the folder. "shapes": where it is kept (default: the environment's FCN_DATA_DIR, else
            `~/.cache/fcn/data`). "tfds:NAME": where sets are prepared (default: TFDS_DATA_DIR, else `~/tensorflow_datasets`).
        channels: 1 or 3 converts images to gray or RGB, another number takes as many as are stored ("folder"); by default the
            first image decides. Of volumes and signals all are read.
        value_range: the stored values of 16-bit images that become 0 and 255; by default those that the images of
            the split make use of (`source.value_range`). Give the range of the train split for all others.
        label_kind: what labels are to be; a prepared set has class numbers only.
        unlabelled: "folder": takes images that have no label, too, of which only `image` may be asked for.
        pages: "folder": what the pages of TIFF files are: channels of an image, or slices of a volume; without it a file of
            several pages is refused.
        spacing: "folder": millimetres to which volumes are resampled along each axis.
        per_image: "folder": brings each image to its own percentiles, or mean and deviation, in place of a range of the set.

    Raises:
        ValueError: the name, the split or the slice is not known, or `channels` is given for volumes or signals.
        FileNotFoundError: the folder, an image or a label is missing.
    """
    base, part = parse_split(split)
    if name != "folder" and per_image is not None:
        raise ValueError(f"per_image is {per_image!r}; only images of the data set 'folder' are read so, not of {name!r}")
    if name != "folder" and channels not in (None, 1, 3):
        raise ValueError(f"channels is {channels}; the data set {name!r} is read as gray (1) or as RGB (3)")
    if name == "shapes":
        from fcn.data.sources.shapes import open_shapes

        source = open_shapes(base, root=root, channels=channels)
        source = source if label_kind == "classes" else ShapesVariant(source, label_kind)
    elif name == "folder":
        how = {"value_range": value_range, "label_kind": label_kind, "unlabelled": unlabelled, "per_image": per_image}
        source = _open_folder(root, base, channels, pages, spacing, how)
    elif name.startswith("tfds:"):
        if label_kind in ("masks", "values", "instances", "panoptic"):
            raise ValueError(f"{name} has class numbers as labels; this task needs {label_kind}, as shapes and folders have")
        from fcn.data.sources.tfds import open_tfds

        source = open_tfds(name.removeprefix("tfds:"), base, root=root, channels=channels, value_range=value_range)
    else:
        raise unknown("data set", name, ("shapes", "folder", "tfds:NAME"))
    if part is None:
        return source
    start, stop = _bounds(part, len(source))
    if stop <= start:
        raise ValueError(f"split {split!r} is empty: {source.name} has {len(source)} samples there")
    return Subset(source, range(start, stop))


def _open_folder(root, split: str, channels: int | None, pages: Pages, spacing, how: dict[str, Any]) -> Source:
    """Images, or seismograms, volumes or signals where a folder holds these."""
    slices = pages == "slices"
    if root is not None and (Path(root).expanduser() / FILE).is_file():
        return PickSource(root, split, per_image=how["per_image"], label_kind=how["label_kind"])
    if root is not None and find_volumes(existing_folder(root), slices, how["label_kind"]) is not None:
        if channels is not None:
            raise ValueError(f"channels is {channels}; of volumes and signals, as {root} holds, all channels are read")
        return VolumeSource(root, split, slices=slices, spacing=spacing, **how)
    if slices:
        raise ValueError(f"pages is slices, but {root} has no TIFF files in images/ with such labels in labels/")
    if spacing is not None:
        raise ValueError(f"spacing is of volumes, and {root} holds images; resize them by size")
    return FolderSource(root, split, channels=channels, pages=pages, **how)


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
