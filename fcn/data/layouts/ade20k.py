"""ADE20K as in the challenge of 2016: images/training/, annotations/training/, 0 unlabelled, 1 to 150 (Zhou et al., 2017)."""

import csv
from pathlib import Path

from fcn.data.layouts.layout import Layout, index, matched
from fcn.data.reading.classes import Row
from fcn.data.reading.decode import LABEL_SUFFIXES, is_given

NAME = "ADE20K (images/, annotations/)"
_COUNT = 150


def find(root: Path) -> Layout | None:
    """Names of the classes are those of objectInfo150.txt, where that lies beside the folders."""
    folder, store = root / "images", root / "annotations"
    if not ((folder / "training").is_dir() and (store / "training").is_dir()):
        return None
    images = index(folder)
    rows = ((0, "void", None), *_names(root / "objectInfo150.txt"))
    labels = matched(images, index(store, LABEL_SUFFIXES))
    return Layout(root, folder, store, images, labels, NAME, "0 is unlabelled in labels, 1 to 150 are classes", rows=rows)


def _names(path: Path) -> list[Row]:
    """The rows of a table whose first column is the id and whose column Name the name."""
    if not is_given(path):
        return [(i, f"class_{i}", None) for i in range(1, _COUNT + 1)]
    try:
        rows = list(csv.DictReader(path.read_text(encoding="utf-8-sig").splitlines(), delimiter="\t", skipinitialspace=True))
        named = [{(key or "").strip(): value for key, value in row.items()} for row in rows]
        return _different([(int(row["Idx"]), str(row["Name"]).split(",")[0].strip()) for row in named])
    except (UnicodeDecodeError, KeyError, TypeError, ValueError, csv.Error) as error:
        raise ValueError(f"{path}: not a table with the columns Idx and Name, parted by tabulators ({error})") from None


def _different(rows: list[tuple[int, str]]) -> list[Row]:
    """The rows; a name that comes twice (two kinds of "screen") gets its id."""
    names = [name for _, name in rows]
    return [(i, name if names.count(name) == 1 else f"{name} {i}", None) for i, name in rows]
