"""Which samples come how often: every one once an epoch, so many times, or drawn by weights; all decided by seed and epoch."""

import csv
import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Protocol, runtime_checkable

import numpy as np
from jaxtyping import Float, Int

from fcn.data.source import Source, Subset, different_values, kind_of
from fcn.ranges import Range, check_fields

Turns = tuple[Int[np.ndarray, " n"], Int[np.ndarray, " n"]]
"""The samples of an epoch in the order of their turn, and which visit of each it is: with the sample, that decides what is
random of it. Where each comes once, the epoch."""


@dataclasses.dataclass(frozen=True)
class SamplingConfig:
    """Which images training sees more often than others, and where it looks; the default is each once an epoch, anywhere."""

    weights: str | None = None
    """FILE.csv:COLUMN: images are drawn by these weights, so many an epoch as there are; a column name says whose they are."""
    repeats: str | None = None
    """FILE.csv:COLUMN: each image comes so many times an epoch; 0 leaves it out."""
    balance: bool = False
    """Images are drawn so that each class is drawn equally often: a class, then one of the images that have it. Of instance
    maps so that each object is: by the number of their objects, where an image without any counts as one."""
    foreground: Annotated[float, Range(0, 1)] = 0.0
    """Share of the crops that lie around a pixel of a class other than the first, drawn anew each time (nnU-Net: 0.33)."""

    def __post_init__(self):
        check_fields(self, "sampling.")
        if self.repeats is not None and (self.weights is not None or self.balance):
            raise ValueError(
                "sampling.repeats says how often each image comes; leave out sampling.weights and sampling.balance"
            )
        for name in ("weights", "repeats"):
            if (given := getattr(self, name)) is not None and not all(given.rpartition(":")[::2]):
                cure = "give a table and the name of its column, as in train.csv:weight"
                raise ValueError(f"sampling.{name} is {given!r}; {cure}")


@runtime_checkable
class Order(Protocol):
    """In which order samples take their turns; `indices`, if it has them, are those that ever come, in rising order."""

    @property
    def length(self) -> int:
        """Turns of an epoch."""
        ...

    def turns(self, seed: int, epoch: int) -> Turns:
        """Those of an epoch."""
        ...


@dataclasses.dataclass(frozen=True)
class Shuffled:
    """Each sample once."""

    length: int

    @property
    def indices(self) -> Int[np.ndarray, " k"]:
        return np.arange(self.length)

    def turns(self, seed: int, epoch: int) -> Turns:
        return generator(seed, epoch).permutation(self.length), np.full(self.length, epoch)


@dataclasses.dataclass(frozen=True)
class Repeated:
    """Sample i `counts[i]` times."""

    counts: tuple[int, ...]

    @property
    def length(self) -> int:
        return sum(self.counts)

    @property
    def indices(self) -> Int[np.ndarray, " k"]:
        return np.flatnonzero(self.counts)

    def turns(self, seed: int, epoch: int) -> Turns:
        all_turns = np.repeat(np.arange(len(self.counts)), self.counts)
        indices = generator(seed, epoch).permutation(all_turns)
        return indices, epoch * max(self.counts) + occurrences(indices)


@dataclasses.dataclass(frozen=True)
class Drawn:
    """As many turns as there are samples, each drawn by the weights."""

    weights: tuple[float, ...]

    @property
    def length(self) -> int:
        return len(self.weights)

    @property
    def indices(self) -> Int[np.ndarray, " k"]:
        return np.flatnonzero(self.weights)

    def turns(self, seed: int, epoch: int) -> Turns:
        ends = np.cumsum(self.weights)
        places = generator(seed, epoch).random_sample(self.length) * ends[-1]
        indices = np.searchsorted(ends, places, side="right")
        return indices, epoch * self.length + occurrences(indices)


def generator(*numbers: int) -> np.random.RandomState:
    """Random numbers that depend on the given ones alone, and that NumPy promises to keep."""
    return np.random.RandomState(np.random.MT19937(numbers))


def occurrences(indices: Int[np.ndarray, " n"]) -> Int[np.ndarray, " n"]:
    """How often each entry has come before."""
    places = np.argsort(indices, kind="stable")
    ordered = indices[places]
    before = np.zeros(len(indices), int)
    before[places] = np.arange(len(indices)) - np.searchsorted(ordered, ordered)
    return before


def make_order(config: SamplingConfig, samples: Source, root: Path | None) -> Order:
    """The order that a configuration asks for.

    Args:
        config: the configuration.
        samples: to be sampled.
        root: the folder in which tables lie that are named without one.

    Raises:
        ValueError: a table has no such column, misses an image or holds what is no weight, no class occurs, or labels are
            neither class numbers nor objects.
        FileNotFoundError: there is no such table.
    """
    if config.repeats is not None:
        counts = read_column(config.repeats, names_of(samples), root)
        if (counts != np.round(counts)).any():
            raise ValueError(f"{config.repeats}: {counts[counts != np.round(counts)][0]:g} is no number of repeats, such as 2")
        return Repeated(tuple(counts.astype(int).tolist()))
    weights = np.ones(len(samples))
    if config.weights is not None:
        weights *= read_column(config.weights, names_of(samples), root)
    if config.balance:
        kind = kind_of(getattr(samples, "source", samples))
        if kind in ("masks", "values"):
            raise ValueError(f"sampling.balance takes labels that are class numbers, or objects; this task has {kind}")
        labels = [samples[index]["label"] for index in range(len(samples))]
        of_objects = kind in ("instances", "panoptic")
        weights *= object_counts(labels) if of_objects else class_weights(labels, len(samples.classes))
    if config.weights is None and not config.balance:
        return Shuffled(len(samples))
    if not weights.any():
        which = "no image" if config.weights is None else f"none of the images that sampling.weights {config.weights} leaves"
        raise ValueError(f"{which} has a labelled pixel, by which sampling.balance draws; leave it out")
    return Drawn(tuple(weights.tolist()))


def names_of(source: Source) -> list[str]:
    """The names of all samples, without reading them where the source knows them."""
    if (known := getattr(source, "names", None)) is not None:
        return list(known)
    if isinstance(source, Subset):
        names = names_of(source.source)
        return [names[index] for index in source.indices]
    inner = getattr(source, "source", None)
    return names_of(inner) if inner is not None else [source[index]["name"] for index in range(len(source))]


def read_column(given: str, names: Sequence[str], root: Path | None) -> Float[np.ndarray, " n"]:
    """The numbers of FILE.csv:COLUMN for samples of these names, by the table's column `name`; at least 0, not all 0."""
    file, _, column = given.rpartition(":")
    path = Path(file) if root is None or Path(file).is_file() else root / file
    with path.open(newline="", encoding="utf-8-sig") as lines:
        table = csv.DictReader(lines)
        if missing := [name for name in ("name", column) if name not in (table.fieldnames or ())]:
            raise ValueError(f"{path} has no column {missing[0]!r}, but {', '.join(table.fieldnames or ('none',))}")
        values = {row["name"]: row[column] for row in table}
    bare = [name for name in names if name not in values and Path(name).name not in values]
    if bare:
        raise ValueError(f"{path} has no row for {bare[0]!r}" + f" nor for {len(bare) - 1} others" * (len(bare) > 1))
    found = np.array([_number(path, values[name] if name in values else values[Path(name).name]) for name in names])
    if not found.any():
        raise ValueError(f"{path}: all of the column {column!r} is 0; nothing would be drawn")
    return found


def _number(path: Path, text: str) -> float:
    try:
        value = float(text)
    except (TypeError, ValueError):
        value = float("nan")
    if not 0 <= value < float("inf"):
        raise ValueError(f"{path}: {text!r} is no weight; weights are finite numbers from 0 on")
    return value


def object_counts(labels: Sequence[Int[np.ndarray, "..."]]) -> Float[np.ndarray, " n"]:
    """How many objects each instance map has; 1 where it is known that there is none, so that these are drawn, too."""
    return np.array([(found > 0).sum() or (found == 0).any() for found in map(different_values, labels)], float)


def class_weights(labels: Sequence[Int[np.ndarray, "..."]], classes: int) -> Float[np.ndarray, " n"]:
    """The chance of each label if a class is drawn, and then one of the labels that have it; 0 where there is no class."""
    present = np.zeros((len(labels), classes))
    for row, label in zip(present, labels):
        values = different_values(label)
        row[values[(values >= 0) & (values < classes)]] = 1
    counts = present.sum(0)
    return (present / np.maximum(counts, 1)).sum(1) / max((counts > 0).sum(), 1)
