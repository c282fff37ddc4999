"""COCO's JSON (Lin et al., 2014): annotations/instances_SPLIT.json, or SPLIT/_annotations.coco.json; classes or objects."""

import functools
import json
import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Bool, Int, UInt8

from fcn.data.layouts import own
from fcn.data.layouts.layout import Layout
from fcn.data.reading.outlines import filled, run_lengths
from fcn.data.source import IGNORE
from fcn.visualize import default_palette

NAME = "COCO (JSON)"
_OTHERS = ("captions_", "person_keypoints_", "panoptic_", "image_info_")
"""Beginnings of COCO's files that hold no masks of classes."""


def find(root: Path) -> Layout | None:
    """Every file of annotations is a split; 0 is the background, then come the categories in order of their ids.

    None where there is no such file, or only some of images that lie elsewhere, in a folder of this project's own form.

    Raises:
        ValueError: a file cannot be read, the files have other categories, or an image has no size.
        FileNotFoundError: the images are not there.
    """
    files = _annotation_files(root)
    tables = {split: table for split, path in files.items() if (table := _read(path, path.stat().st_mtime_ns)) is not None}
    if not tables or (own.is_there(root) and not any(_found(root, files[split], split, tables[split]) for split in tables)):
        return None
    files = {split: files[split] for split in tables}
    places = {split: _images(root, files[split], split, table) for split, table in tables.items()}
    images = {f"{split}/{name.with_suffix('')}": folder / name for split, (folder, found) in places.items() for name in found}
    annotations: dict[Path, list[dict]] = {path: [] for path in images.values()}
    sizes: dict[Path, tuple[int, int]] = {}
    for split, table in tables.items():
        folder = places[split][0]
        paths = {entry["id"]: folder / entry["file_name"] for entry in table["images"]}
        sizes |= {paths[entry["id"]]: (int(entry["height"]), int(entry["width"])) for entry in table["images"]}
        for entry in table["annotations"]:
            if entry["image_id"] in paths:
                annotations[paths[entry["image_id"]]].append(entry)
    said = f"{sum(map(len, annotations.values()))} objects of {', '.join(path.name for path in files.values())}"
    reader = CocoLabels(_categories(tables, files), annotations, sizes)
    return Layout(root, root, root, images, dict(images), NAME, said, reader=reader, files=tuple(files.values()))


class CocoLabels:
    """Class numbers of images: 0 where there is no object; where objects overlap, the smaller one is on top.

    Args:
        categories: names by id.
        annotations: of each image.
        sizes: height and width of each image.
    """

    def __init__(
        self, categories: Mapping[int, str], annotations: Mapping[Path, list[dict]], sizes: Mapping[Path, tuple[int, int]]
    ):
        self._numbers = {identity: number for number, identity in enumerate(sorted(categories), start=1)}
        self._annotations, self._sizes = annotations, sizes
        self.names: tuple[str, ...] = ("background", *(categories[identity] for identity in sorted(categories)))
        self.palette: UInt8[np.ndarray, "k 3"] = default_palette(len(self.names))

    def read(self, path: Path) -> Int[np.ndarray, "h w"]:
        """Classes [H, W]; a crowd's pixels are of its class."""
        label = np.zeros(self._sizes[path], np.int32)
        for entry, mask in self._masks(path):
            label[mask] = self._numbers[entry["category_id"]]
        return label

    def objects(self, path: Path) -> Int[np.ndarray, "h w"]:
        """The number 1.. of the object that a pixel belongs to, 0 where there is none, -1 in crowds."""
        label, number = np.zeros(self._sizes[path], np.int32), 0
        for entry, mask in self._masks(path):
            number += not entry.get("iscrowd")
            label[mask] = -1 if entry.get("iscrowd") else number
        return label

    def meanings(self, path: Path) -> dict[str, int]:
        """The class number of each category's id."""
        return {str(identity): number for identity, number in self._numbers.items()}

    def _masks(self, path: Path) -> Iterable[tuple[dict, Bool[np.ndarray, "h w"]]]:
        """Objects and where they are, crowds first, then the largest first."""
        found = []
        for entry in self._annotations[path]:
            try:
                found.append((entry, _mask(entry["segmentation"], self._sizes[path])))
            except (KeyError, TypeError, ValueError) as error:
                raise ValueError(f"{path}: the segmentation of annotation {entry.get('id')} cannot be read ({error})") from None
        return sorted(found, key=lambda pair: (not pair[0].get("iscrowd"), -int(pair[1].sum())))


def _mask(segmentation: Any, size: tuple[int, int]) -> Bool[np.ndarray, "h w"]:
    """Of polygons [[x, y, x, y, ...], ...], or of run lengths {"size", "counts"}."""
    if isinstance(segmentation, list):
        return filled([np.asarray(points, np.float64).reshape(-1, 2) for points in segmentation], size)
    if list(segmentation["size"]) != list(size):
        raise ValueError(f"run lengths of {segmentation['size']} in an image of {list(size)}")
    if isinstance(segmentation["counts"], list):
        return run_lengths(segmentation["counts"], size)
    try:
        from pycocotools import mask as compressed
    except ImportError:
        raise ImportError("compressed run lengths need pycocotools: pip install 'fcn-zoo[coco]'") from None
    runs: Any = {**segmentation, "counts": segmentation["counts"].encode()}
    return compressed.decode(runs).astype(bool)


def _annotation_files(root: Path) -> dict[str, Path]:
    """The files that may be COCO's, by split."""
    exports = sorted(root.glob("*/_annotations.coco.json"))  # one in the folder of each split
    files = {path.parent.name: path for path in exports}
    paths = [] if exports else [*sorted(root.glob("annotations/*.json")), *sorted(root.glob("*.json"))]
    for path in [path for path in paths if path.name.startswith("instances_")] or paths:  # COCO has others beside these
        if not path.name.startswith(_OTHERS):
            name = re.sub(r"^instances_|20\d\d$", "", path.stem)
            files.setdefault({"valid": "val", "validation": "val", "training": "train"}.get(name, name) or "all", path)
    return files


@functools.lru_cache(maxsize=8)
def _read(path: Path, changed: int) -> dict[str, Any] | None:
    """What a file holds, read once until it changes; None if it is not COCO's."""
    try:
        table = json.loads(path.read_text(encoding="utf-8-sig"))
    except (ValueError, RecursionError) as error:
        if not ("instances" in path.name or "coco" in path.name):
            return None  # a file for something else
        raise ValueError(f"{path}: not JSON ({error})") from None
    if not isinstance(table, dict) or not {"images", "annotations", "categories"} <= table.keys():
        return None
    for kind, needed in (("images", {"id", "file_name", "height", "width"}), ("annotations", {"image_id", "category_id"})):
        for entry in table[kind]:
            if not isinstance(entry, dict) or not needed <= entry.keys():
                raise ValueError(f"{path}: an entry of {kind} without {', '.join(sorted(needed - set(entry)))}")
    return table


def _categories(tables: Mapping[str, dict], files: Mapping[str, Path]) -> dict[int, str]:
    """Names by id, which all files agree about."""
    found = {split: {int(entry["id"]): str(entry["name"]) for entry in table["categories"]} for split, table in tables.items()}
    first, *others = found
    for split in others:
        if found[split] != found[first]:
            raise ValueError(f"{files[split]} has other categories than {files[first].name}; all splits have the same")
    unknown = {entry["category_id"] for table in tables.values() for entry in table["annotations"]} - found[first].keys()
    if unknown:
        raise ValueError(f"{files[first]}: annotations are of the category {min(unknown)}, which is not in its categories")
    if len(found[first]) >= IGNORE:
        raise ValueError(f"{files[first]}: {len(found[first])} categories; there may be {IGNORE - 1}")
    return found[first]


def _images(root: Path, file: Path, split: str, table: dict) -> tuple[Path, list[Path]]:
    """The first folder that has an image of a split, and the names of its images below it."""
    names = _names(table)
    if outside := [name for name in names if _is_outside(name)]:
        raise ValueError(f"{file} names {outside[0]}; names of images are those below a folder")
    folders = _folders(root, file, split)
    folder = next((folder for folder in folders for name in names[:1] if (folder / name).is_file()), None)
    if folder is None and names:
        looked = ", ".join(dict.fromkeys(map(str, folders)))
        raise FileNotFoundError(f"{file} names {names[0]}, which is in none of {looked}")
    return folder or root, names


def _found(root: Path, file: Path, split: str, table: dict) -> bool:
    """Whether any image of a split is there."""
    names = [name for name in _names(table) if not _is_outside(name)]
    return any((folder / name).is_file() for folder in _folders(root, file, split) for name in names)


def _folders(root: Path, file: Path, split: str) -> list[Path]:
    """Where the images of a split may lie."""
    stem = re.sub(r"^instances_", "", file.stem)
    folders = [folder / name for folder in (root, root / "images") for name in (stem, split, "")]
    return [folder for folder in (*folders, file.parent / stem, file.parent) if folder.is_dir()]


def _names(table: dict) -> list[Path]:
    return [Path(str(entry["file_name"])) for entry in table["images"]]


def _is_outside(name: Path) -> bool:
    return name.is_absolute() or ".." in name.parts
