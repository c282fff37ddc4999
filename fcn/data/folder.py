"""A folder of images and labels as a `Source`."""

import csv
import difflib
from pathlib import Path

import numpy as np
from jaxtyping import UInt8

from fcn.data.images import IMAGE_SUFFIXES, LABEL_SUFFIXES, read_image, read_label, verify_image
from fcn.data.source import IGNORE, Sample, illegal_values, position
from fcn.visualize import default_palette

_VOID = ("void", "ignore", "ignored", "unlabelled", "unlabeled")


class FolderSource:
    """Images and labels in folders:

        images/[SPLIT/]NAME.{png,jpg,tif,...}    labels/[SPLIT/]NAME.png    SPLIT.txt    classes.csv

    A split is the names in SPLIT.txt, one a line, else the folder images/SPLIT, else, for the name "all", every image in order
    of name. NAME may contain folders. Labels are gray or palette PNGs whose pixels are class ids.

    classes.csv has a header and one class a row: `id,name` or `id,name,r,g,b`. Classes are numbered 0..K-1 in the order of
    the rows, whatever their ids. Rows named void, ignore or unlabelled, and the value 255 if no row has it, are ignored pixels.
    Without the file the largest id in the labels decides: class_0, class_1, ....

    Args:
        root: the folder.
        split: "train", "val", ... or "all".
        channels: 1 or 3 converts images to gray or RGB; by default the first image decides.

    Raises:
        FileNotFoundError: the folder, the split, an image or a label does not exist.
        ValueError: classes.csv cannot be read, or two files have the same name.
    """

    ignore_index = IGNORE

    def __init__(self, root: str | Path | None, split: str, *, channels: int | None = None):
        self.root = _existing_folder(root)
        self.name = self.root.resolve().name
        images = _index(self.root / "images", IMAGE_SUFFIXES)
        labels = _index(self.root / "labels", LABEL_SUFFIXES)
        self.names, keys = _split_names(self.root, split, images)
        self.images = [images[key] for key in keys]
        self.labels = [_label_of(self.root, labels, images[key], key) for key in keys]
        self.classes, self.palette, self._table = _read_classes(self.root, labels)
        self.channels = channels or verify_image(self.images[0])[2]

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, index: int) -> Sample:
        index = position(index, len(self))
        image = read_image(self.images[index], channels=self.channels)
        return {"image": image, "label": self._label(index), "name": self.names[index]}

    def _label(self, index: int) -> np.ndarray:
        stored = read_label(self.labels[index])
        bad = illegal_values(stored, self._table)
        if bad:
            raise ValueError(f"{self.labels[index]}: {_bad_values(bad, self._table, self.root)}")
        return self._table[stored]

    def verify(self, index: int) -> dict:
        """What `check_source` needs, with the image read at reduced resolution."""
        height, width, channels = verify_image(self.images[index])
        name = f"{self.images[index]} (label {self.labels[index]})"
        if self.channels == 3 or channels == 1:
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
    for path in sorted(folder.rglob("*")):
        if path.suffix.lower() not in suffixes or path.name.startswith("."):
            continue
        key = path.relative_to(folder).with_suffix("").as_posix()
        if key in files:
            raise ValueError(f"{path} and {files[key].name} have the same name; remove one")
        files[key] = path
    return files


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


def _read_classes(root: Path, labels: dict[str, Path]) -> tuple[tuple[str, ...], UInt8[np.ndarray, "k 3"], np.ndarray]:
    """Class names, colours and the table from stored id to class number (-1: illegal)."""
    path = root / "classes.csv"
    rows = _parse_classes(path) if path.is_file() else _count_classes(labels)
    table = np.full(max([IGNORE, *(row[0] for row in rows)]) + 1, -1, np.int32)
    table[IGNORE] = IGNORE
    used = [row for row in rows if row[1].lower() not in _VOID]
    for identity, name, _ in rows:
        table[identity] = IGNORE if name.lower() in _VOID else [row[0] for row in used].index(identity)
    if not used or len(used) > IGNORE:
        raise ValueError(f"{path}: {len(used)} classes; there must be 1 to {IGNORE}")
    names = [row[1] for row in used]
    if twice := sorted({name for name in names if names.count(name) > 1}):
        raise ValueError(f"{path}: two classes are called {twice[0]!r}; give each a name of its own")
    default = default_palette(len(used))
    palette = np.stack([default[i] if row[2] is None else row[2] for i, row in enumerate(used)]).astype(np.uint8)
    return tuple(names), palette, table


def _parse_classes(path: Path) -> list[tuple[int, str, tuple[int, int, int] | None]]:
    rows = []
    with path.open(newline="", encoding="utf-8-sig") as file:
        for number, row in enumerate(csv.reader(file), start=1):
            if not row or (number == 1 and row[0].strip() == "id"):
                continue
            try:
                colour = tuple(int(v) for v in row[2:5]) if len(row) >= 5 else None
                rows.append((int(row[0]), row[1].strip(), colour))
            except (ValueError, IndexError):
                raise ValueError(f"{path}, line {number}: {','.join(row)!r} is not 'id,name' or 'id,name,r,g,b'") from None
    ids = [row[0] for row in rows]
    if len(set(ids)) != len(ids) or min(ids, default=0) < 0:
        raise ValueError(f"{path}: ids must be different and not negative: {ids}")
    return rows


def _count_classes(labels: dict[str, Path]) -> list[tuple[int, str, None]]:
    values: set[int] = set()
    for path in labels.values():
        values.update(np.unique(read_label(path)).tolist())
    largest = max(values - {IGNORE}, default=0)
    return [(i, f"class_{i}", None) for i in range(min(largest, IGNORE) + 1)]


def _bad_values(bad: list[int], table: np.ndarray, root: Path) -> str:
    allowed = [int(v) for v in np.flatnonzero(table >= 0)]
    shown = f"{allowed[0]}..{allowed[-2]} and {allowed[-1]}" if len(allowed) > 8 else ", ".join(map(str, allowed))
    return f"label value {', '.join(map(str, bad[:5]))} is no class id of {root / 'classes.csv'} (allowed: {shown})"
