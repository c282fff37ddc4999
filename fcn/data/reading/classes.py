"""What the values of a folder's labels mean: the table of classes, by id and by colour."""

import collections
import contextlib
import csv
import dataclasses
import warnings
from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np
from jaxtyping import Int, UInt8

from fcn.data.reading.decode import is_given
from fcn.data.reading.images import read_mask
from fcn.data.source import IGNORE, illegal_values
from fcn.visualize import default_palette

IGNORED_NAMES = ("void", "ignore", "ignored", "unlabelled", "unlabeled")
_LARGEST_ID = _WHITE = 65535
_NAMED = 6
"""Colours that are named in a sentence."""
Row = tuple[int, str, tuple[int, int, int] | None]
COLOUR_TABLES = ("label_colors.txt", "class_dict.csv")
"""Tables of colours that others write: CamVid's own, and that of its copies. The order of their rows is no id."""
BLACK_AND_WHITE: tuple[Row, ...] = ((0, "background", None), (IGNORE, "foreground", None))
"""The classes of labels of 0 and 255 alone."""


class UnknownValueError(ValueError):
    """A label holds an id or a colour that no class has."""


@dataclasses.dataclass(frozen=True)
class ClassTable:
    """Names and colours of the classes, and the class number (or the ignore index) of what labels store."""

    path: Path
    names: tuple[str, ...]
    palette: UInt8[np.ndarray, "k 3"]
    by_id: Int[np.ndarray, " n"]
    """From stored id to class number; -1: no class has it."""
    by_colour: dict[int, int]
    """From colour, as 65536 red + 256 green + blue, to class number; -1: two classes have it."""
    strange: dict[int, int] = dataclasses.field(default_factory=collections.Counter)
    """Colours that no class has, and the pixels that had them in what was read."""

    def numbers(self, stored: Int[np.ndarray, "h w *c"]) -> Int[np.ndarray, "h w"]:
        """Class numbers of stored ids [h, w] or colours [h, w, 3]; pixels of a colour that no class has are ignored.

        Raises:
            UnknownValueError: an id that no class has, or half of the pixels have no class's colour.
        """
        stored = as_ids(stored) if len(self.by_id) <= _WHITE and not self.by_colour else stored
        return self._of_colours(stored) if stored.ndim == 3 else self.of_ids(stored)

    def of_ids(self, stored: Int[np.ndarray, "*spatial"], name: str = "") -> Int[np.ndarray, "*spatial"]:
        """Class numbers of stored ids of any axes; of the file that `name` says.

        Raises:
            UnknownValueError: an id that no class has.
        """
        if bad := illegal_values(stored, self.by_id):
            raise UnknownValueError(f"{name}: " * bool(name) + self._unknown_ids(bad))
        return self.by_id[stored]

    def meanings(self, in_colours: bool) -> dict[str, int]:
        """The class number (or the ignore index) of each id, "7", or of each colour, "(128, 64, 0)"."""
        if in_colours:
            return {str(_rgb(code)): number for code, number in self.by_colour.items()}
        return {str(i): int(self.by_id[i]) for i in np.flatnonzero(self.by_id >= 0)}

    def in_colours(self, stored: Int[np.ndarray, "h w *c"]) -> bool:
        """Whether pixels of a label are colours, not ids."""
        return stored.ndim == 3 and (bool(self.by_colour) or as_ids(stored).ndim == 3)

    def _of_colours(self, stored: Int[np.ndarray, "h w 3"]) -> Int[np.ndarray, "h w"]:
        if not self.by_colour:
            raise UnknownValueError(
                f"a label of colour mode RGB, in {_some_colours(stored)}; labels are gray or palette images whose pixels are "
                f"class ids, or have the colours of the classes in {self.path} (id,name,r,g,b)"
            )
        known = np.array(sorted(self.by_colour), np.int32)
        codes = (stored[..., 0] << 16) | (stored[..., 1] << 8) | stored[..., 2]
        places = np.minimum(np.searchsorted(known, codes), len(known) - 1)
        numbers = np.array([self.by_colour[code] for code in known.tolist()], np.int32)[places]
        if (missing := codes[known[places] != codes]).size:
            self._refuse_or_count(missing, codes.size)
            numbers[known[places] != codes] = IGNORE
        if (shared := codes[numbers < 0]).size:
            raise UnknownValueError(f"colour {_rgb(int(shared[0]))} is in two rows of {self.path}; give each class its own")
        return numbers

    def _refuse_or_count(self, missing: Int[np.ndarray, " n"], pixels: int) -> None:
        """Warns of the first colour that no class has."""
        told = f"colour {_rgb(int(missing[0]))} of {missing.size} pixels is in no row of {self.path}"
        if 2 * missing.size >= pixels:
            raise UnknownValueError(told)
        if not self.strange:
            warnings.warn(f"{told}; such pixels are ignored, here and in other labels", stacklevel=2)
        for code, count in zip(*np.unique(missing, return_counts=True)):
            self.strange[int(code)] = self.strange.get(int(code), 0) + int(count)

    def _unknown_ids(self, bad: list[int]) -> str:
        allowed = [int(v) for v in np.flatnonzero(self.by_id >= 0)]
        shown = f"{allowed[0]}..{allowed[-2]} and {allowed[-1]}" if len(allowed) > 8 else ", ".join(map(str, allowed))
        return f"label value {', '.join(map(str, bad[:5]))} is no class id of {self.path} (allowed: {shown})"


def as_ids(stored: Int[np.ndarray, "h w *c"]) -> Int[np.ndarray, "h w ..."]:
    """Where no colours are classes: the ids of gray pixels that are stored as RGB, and 255 for the white of 16-bit masks."""
    if stored.ndim == 3 and (stored == stored[..., :1]).all():
        stored = stored[..., 0]
    white = stored == _WHITE
    return np.where(white, IGNORE, 0).astype(np.int32) if white.any() and (white | (stored == 0)).all() else stored


def _some_colours(stored: Int[np.ndarray, "h w 3"]) -> str:
    """The first colours of a label, the most frequent first: "(0, 0, 0), (128, 0, 0)"."""
    codes, counts = np.unique((stored[..., 0] << 16) | (stored[..., 1] << 8) | stored[..., 2], return_counts=True)
    shown = [str(_rgb(int(codes[i]))) for i in np.argsort(-counts, kind="stable")[:_NAMED]]
    return ", ".join(shown) + f" and {len(codes) - _NAMED} more colours" * (len(codes) > _NAMED)


def _rgb(code: int) -> tuple[int, int, int]:
    return code >> 16, code >> 8 & 255, code & 255


def read_classes(path: Path, labels: Iterable[Path], *, binary: bool = False, rows: Sequence[Row] = ()) -> ClassTable:
    """The classes of classes.csv; else, of labels in colours, of label_colors.txt or class_dict.csv; else those of `rows`.

    Without any of these, labels that hold 0 and 255 alone are background and foreground; else there are as many classes as the
    largest id in `labels` asks for.
    With `binary`, labels without a file that hold 0 and one other value, or 0, 1 and 255 (ignored), are background and object.

    Raises:
        FileNotFoundError: it is a link to nothing.
        ValueError: the table is no file or cannot be read, or two classes share an id or a name.
    """
    labels = list(labels)
    path = table_in(path, labels)
    rows = _parse_table(path) if is_given(path) else list(rows) or _count_classes(labels, binary)
    used = [row for row in rows if row[1].lower() not in IGNORED_NAMES]
    if not used or len(used) > IGNORE:
        raise ValueError(f"{path}: {_how_many(path, len(used))}")
    names = [row[1] for row in used]
    if twice := sorted({name for name in names if names.count(name) > 1}):
        raise ValueError(f"{path}: two classes are called {twice[0]!r}; give each a name of its own")
    number = {row[0]: i for i, row in enumerate(used)}
    table = np.full(max([IGNORE, *(row[0] for row in rows)]) + 1, -1, np.int32)
    table[IGNORE] = IGNORE
    for identity, _, _ in rows:
        table[identity] = number.get(identity, IGNORE)
    default = default_palette(len(used))
    palette = np.stack([default[i] if row[2] is None else row[2] for i, row in enumerate(used)]).astype(np.uint8)
    return ClassTable(path, tuple(names), palette, table, _colours(rows, number))


def _how_many(path: Path, count: int) -> str:
    if is_given(path) or not count:
        return f"{count} classes; there must be 1 to {IGNORE}"
    return f"there is none, and labels hold values above {IGNORE}; without it they are classes from 0 to {IGNORE - 1}"


def _colours(rows: list[Row], number: dict[int, int]) -> dict[int, int]:
    """Colour codes to class numbers; -1 where two classes share a colour, which only labels in colours have to mind."""
    found: dict[int, int] = {}
    for identity, _, colour in rows:
        if colour is not None:
            code, value = colour[0] << 16 | colour[1] << 8 | colour[2], number.get(identity, IGNORE)
            found[code] = value if found.get(code, value) == value else -1
    return found


def table_in(path: Path, labels: Iterable[Path]) -> Path:
    """classes.csv, or where it is missing and labels are in colours, that of `COLOUR_TABLES` which lies beside it."""
    if is_given(path) or (other := colour_table(path)) is None or not _in_colours(labels):
        return path
    return other


def colour_table(path: Path) -> Path | None:
    """The first of `COLOUR_TABLES` that lies beside classes.csv, if one does."""
    return next((other for name in COLOUR_TABLES if is_given(other := path.with_name(name))), None)


def _in_colours(labels: Iterable[Path]) -> bool:
    """Whether the first label that can be read stores colours."""
    for path in labels:
        with contextlib.suppress(ValueError, OSError):
            return read_mask(path).ndim == 3
    return False


def _parse_table(path: Path) -> list[Row]:
    return _parse_classes(path) if path.name not in COLOUR_TABLES else _parse_colours(path)


def _parse_colours(path: Path) -> list[Row]:
    """Rows "r g b name" (label_colors.txt) or "name,r,g,b" (class_dict.csv), numbered as they come."""
    rows: list[Row] = []
    try:
        lines = path.read_text(encoding="utf-8-sig").splitlines()
    except UnicodeDecodeError as error:
        raise ValueError(f"{path}: not a table in UTF-8 ({error})") from None
    for number, line in enumerate(lines, start=1):
        words = [word.strip() for word in line.split(",")] if path.suffix == ".csv" else line.split(maxsplit=3)
        if path.suffix == ".csv":
            words = [*words[1:4], words[0]]
        if words and words[-1] and not (number == 1 and not any(word.isdecimal() for word in words)):
            rows.append(_parse_row([str(len(rows)), words[-1], *words[:3]], f"{path}, line {number}"))
    return rows


def _parse_classes(path: Path) -> list[Row]:
    rows = []
    try:
        lines = list(csv.reader(path.read_text(encoding="utf-8-sig").splitlines()))
    except (UnicodeDecodeError, csv.Error) as error:
        raise ValueError(f"{path}: not a table in UTF-8 ({error})") from None
    for number, row in enumerate(lines, start=1):
        if row and not (number == 1 and row[0].strip().lower() == "id"):
            rows.append(_parse_row(row, f"{path}, line {number}"))
    ids = [row[0] for row in rows]
    if len(set(ids)) != len(ids):
        raise ValueError(f"{path}: ids must be different: {ids}")
    return rows


def _parse_row(row: list[str], place: str) -> Row:
    try:
        identity, name, colour = int(row[0]), row[1].strip(), tuple(int(v) for v in row[2:5])
    except (ValueError, IndexError):
        identity, name, colour = 0, "", ()
    if not name or len(colour) not in (0, 3):
        raise ValueError(f"{place}: {','.join(row)!r} is not 'id,name' or 'id,name,r,g,b'")
    if not 0 <= identity <= _LARGEST_ID:
        raise ValueError(f"{place}: id {identity}; ids run from 0 to {_LARGEST_ID}")
    if not all(0 <= v <= 255 for v in colour):
        raise ValueError(f"{place}: colour {colour}; red, green and blue run from 0 to 255")
    if not name.isprintable():
        raise ValueError(f"{place}: the name {name!r} holds characters that cannot be shown")
    return identity, name, (colour[0], colour[1], colour[2]) if colour else None


def class_names(path: Path) -> list[str]:
    """The names that a table of classes has, without those of ignored pixels."""
    return [name for _, name, _ in _parse_table(path) if name.lower() not in IGNORED_NAMES]


def _count_classes(labels: Iterable[Path], binary: bool) -> list[Row]:
    values: set[int] = set()
    for path in labels:
        with contextlib.suppress(ValueError):  # which whoever reads the label is told
            stored = as_ids(read_mask(path))
            values.update(np.unique(stored).tolist() if stored.ndim == 2 else ())
    if binary and (values <= {0, 1, IGNORE} or len(values - {0}) == 1):
        return [(0, "background", None), (1 if 1 in values else max(values | {1}), "object", None)]
    if values == {0, IGNORE}:
        return list(BLACK_AND_WHITE)
    largest = max(values - {IGNORE}, default=0)
    return [(i, f"class_{i}", None) for i in range(min(largest, IGNORE) + 1)]
