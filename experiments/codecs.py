"""Where each way to find objects fails: `python -m experiments.codecs [--out FILE]`.

Draws what becomes of perfect predictions of shapes that are hard for one of them (docs/instances.md).
"""

import dataclasses
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
from jaxtyping import Bool, Float, Int32

from experiments import command
from fcn import instances, tasks
from fcn.text import printable
from fcn.visualize import gallery, overlay_instances
from fcn.visualize.files import save_pictures

SIZE = 96
Map = Int32[np.ndarray, "h w"]


@dataclasses.dataclass(frozen=True)
class Options:
    """Writes a picture."""

    out: Path = Path("codecs.png")
    """The PNG to write."""
    overwrite: bool = False
    """Replace the PNG if it is there."""

    def __post_init__(self):
        if self.out.suffix.lower() != ".png":
            raise ValueError(f"--out {self.out} is no name of a PNG; try --out {self.out.with_suffix('.png')}")
        command.refuse_to_write("out", self.out, self.overwrite)


def main(args: Sequence[str]) -> None:
    options = command.parse(Options, args, "codecs", __doc__)
    rows = [[shown(true), *(shown(find(true)) for find in FINDERS.values())] for true in scenes()]
    save_pictures({options.out: gallery(rows, ["objects", *FINDERS])})
    print(printable(str(options.out)))


def shown(found: Map) -> np.ndarray:
    """Objects in their colours on white."""
    return overlay_instances(np.full((*found.shape, 3), 255, np.uint8), found, alpha=0.6)


def scenes() -> list[Map]:
    """Two discs that touch; a ring and a sickle; a disc of half the image and a small one."""
    ring = disc(30, 30, 24) & ~disc(30, 30, 13)
    sickle = disc(62, 60, 27) & ~disc(56, 48, 25) & ~ring
    pairs = [(disc(48, 27, 20), disc(48, 67, 21)), (ring, sickle), (disc(46, 46, 42), disc(89, 89, 5))]
    return [np.select(pair, [1, 2]).astype(np.int32) for pair in pairs]


def disc(row: float, column: float, radius: float) -> Bool[np.ndarray, "h w"]:
    """Where it is."""
    rows, columns = np.mgrid[:SIZE, :SIZE]
    return np.hypot(rows - row, columns - column) < radius


def with_a_gap(true: Map) -> Map:
    """By `boundary`, of predictions that take three rows of the boundary between two objects for interior."""
    classes = instances.boundary_classes(true)
    apart = np.argwhere((true[:, 1:] != true[:, :-1]) & (true[:, 1:] > 0) & (true[:, :-1] > 0))
    for row, column in apart[len(apart) // 2 :][:3]:
        classes[row, column : column + 2] = 1
    return _found("boundary", np.eye(3, dtype=np.float32)[classes])


def by_stars(true: Map) -> Map:
    """By `stardist`."""
    probabilities = instances.edge_probabilities(true)
    return _found("stardist", np.concatenate([probabilities[..., None], instances.star_distances(true)], -1))


def by_flows(true: Map) -> Map:
    """By `flows`."""
    sure = np.where(true > 0, 9, -9)[..., None]
    return _found("flows", np.concatenate([5 * instances.instance_flows(true), sure], -1).astype(np.float32))


def _found(name: str, scores: Float[np.ndarray, "h w k"]) -> Map:
    return tasks.make(name, ["object"]).prediction(scores)


FINDERS: dict[str, Callable[[Map], Map]] = {"boundary, with a gap": with_a_gap, "stardist": by_stars, "flows": by_flows}


if __name__ == "__main__":
    command.run(lambda: main(sys.argv[1:]))
