"""The images of a data set by how well a network does on them, the worst first."""

import csv
from collections.abc import Mapping, Sequence
from pathlib import Path

from fcn.draft import replacing
from fcn.text import columns, pad, short_name

Row = Mapping[str, str | float | None]
SHOWN = 5


def rank(scalars: Sequence[Mapping[str, float | None]], by: str) -> list[int]:
    """The positions of the images, the worst first, those last of which nothing is known.

    Args:
      scalars: the scores of each image.
      by: the score that says how good an image's prediction is; `fcn.training.best` knows whether larger is better.
    """
    from fcn.training import best

    return sorted(range(len(scalars)), key=lambda i: (scalars[i][by] is None, best.rank(by, scalars[i][by])))


def worst(rows: Sequence[Row], by: str) -> str:
    """The first rows for a terminal: names and the score that ranks them."""
    shown = [(short_name(str(row["image"])), row[by]) for row in rows[:SHOWN] if row[by] is not None]
    width = max((columns(name) for name, _ in shown), default=0)
    return "\n".join([f"the worst images by {by}:", *(f"  {pad(name, width)}  {value:.3f}" for name, value in shown)])


def write_csv(rows: Sequence[Row], path: Path) -> None:
    """Writes the rows with a header, as a whole or not at all; an empty cell is a score that is not defined.

    Raises:
      OSError: it cannot be written.
    """
    with replacing(path) as draft, draft.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, list(dict.fromkeys(name for row in rows for name in row)))
        writer.writeheader()
        writer.writerows(rows)
