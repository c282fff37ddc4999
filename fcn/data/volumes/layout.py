"""Where the volumes and signals of a data folder lie: images/ with labels/, nnU-Net's raw format, or the Decathlon's."""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from fcn.data.layouts import nnunet
from fcn.data.layouts.layout import Layout, index, matched
from fcn.data.reading.decode import LABEL_SUFFIXES
from fcn.data.source import LabelKind
from fcn.data.volumes.files import suffix_of

_STORES = ("labels", "masks")
_NIFTI = (".nii.gz", ".nii")
_PLAIN = (".npz", ".npy", ".csv")
_PAGES = (".tif", ".tiff")
DECATHLON = "the form of the Medical Segmentation Decathlon (imagesTr/, labelsTr/)"
NAME = "images/ and labels/ of volumes or signals"


def find_volumes(root: Path, slices: bool = False, kind: LabelKind = "classes") -> Layout | None:
    """The layout of a folder whose labels are no pictures: NIfTI, or arrays and tables of class numbers; else None.

    Args:
        root: the folder, with images/[SPLIT/]NAME.nii.gz and labels/[SPLIT/]NAME.nii.gz (or .nii, .npz, .npy, .csv), or
            nnU-Net's dataset.json, imagesTr/CASE_0000.nii.gz and labelsTr/CASE.nii.gz, or the Decathlon's, without _0000.
        slices: the pages of TIFF files are slices, so that these are volumes, too.
        kind: what labels are to be. Where pictures are labelled, files beside them are no volumes, and files .npy of values
            are those of images.

    Raises:
        ValueError: two files have the same name, or dataset.json cannot be read.
    """
    suffixes = (*_NIFTI, *_PLAIN, *(_PAGES if slices else ()))
    if (table := root / "dataset.json").is_file() and (root / "imagesTr").is_dir():
        return _raw(root, table, suffixes)
    store = next((root / name for name in _STORES if (root / name).is_dir()), None)
    if store is None or not (root / "images").is_dir():
        return None
    images, labels = _indexed(root / "images", suffixes), _indexed(store, suffixes)
    known = {key: labels[key] for key in images if key in labels}
    if not images or not (known or _all_nifti(images)) or (not slices and _holds_pictures(root / "images", store)):
        return None
    if kind == "values" and known and all(suffix_of(path) == ".npy" for path in known.values()):
        return None
    return Layout(root, root / "images", store, images, known, NAME, ending=_ending(images))


def channel_files(path: Path) -> list[Path]:
    """The files of a case, one a channel, of which the first is CASE_0000; of other files itself."""
    match = re.fullmatch(r"(.+)_0000", path.name[: -len(suffix_of(path))])
    if match is None:
        return [path]
    pattern = re.compile(re.escape(match[1]) + r"_\d{4}" + re.escape(suffix_of(path)))
    return sorted(file for file in path.parent.iterdir() if pattern.fullmatch(file.name))


def _raw(root: Path, table: Path, suffixes: tuple[str, ...]) -> Layout | None:
    described, name, end = nnunet.described(table), nnunet.NAME, "_0000"
    suffix, classes = str(described.get("file_ending", "")).lower(), described.get("labels")
    if not suffix and "training" in described and (files := _of(root / "imagesTr", ".nii.gz")):
        suffix, classes = ".nii.gz", _by_name(classes)  # of the Decathlon, or of nnU-Net's first version
        if not any(key.endswith(end) for key in files):
            name, end = DECATHLON, ""
    if suffix not in suffixes:
        return None
    images, labels = _of(root / "imagesTr", suffix, end), _of(root / "labelsTr", suffix)
    said, rows = f"{len(images)} cases of {table.name}", nnunet.rows(table, classes)
    known = {"rows": rows, "files": (table,), "channels": _channels(described)}
    return Layout(root, root / "imagesTr", root / "labelsTr", images, labels, name, said, suffix, **known)


def _channels(described: dict[str, Any]) -> tuple[str, ...]:
    """The names of {"0": "CT"}, as both versions have them."""
    found = described.get("channel_names", described.get("modality"))
    return tuple(map(str, found.values())) if isinstance(found, dict) else ()


def _by_name(classes: Any) -> Any:
    """{"0": "background"} as nnU-Net's second version has it."""
    if not isinstance(classes, dict):
        return None
    return {str(name): int(number) if number.isdecimal() else number for number, name in classes.items()}


def _indexed(folder: Path, suffixes: tuple[str, ...]) -> dict[str, Path]:
    found: dict[str, Path] = {}
    for suffix in suffixes:
        for key, path in _of(folder, suffix).items():
            if key in found:
                raise ValueError(f"{path} and {found[key].name} have the same name; remove one")
            found[key] = path
    return dict(sorted(found.items()))


def _of(folder: Path, suffix: str, end: str = "") -> dict[str, Path]:
    """Files of one suffix, whose last part alone is one to `index`."""
    first, _, last = suffix[1:].rpartition(".")
    return index(folder, (f".{last}",), f"{end}.{first}" if first else end)


def _holds_pictures(images: Path, store: Path) -> bool:
    """Whether any image has a picture as its label."""
    labels = index(store, LABEL_SUFFIXES)
    return bool(labels and matched(index(images), labels))


def _all_nifti(images: dict[str, Path]) -> bool:
    return all(suffix_of(path) in _NIFTI for path in images.values())


def _ending(images: dict[str, Path]) -> str:
    return suffix_of(next(iter(images.values())))


def volumes_in(folder: Path, slices: bool = False, joined: bool = True) -> Iterator[Path]:
    """The volumes and signals below a folder (below its images/ or imagesTr/, if it has one), in order of name.

    Args:
        slices: as for `find_volumes`.
        joined: CASE_0001 and so on are channels of CASE_0000, no volumes of their own.
    """
    place = next((folder / name for name in ("images", "imagesTr") if (folder / name).is_dir()), folder)
    for key, path in _indexed(place, (*_NIFTI, *_PLAIN, *(_PAGES if slices else ()))).items():
        if not (joined and re.search(r"_(?!0000)\d{4}$", key)):
            yield path
