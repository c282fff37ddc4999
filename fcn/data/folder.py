"""A folder of images and labels as a `Source`."""

import difflib
import os
import threading
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from fcn.data.classes import UnknownValueError, read_classes
from fcn.data.decode import IMAGE_SUFFIXES, LABEL_SUFFIXES
from fcn.data.depth import WHOLE_RANGE, ValueRange, checked_range, find_range
from fcn.data.images import read_image, read_mask, verify_image
from fcn.data.source import IGNORE, Sample, position

_DEEP_SUFFIXES = (".png", ".tif", ".tiff")


class FolderSource:
    """Images and labels in folders:

        images/[SPLIT/]NAME.{png,jpg,tif,...}    labels/[SPLIT/]NAME.png    SPLIT.txt    classes.csv

    A split is the names in SPLIT.txt, one a line, else the folder images/SPLIT, else, for the name "all", every image in order
    of name. NAME may contain folders. Labels are gray or palette PNGs whose pixels are class ids,
    or RGB ones in the colours of classes.csv.

    classes.csv has a header and one class a row: `id,name` or `id,name,r,g,b`. Classes are numbered 0..K-1 in the order of
    the rows, whatever their ids. Rows named void, ignore or unlabelled, and the value 255 if no row has it, are ignored pixels.
    Without the file the largest id in the labels decides: class_0, class_1, ....

    Args:
        root: the folder.
        split: "train", "val", ... or "all".
        channels: 1 or 3 converts images to gray or RGB; by default the first image decides.
        value_range: the stored values of 16-bit images that become 0 and 255; by default found in the images of the split.

    Raises:
        FileNotFoundError: the folder, the split, an image or a label does not exist.
        ValueError: classes.csv cannot be read, or two files have the same name.
    """

    ignore_index = IGNORE

    def __init__(
        self, root: str | Path | None, split: str, *, channels: int | None = None, value_range: ValueRange | None = None
    ):
        self.root = _existing_folder(root)
        self.name = self.root.resolve().name
        images = _index(self.root / "images", IMAGE_SUFFIXES)
        labels = _index(self.root / "labels", LABEL_SUFFIXES)
        self.names, keys = _split_names(self.root, split, images)
        self.images = [images[key] for key in keys]
        self.labels = [_label_of(self.root, labels, images[key], key) for key in keys]
        self._table = read_classes(self.root / "classes.csv", labels.values())
        self.classes, self.palette = self._table.names, self._table.palette
        self.channels, self._converted = channels or verify_image(self.images[0])[2], channels is not None
        self._range = None if value_range is None else checked_range(value_range)
        self._finding = threading.Lock()

    @property
    def value_range(self) -> ValueRange | None:
        """The stored values of 16-bit images that become 0 and 255, found once; None: 0 and 65535, or none has 16 bits."""
        with self._finding:
            if self._range is None:
                self._range = find_range(path for path in self.images if path.suffix.lower() in _DEEP_SUFFIXES) or WHOLE_RANGE
        return None if self._range == WHOLE_RANGE else self._range

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, index: int) -> Sample:
        index = position(index, len(self))
        image = read_image(self.images[index], channels=self.channels, value_range=self.value_range)
        return {"image": image, "label": self._label(index), "name": self.names[index]}

    def _label(self, index: int) -> np.ndarray:
        try:
            return self._table.numbers(read_mask(self.labels[index], name=str(self.labels[index])))
        except UnknownValueError as error:
            raise ValueError(f"{self.labels[index]}: {error}") from None

    def verify(self, index: int) -> dict:
        """What `check_source` needs, with the image read at reduced resolution."""
        height, width, channels = verify_image(self.images[index])
        name = f"{self.images[index]} (label {self.labels[index]})"
        if self._converted or self.channels == 3 or channels == 1:
            channels = self.channels
        return {"image_size": (height, width), "channels": channels, "label": self._label(index), "name": name}


def _existing_folder(root: str | Path | None) -> Path:
    if root is None:
        raise ValueError("the data set 'folder' needs a root: the folder that holds images/ and labels/")
    root = Path(root).expanduser()
    if root.is_dir():
        return root
    parent = next((p for p in root.absolute().parents if p.is_dir()), Path("/"))
    near = difflib.get_close_matches(root.name, [p.name for p in parent.iterdir() if p.is_dir()], n=1)
    hint = f"did you mean {parent / near[0]}?" if near else f"{parent} exists, but holds no folder of that name"
    raise FileNotFoundError(f"no folder {root}; {hint}")


def _index(folder: Path, suffixes: tuple[str, ...]) -> dict[str, Path]:
    """Files below `folder` by their relative path without suffix."""
    if not folder.is_dir():
        raise FileNotFoundError(f"no folder {folder}; a data folder holds images/ and labels/")
    files: dict[str, Path] = {}
    for path in sorted(_walk(folder)):
        if path.suffix.lower() not in suffixes or path.name.startswith("."):
            continue
        key = path.relative_to(folder).with_suffix("").as_posix()
        if key in files:
            raise ValueError(f"{path} and {files[key].name} have the same name; remove one")
        files[key] = path
    return files


def _walk(folder: Path) -> Iterator[Path]:
    """All that is no folder below `folder`, through links to folders as well, but not round in circles."""
    above: dict[str, frozenset] = {str(folder): frozenset()}
    for place, folders, files in os.walk(folder, followlinks=True):
        status = os.stat(place)
        seen = above.pop(place) | {(status.st_dev, status.st_ino)}
        inside = {name: os.stat(os.path.join(place, name)) for name in folders}
        folders[:] = [name for name, found in inside.items() if (found.st_dev, found.st_ino) not in seen]
        above |= {os.path.join(place, name): seen for name in folders}
        yield from (Path(place, name) for name in files)


def _split_names(root: Path, split: str, images: dict[str, Path]) -> tuple[list[str], list[str]]:
    """Names of the samples and their keys in `images`."""
    listing = root / f"{split}.txt"
    if listing.is_file():
        names = [line.strip() for line in listing.read_text().splitlines() if line.strip()]
        keys = [f"{split}/{name}" if f"{split}/{name}" in images else name for name in names]
        missing = [name for name, key in zip(names, keys) if key not in images]
        if missing:
            raise FileNotFoundError(f"{listing} names {missing[0]!r}, but there is no image {root / 'images' / missing[0]}.*")
    elif split == "all":
        names = keys = list(images)
    else:
        keys = [key for key in images if key.startswith(f"{split}/")]
        names = [key.removeprefix(f"{split}/") for key in keys]
    if not names:
        raise FileNotFoundError(_no_split(root, split, images))
    return names, keys


def _no_split(root: Path, split: str, images: dict[str, Path]) -> str:
    if not images:
        return f"no images in {root / 'images'} ({', '.join(IMAGE_SUFFIXES)})"
    known = sorted({p.stem for p in root.glob("*.txt")} | {key.split("/")[0] for key in images if "/" in key} | {"all"})
    return (
        f"{root} has no split {split!r} (neither {split}.txt nor images/{split}/); "
        f"it has {', '.join(known)}, and a part of one is written as all[:20]"
    )


def _label_of(root: Path, labels: dict[str, Path], image: Path, key: str) -> Path:
    if key not in labels:
        raise FileNotFoundError(f"image {image} has no label {root / 'labels' / key}.png")
    return labels[key]
