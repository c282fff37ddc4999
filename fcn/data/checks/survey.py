"""Looks at every image and label of a folder once: sizes, types, statistics, classes, objects, and what is wrong with each."""

import dataclasses
import functools
import hashlib
import os
import warnings
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Literal

import numpy as np
from jaxtyping import Float, Int

from fcn.data.layouts import find_layout
from fcn.data.layouts.layout import Layout, existing_folder
from fcn.data.layouts.splits import known_splits
from fcn.data.reading.images import image_type, read_mask
from fcn.data.source import IGNORE
from fcn.data.sources.folder import FolderSource

BINS = 64
"""Of the histograms of 0..255."""
Progress = Callable[[Iterable, int], Iterable]


@dataclasses.dataclass(frozen=True, eq=False)
class Record:
    """What is known of one image; where it cannot be read, `problems` tell why, and the rest is missing."""

    split: str
    image: Path
    label: Path | None
    problems: tuple[str, ...] = ()
    type: str = ""
    """The format, the colour mode and the bits a channel of the file: "JPEG RGB, 8 bits"."""
    size: tuple[int, int] | None = None
    channels: int = 0
    sums: Float[np.ndarray, "2 c"] | None = None
    """Of the values 0..255 and of their squares, over all pixels."""
    histogram: Int[np.ndarray, "c n"] | None = None
    digest: bytes = b""
    """Of the pixels: equal for equal images, whatever their files."""
    counts: Int[np.ndarray, " k"] | None = None
    """Pixels of each class."""
    ignored: int = 0
    objects: int | None = None
    strange_ids: tuple[int, ...] = ()
    """What the label stores, where that includes ids which no class has."""

    @property
    def pixels(self) -> int:
        """Of the image."""
        return 0 if self.size is None else self.size[0] * self.size[1]

    @property
    def deviation(self) -> Float[np.ndarray, " c"]:
        """Of the values 0..255 of each channel of an image that could be read."""
        assert self.sums is not None
        mean, square = self.sums / self.pixels
        return np.sqrt(np.maximum(square - mean**2, 0))


@dataclasses.dataclass(frozen=True)
class Survey:
    """A folder of images and labels, seen through."""

    root: Path
    layout: Layout
    classes: tuple[str, ...]
    sources: dict[str, FolderSource]
    """The splits, by name."""
    records: tuple[Record, ...]
    remarks: tuple[str, ...]

    def of(self, split: str) -> list[Record]:
        """The records of a split."""
        return [record for record in self.records if record.split == split]

    def counts(self, split: str | None = None) -> Int[np.ndarray, "n k"]:
        """Pixels of each class in each label that could be read, of one split or of all."""
        rows = [r.counts for r in self.records if r.counts is not None and split in (None, r.split)]
        return np.array(rows, np.int64).reshape(-1, len(self.classes))

    @property
    def strange_colours(self) -> dict[tuple[int, int, int], int]:
        """Colours that no class has, and their pixels."""
        total: dict[tuple[int, int, int], int] = {}
        for source in self.sources.values():
            for colour, count in source.strange_colours.items():
                total[colour] = total.get(colour, 0) + count
        return total


def survey(
    root: str | Path,
    progress: Progress = lambda records, total: records,
    pages: Literal["channels"] | None = None,
    channels: int | None = None,
) -> Survey:
    """Reads every image and label of a folder, in any of the layouts that are known.

    Args:
        root: the folder.
        progress: given the records as they come, and their number; gives them back.
        pages: what the pages of TIFF files are.
        channels: as which images are read; by default each by itself, as `read_image` does.

    Raises:
        FileNotFoundError, ValueError: there are no images with labels, or lists or classes cannot be read. What is wrong with
            single files is in their records.
    """
    folder = existing_folder(root)
    layout = find_layout(folder)
    how = {"channels": 3, "unlabelled": True, "pages": pages}
    sources = {split: FolderSource(folder, split, **how) for split in known_splits(layout)}
    places = [(split, i) for split, source in sources.items() for i in range(len(source))]
    with warnings.catch_warnings(), ThreadPoolExecutor(min(8, os.cpu_count() or 1)) as pool:
        warnings.simplefilter("ignore")  # findings tell it
        reading = pool.map(lambda place: _record(place[0], sources[place[0]], place[1], channels), places)
        records = tuple(progress(reading, len(places)))
    first = next(iter(sources.values()))
    return Survey(folder, layout, first.classes, sources, records, _remarks(first))


def _remarks(source: FolderSource) -> tuple[str, ...]:
    try:
        return source.remarks
    except (ValueError, OSError):  # a damaged image, which its record tells
        return ()


def _record(split: str, source: FolderSource, index: int, channels: int | None) -> Record:
    path, label = source.images[index], source.labels[index]
    problems: list[str] = []
    facts: dict = {}
    image_facts = functools.partial(_image_facts, asked=channels)
    for read in (image_facts, *([_label_facts] * (label is not None))):
        try:
            facts |= read(source, index)
        except (ValueError, OSError, ImportError) as error:
            problems.append(str(error))
            facts |= _stored(label) if read is _label_facts else {}
    size, labelled = facts.get("size"), facts.pop("label_size", None)
    if size and labelled and size != labelled:
        sizes = ["x".join(map(str, lengths)) for lengths in (size, labelled)]
        problems.append(f"{path} (label {label}): the image is {sizes[0]} (height x width), its label {sizes[1]}")
    return Record(split, path, label, tuple(problems), **facts)


def _image_facts(source: FolderSource, index: int, asked: int | None) -> dict:
    kind = image_type(source.images[index], source.pages == "channels")
    image = source.image(index, asked)
    height, width, channels = image.shape
    pixels = image.reshape(-1, channels)
    counts = np.stack([np.bincount(pixels[:, c], minlength=256) for c in range(channels)])
    values = np.arange(256.0)
    return {
        "type": kind,
        "size": (height, width),
        "channels": channels,
        "sums": np.stack([counts @ values, counts @ values**2]),
        "histogram": counts.reshape(channels, BINS, -1).sum(-1),
        "digest": hashlib.blake2b(image.tobytes() + repr(image.shape).encode(), digest_size=16).digest(),
    }


def _label_facts(source: FolderSource, index: int) -> dict:
    label, objects = source.label(index), source.objects(index)
    counts = np.bincount(label.ravel(), minlength=IGNORE + 1)
    return {
        "label_size": label.shape[:2],
        "counts": counts[: len(source.classes)],
        "ignored": int(counts[IGNORE]),
        "objects": None if objects is None else int((np.unique(objects) > 0).sum()),
    }


def _stored(label: Path | None) -> dict:
    """The ids of a label that could not be understood."""
    try:
        stored = read_mask(label, name=str(label)) if label is not None else np.zeros((0, 0, 3))
    except (ValueError, OSError):
        return {}
    return {"strange_ids": tuple(map(int, np.unique(stored)))} if stored.ndim == 2 else {}
