"""How the labels of a folder are read: class numbers in one picture, a mask for each class, or values."""

from collections.abc import Collection, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Protocol, runtime_checkable

import numpy as np
from jaxtyping import Float, Int, Shaped, UInt8

from fcn.data.reading.classes import IGNORED_NAMES, ClassTable, Row, UnknownValueError, class_names, colour_table, read_classes
from fcn.data.reading.decode import LABEL_SUFFIXES, Refused, is_given, opened, refuse_white_zero, upright
from fcn.data.reading.images import read_mask
from fcn.data.source import IGNORE, LabelKind
from fcn.visualize import default_palette


@runtime_checkable
class Labels(Protocol):
    """Reads labels of one kind."""

    names: tuple[str, ...]
    palette: UInt8[np.ndarray, "k 3"]

    def read(self, path: Path) -> Shaped[np.ndarray, "h w ..."]:
        """The label that lies at a path; a ValueError that names the file if it cannot be read."""
        ...

    def meanings(self, path: Path) -> dict[str, int]:
        """The class number of each value that such a file may store, where it stores classes."""
        ...


def open_labels(kind: LabelKind, table: Path, paths: Iterable[Path], rows: Sequence[Row] = ()) -> Labels:
    """The reader for the labels of a folder.

    Args:
        kind: of the labels.
        table: classes.csv, which may be missing.
        paths: of all labels.
        rows: the classes where no table names them.

    Raises:
        ValueError: classes.csv cannot be read, or there are no classes.
    """
    if kind == "masks":
        return _Masks(table, paths)
    if kind == "values":
        return _Values(table, paths)
    if kind == "instances":
        return ObjectMaps()
    return _ClassNumbers(read_classes(table, paths, binary=kind == "binary", rows=rows))


class _ClassNumbers:
    """One picture of class ids or colours."""

    def __init__(self, table: ClassTable):
        self._table = table
        self.names, self.palette = table.names, table.palette

    def read(self, path: Path) -> Int[np.ndarray, "h w"]:
        try:
            return self._table.numbers(read_mask(path, name=str(path)))
        except UnknownValueError as error:
            raise ValueError(f"{path}: {error}") from None

    def meanings(self, path: Path) -> dict[str, int]:
        return self._table.meanings(self._table.in_colours(read_mask(path, name=str(path))))

    @property
    def void_ids(self) -> frozenset[int]:
        """The ids of ignored pixels."""
        return frozenset(np.flatnonzero(self._table.by_id == IGNORE).tolist())

    @property
    def strange(self) -> Mapping[int, int]:
        """Colours of labels that no class has (65536 red + 256 green + blue), and their pixels in what was read."""
        return self._table.strange

    @property
    def remark(self) -> str:
        """What a user should know of the classes."""
        if (path := self._table.path).exists():
            return ""
        if (colours := colour_table(path)) is not None:
            return f"labels store class ids, and {colours.name} names colours only; name the ids in {path.name}"
        white = self.names == ("background", "foreground") and self._table.by_id[IGNORE] == 1
        return "labels of 0 and 255 are background and foreground" if white else ""


class ObjectMaps:
    """One picture of the numbers of objects, 0 where there is none, or a folder of masks; any object is the foreground."""

    def __init__(self):
        self.names: tuple[str, ...] = ("background", "object")
        self.palette: UInt8[np.ndarray, "k 3"] = default_palette(2)

    def read(self, path: Path) -> Int[np.ndarray, "h w"]:
        return (self.objects(path) != 0).astype(np.int32)

    def objects(self, path: Path) -> Int[np.ndarray, "h w"]:
        """The number of the object that a pixel belongs to, 0 where there is none.

        Of colours, each is an object. Of a folder each mask is one, not 0 where it is; the last by name is on top.
        """
        if not path.is_dir():
            return self._numbers(path)
        masks = {file: self._numbers(file) != 0 for file in label_files(path)}
        label = np.zeros(next(iter(masks.values())).shape, np.int32)
        for number, (file, mask) in enumerate(masks.items(), 1):
            if mask.shape != label.shape:
                raise ValueError(f"{file}: its size is {mask.shape}, that of the masks before it {label.shape}")
            label[mask] = number
        return label

    def _numbers(self, path: Path) -> Int[np.ndarray, "h w"]:
        stored = read_mask(path, name=str(path))
        if stored.min() < 0:
            raise ValueError(f"{path}: the value {stored.min()}; objects are numbers from 1 to 2147483647, background is 0")
        return stored if stored.ndim == 2 else (stored[..., 0] << 16) | (stored[..., 1] << 8) | stored[..., 2]

    def meanings(self, path: Path) -> dict[str, int]:
        return {"0": 0, "other": 1}


class _Masks:
    """A folder for each image, in it NAME_OF_CLASS.png: not 0 where the class is; a class without a file is nowhere.

    Pixels that are not 0 in void.png (or ignore.png, unlabelled.png) are ignored in all classes.
    """

    def __init__(self, table: Path, paths: Iterable[Path]):
        found = {file.stem for path in paths for file in label_files(path)}
        names = class_names(table) if is_given(table) else sorted(name for name in found if name.lower() not in IGNORED_NAMES)
        if not names:
            raise ValueError(f"{table.parent}: no mask has the name of a class; masks are labels/NAME/CLASS.png")
        self.names, self.palette = tuple(names), default_palette(len(names))

    def read(self, path: Path) -> Int[np.ndarray, "h w k"]:
        masks = {file.stem: self._read(file) for file in label_files(path)}
        if strange := [name for name in masks if name not in self.names and name.lower() not in IGNORED_NAMES]:
            raise ValueError(f"{path / strange[0]}.*: there is no such class; there are {', '.join(self.names)}")
        (first, shape), *others = [(name, mask.shape) for name, mask in masks.items()]
        if wrong := [name for name, other in others if other != shape]:
            raise ValueError(f"{path}: the masks {first} and {wrong[0]} have different sizes")
        label = np.stack([masks.get(name, np.zeros(shape, bool)) for name in self.names], -1).astype(np.int32)
        for name, mask in masks.items():
            if name not in self.names:
                label[mask] = IGNORE
        return label

    def _read(self, file: Path) -> Shaped[np.ndarray, "h w"]:
        mask = read_mask(file, name=str(file))
        return np.asarray(mask.any(-1) if mask.ndim == 3 else mask != 0)

    def meanings(self, path: Path) -> dict[str, int]:
        return {}


class ExclusiveMasks:
    """A mask for each class in a folder for each image, as one label: a pixel is of the class whose mask it is in.

    In no mask it is of the background, or ignored if the background has masks of its own; in several it is ignored.

    Args:
        table: classes.csv, which may be missing.
        paths: the folders.

    Raises:
        ValueError: there are no masks, or too many names of them, or the table cannot be read.
    """

    def __init__(self, table: Path, paths: Collection[Path]):
        self._masks = _Masks(table, paths)
        names = [name.casefold() for name in self._masks.names]
        self._first = int("background" not in names)
        own = any(file.stem.casefold() == "background" for path in paths for file in label_files(path))
        self._elsewhere = IGNORE if own else 0 if self._first else names.index("background")
        self.names: tuple[str, ...] = ("background",) * self._first + self._masks.names
        if len(self.names) > IGNORE:
            raise ValueError(f"{table.parent}: masks have {len(names)} names, each of a class; those of objects are numbers")
        self.palette: UInt8[np.ndarray, "k 3"] = default_palette(len(self.names))

    def read(self, path: Path) -> Int[np.ndarray, "h w"]:
        """Class numbers."""
        masks = self._masks.read(path)
        count = masks.sum(-1)  # of ignored pixels each adds more than 1
        label = np.where(count == 1, masks.argmax(-1) + self._first, np.where(count == 0, self._elsewhere, IGNORE))
        return label.astype(np.int32)

    def meanings(self, path: Path) -> dict[str, int]:
        """None: no file stores several classes."""
        return {}


class _Values:
    """NAME.npy, float or integers [H, W] or [H, W, K]; or one channel as a TIFF or PNG file of floats or integers.

    Values are as they are stored; NaN and infinity mark those that are not known.
    """

    def __init__(self, table: Path, paths: Iterable[Path]):
        channels = self._load(next(iter(paths))).shape[-1]
        given = (
            class_names(table) if is_given(table) else ["value"] if channels == 1 else [f"value_{k}" for k in range(channels)]
        )
        self.names, self.palette = tuple(given), default_palette(len(given))
        if len(given) != channels:
            raise ValueError(f"{table} names {len(given)} values, but labels have {channels} channels")

    def read(self, path: Path) -> Float[np.ndarray, "h w k"]:
        values = self._load(path)
        if values.shape[-1] != len(self.names):
            raise ValueError(f"{path}: {values.shape[-1]} channels; labels have {len(self.names)}: {', '.join(self.names)}")
        return values

    def _load(self, path: Path) -> Float[np.ndarray, "h w k"]:
        values = _read_npy(path) if path.suffix.lower() == ".npy" else _read_picture(path)
        if values.dtype.kind not in "iuf" or values.ndim not in (2, 3) or not values.size:
            form = f"values of type {values.dtype} and shape {values.shape}"
            raise ValueError(f"{path}: {form}; they are numbers [H, W] or [H, W, K]")
        return values.reshape(*values.shape[:2], -1).astype(np.float32)

    def meanings(self, path: Path) -> dict[str, int]:
        return {}


def _read_npy(path: Path) -> np.ndarray:
    try:
        with path.open("rb") as file:
            return np.lib.format.read_array(file, allow_pickle=False)
    except (ValueError, EOFError) as error:
        raise ValueError(f"{path}: not an array that NumPy reads ({error})") from None


def _read_picture(path: Path) -> np.ndarray:
    with opened(path, floats=True) as image:
        refuse_white_zero(image)
        if len(image.getbands()) > 1 or image.mode == "P":
            raise Refused(f"a label of colour mode {image.mode}; values are in one gray channel, or in a file .npy")
        return np.asarray(upright(image))


def label_files(path: Path) -> list[Path]:
    """The files of a label: itself, or those in it, if it is a folder."""
    if not path.is_dir():
        return [path]
    return sorted(file for file in path.iterdir() if file.suffix.lower() in LABEL_SUFFIXES and not file.name.startswith("."))
