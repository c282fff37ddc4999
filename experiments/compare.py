"""Compare: `python -m experiments.compare RUN RUN ...`.

Prints runs side by side: where their configurations differ, and what each reached on its validation split, in all and for each
class. Runs that differ in nothing but the seed stand in one column, with mean and deviation. --out draws their curves.
"""

import dataclasses
import statistics
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any, NamedTuple

import tyro

from experiments import command
from experiments.configuration.config import TrainConfig, changes, flattened, to_json
from experiments.runs.run_folder import RunFolder
from fcn.text import columns, cut, pad, printable, short_name
from fcn.training.records import read_records

_WIDEST = 28
"""Columns of a terminal that a run may take."""


@dataclasses.dataclass(frozen=True)
class CompareConfig:
    """Runs side by side."""

    runs: Annotated[tuple[Path, ...], tyro.conf.Positional]
    """Run folders, finished or not."""
    out: Path | None = None
    """A PNG to write: the loss of training and the values of --metric, over the steps of all runs."""
    metric: str | None = None
    """The value of evaluations that is drawn (default: the one by which the first run chose its best checkpoint)."""
    overwrite: bool = False
    """Replace the PNG if it is there."""

    def __post_init__(self):
        if not self.runs:
            raise ValueError("no run was given; name run folders, such as runs/shapes_unet")
        if self.out is not None and self.out.exists() and not self.overwrite:
            raise FileExistsError(f"{self.out} exists already; give another --out, or --overwrite")


class Run(NamedTuple):
    """What is compared."""

    name: str
    config: TrainConfig
    records: list[dict[str, Any]]
    values: dict[str, float | None]
    """Of the result or, while there is none, of the last evaluation."""


def main(args: Sequence[str]) -> None:
    options = command.parse(CompareConfig, args, "compare", __doc__)
    runs = [read(path) for path in options.runs]
    print(describe(runs))
    if options.out is not None:
        from fcn.visualize import plot_runs

        plot_runs({run.name: run.records for run in runs}, options.metric or runs[0].config.best, options.out)
        print(f"\n{printable(str(options.out))}")


def read(path: Path) -> Run:
    """What a run folder holds.

    Raises:
      FileNotFoundError: there is no run.
      ValueError: one of its files is damaged.
    """
    folder = RunFolder(path)
    config, records = folder.read_config(), read_records(folder.metrics)
    evaluations = [record for record in records if any(name.startswith("val/") for name in record)]
    values = folder.read_result() or (evaluations[-1] if evaluations else {})
    return Run(str(path), config, records, {name: values[name] for name in values if name.startswith("val/")})


def describe(runs: Sequence[Run]) -> str:
    """The tables: a column for each group of runs that differ in their seeds only."""
    groups = grouped(runs)
    names = [", ".join(Path(run.name).name or run.name for run in group) for group in groups]
    configs = [flattened(to_json(group[0].config)) for group in groups]
    differing = sorted({name for name in set().union(*configs) if len({str(c.get(name)) for c in configs}) > 1})
    seeds = ["seed", *(", ".join(str(run.config.seed) for run in group) for group in groups)]
    settings = [[name, *(str(config.get(name)) for config in configs)] for name in differing if name != "seed"]
    reached = list(dict.fromkeys(name for run in runs for name in run.values))
    values = [[name.removeprefix("val/"), *(summary([run.values.get(name) for run in g]) for g in groups)] for name in reached]
    return "\n\n".join(table(["", *names], part) for part in ([seeds, *settings], values) if part)


def grouped(runs: Sequence[Run]) -> list[list[Run]]:
    """The runs, those together that differ in nothing but the seed and what changes no result, on data of the same place."""
    groups: list[list[Run]] = []
    for run in runs:
        group = next((group for group in groups if _are_alike(group[0].config, run.config)), None)
        groups.append([run]) if group is None else group.append(run)
    return groups


def _are_alike(a: TrainConfig, b: TrainConfig) -> bool:
    return a.data.root == b.data.root and not changes(a, dataclasses.replace(b, seed=a.seed))


def summary(values: Sequence[float | None]) -> str:
    """One value, or the mean of several and the deviation of one of them."""
    known = [value for value in values if value is not None]
    if len(known) < len(values):
        return "-"
    mean = f"{statistics.fmean(known):.4f}"
    return mean if len(known) == 1 else f"{mean} ± {statistics.stdev(known):.4f}"


def table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Lines for a terminal, their first column as wide as it must be."""
    cells = [[short_name(row[0]), *(cut(printable(cell), _WIDEST) for cell in row[1:])] for row in (header, *rows)]
    widths = [max(map(columns, column)) for column in zip(*cells)]
    return "\n".join("  ".join(map(pad, row, widths)).rstrip() for row in cells)


if __name__ == "__main__":
    command.run(lambda: main(sys.argv[1:]))
