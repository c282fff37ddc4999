"""nnU-Net's raw format: dataset.json, imagesTr/CASE_0000.png and labelsTr/CASE.png (Isensee et al., 2021; version 2)."""

import json
from pathlib import Path
from typing import Any

from fcn.data.layouts.layout import Layout, index
from fcn.data.reading.classes import Row
from fcn.data.reading.decode import IMAGE_SUFFIXES, LABEL_SUFFIXES

NAME = "nnU-Net's raw format (imagesTr/, labelsTr/)"


def find(root: Path) -> Layout | None:
    """Two-dimensional images of one file each.

    Raises:
        ValueError: dataset.json cannot be read, images are not pictures, or a case has several files.
    """
    table, folder, store = root / "dataset.json", root / "imagesTr", root / "labelsTr"
    if not (table.is_file() and folder.is_dir()):
        return None
    found = described(table)
    suffix = str(found.get("file_ending", ".png")).lower()
    if suffix not in LABEL_SUFFIXES:
        raise ValueError(f"{table}: files end in {suffix}; read are {', '.join(LABEL_SUFFIXES)}, .nii and .nii.gz")
    if further := index(folder, IMAGE_SUFFIXES, "_0001"):
        key, path = next(iter(further.items()))
        raise ValueError(f"{path}: the case {key} has several files, one a channel; join them into one file {key}_0000{suffix}")
    images, labels = index(folder, (suffix,), "_0000"), index(store, (suffix,))
    said = f"{len(images)} cases of {table.name}"
    return Layout(root, folder, store, images, labels, NAME, said, suffix, rows(table, found.get("labels")), files=(table,))


def described(table: Path) -> dict[str, Any]:
    """What dataset.json says."""
    try:
        found = json.loads(table.read_text(encoding="utf-8-sig"))
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{table}: not JSON ({error})") from None
    if not isinstance(found, dict):
        raise ValueError(f"{table}: a {type(found).__name__}; nnU-Net's is an object with channel_names and labels")
    return found


def rows(table: Path, labels: Any) -> tuple[Row, ...]:
    """The classes of {"background": 0, "tumour": 1, "ignore": 2}; "ignore" has the name of pixels that count nowhere."""
    if not isinstance(labels, dict) or not labels:
        raise ValueError(f"{table}: no labels; nnU-Net's are an object such as {{'background': 0, 'tumour': 1}}")
    for name, number in labels.items():
        if not isinstance(number, int) or not 0 <= number <= 65535:
            raise ValueError(
                f"{table}: label {name!r} is {number!r}; a class is one number from 0 to 65535 (regions are not read)"
            )
    return tuple(sorted((number, name, None) for name, number in labels.items()))
