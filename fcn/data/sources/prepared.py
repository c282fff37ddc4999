"""Open a prepared TFDS data set without trusting its files: what they name is checked before it is imported or read."""

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import tensorflow_datasets as tfds

from fcn.data.reading.decode import Refused, refuse_irregular

INFO, FEATURES = "dataset_info.json", "features.json"
_LARGEST_FILE = 64 << 20
_FEATURE_CLASSES = "tensorflow_datasets.core.features."
_NAME = re.compile(r"[\w.+-]*")
_TEMPLATE = re.compile(r"[\w.+{}=-]*")


class DamagedSetError(ValueError):
    """A file of a prepared data set is not as it was written; the message names it and says what to do."""

    def __init__(self, path: Path, what: object):
        text = f"{path}: {' '.join(str(what).split())[:300] or type(what).__name__}"
        super().__init__(f"{text}; remove the folder {path.parent} and prepare the data set again (`shapes` prepares itself)")


def open_builder(folder: Path) -> tfds.core.DatasetBuilder:
    """The builder of the prepared data set in `folder`; nothing but features of TFDS is imported, no file outside is read.

    Raises:
        ValueError: a file is damaged, is missing, or names what lies elsewhere; the message names the file.
    """
    info, features = (_read_json(folder / name) for name in (INFO, FEATURES))
    _check_info(folder / INFO, info)
    _check_features(folder / FEATURES, features)
    try:
        builder = tfds.builder_from_directory(str(folder))
        shards = [Path(path) for split in builder.info.splits.values() for path in split.filepaths]
    except Exception as error:  # whatever a damaged description leads to
        raise DamagedSetError(folder / INFO, f"it or {FEATURES} is damaged ({error})") from error
    for path in shards:
        _check_shard(folder, path)
    return builder


def _read_json(path: Path) -> dict[str, Any]:
    _check_regular(path)
    if path.stat().st_size > _LARGEST_FILE:
        raise DamagedSetError(path, f"larger than {_LARGEST_FILE >> 20} MB")
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
    except (ValueError, RecursionError) as error:
        raise DamagedSetError(path, f"not JSON ({error})") from None
    if not isinstance(values, dict):
        raise DamagedSetError(path, f"a {type(values).__name__}, not an object")
    return values


def _check_regular(path: Path) -> None:
    try:
        refuse_irregular(path)
    except FileNotFoundError:
        raise DamagedSetError(path, "missing") from None
    except Refused as error:
        raise DamagedSetError(path, error) from None


def _check_info(path: Path, info: dict[str, Any]) -> None:
    """Names and patterns of files that stay in the folder."""
    allowed = {"name": _NAME, "version": _NAME, "fileFormat": _NAME, "filepathTemplate": _TEMPLATE}
    for key, value in _pairs(info):
        plain = "".join([part.title() if i else part for i, part in enumerate(key.split("_"))])  # file_format: fileFormat
        pattern = allowed.get(plain)
        if pattern and not (isinstance(value, str) and pattern.fullmatch(value) and ".." not in value):
            raise DamagedSetError(path, f"{key} {value!r} is no plain name")


def _check_features(path: Path, features: dict[str, Any]) -> None:
    """Classes of features are TFDS's own: to make one is to import the module that is named."""
    for key, value in _pairs(features):
        if key in ("pythonClassName", "python_class_name", "type") and isinstance(value, str):
            if not value.startswith(_FEATURE_CLASSES):
                raise DamagedSetError(path, f"the feature class {value!r} is not one of {_FEATURE_CLASSES}*")
        elif ".." in key.split("/") or key.startswith("/"):
            raise DamagedSetError(path, f"{key!r} is no name of a feature")


def _pairs(values: Any) -> Iterator[tuple[str, Any]]:
    """Every key of nested JSON objects with its value."""
    if isinstance(values, dict):
        yield from values.items()
        values = list(values.values())
    if isinstance(values, list):
        for value in values:
            yield from _pairs(value)


def _check_shard(folder: Path, path: Path) -> None:
    if path.resolve().parent != folder.resolve() and path.parent.resolve() != folder.resolve():
        raise DamagedSetError(folder / INFO, f"it names {path}, outside its folder")
    _check_regular(path)
