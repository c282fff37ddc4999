"""What augmentation makes of an image: `python -m experiments.augment [--show standard rotate] [--data.root DATA]`.

Writes a picture of presets and operations, each with the labels as they move along. docs/augmentation.md explains them.
"""

import dataclasses
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Annotated, Literal

import jax
import numpy as np

from experiments import command
from experiments.building.build import load_data
from experiments.configuration.config import DataConfig
from fcn.data import Prepared
from fcn.data.augment import OPERATIONS, PRESETS, Pipeline, parse_operations, transform
from fcn.data.augment.resampling import Boundary
from fcn.ranges import Range, check_fields
from fcn.text import printable
from fcn.visualize import gallery, overlay, overlay_instances
from fcn.visualize.files import save_pictures

COLUMNS = 6
_SHOWN = {"flip": "flip(probability=1)", "rand_augment": "rand_augment(strength=0.5)", "copy_paste": "copy_paste(share=1)"}
"""What is shown of operations that need an option."""
_LEFT_OUT = {"classes": ("copy_paste",), "instances": ("cutmix", "classmix")}
"""By labels, what is not for them."""


@dataclasses.dataclass(frozen=True)
class Options:
    """Writes a picture."""

    show: tuple[str, ...] = ()
    """Presets, and operations as --augment.operations of experiments.train takes them (default: all that the labels allow)."""
    labels: Literal["classes", "instances"] = "classes"
    """What labels are: classes, or instance maps, with a number for each object."""
    out: Path = Path("runs/augmentation.png")
    """The PNG to write."""
    overwrite: bool = False
    """Replace the PNG if it is there."""
    draws: Annotated[int, Range(1, 100)] = 2
    """How often each is drawn."""
    image: Annotated[int, Range(0)] = 0
    """The number of the image in the training split; the one after it is its partner."""
    boundary: Boundary = "ignore"
    """What lies outside of the image: nothing, and labels there are ignored, or its mirror image."""
    seed: Annotated[int, Range(0, 2**32 - 1)] = 0
    """Of all that is drawn."""
    data: DataConfig = DataConfig()

    def __post_init__(self):
        check_fields(self)
        if self.out.suffix.lower() != ".png":
            raise ValueError(f"--out {self.out} is no name of a PNG; try --out {self.out.with_suffix('.png')}")
        if self.out.exists() and not self.overwrite:
            raise FileExistsError(f"{self.out} exists already; give another --out, or --overwrite")


def main(args: Sequence[str]) -> None:
    options = command.parse(Options, args, "augment", __doc__)
    pipelines = {word: pipeline(word, options.boundary) for word in options.show or shown(options.labels)}
    samples = load_data(options.data, options.data.train, label_kind=options.labels)
    if options.image >= len(samples):
        raise ValueError(f"--image is {options.image}; the split has the images 0 to {len(samples) - 1}")
    options.out.parent.mkdir(parents=True, exist_ok=True)
    save_pictures({options.out: draw(list(tiles(pipelines, samples, options)))})
    print(printable(str(options.out)))


def shown(labels: str) -> list[str]:
    """All presets and operations for such labels."""
    return [_SHOWN.get(name, name) for name in (*PRESETS, *OPERATIONS) if name not in _LEFT_OUT[labels]]


def pipeline(word: str, boundary: Boundary) -> Pipeline:
    """A preset, or a list of one operation."""
    found = PRESETS[word]() if word in PRESETS else Pipeline(operations=parse_operations([word]))
    return dataclasses.replace(found, boundary=boundary)


def tiles(pipelines: dict[str, Pipeline], samples: Prepared, options: Options) -> Iterator[tuple[str, np.ndarray]]:
    """Titles and pictures, first that of the image itself."""
    own, other = samples[options.image], samples[(options.image + 1) % len(samples)]
    other = other if other["image"].shape == own["image"].shape else own
    targets, partner = {"label": own["label"]}, (other["image"], {"label": other["label"]})
    keys = jax.random.split(jax.random.key(options.seed), options.draws)

    def picture(image, label):
        image, label = np.rint(np.clip(image, 0, 255)).astype(np.uint8), np.asarray(label)
        if options.labels == "instances":
            return overlay_instances(image, label)
        return overlay(image, label, samples.palette, 0.3, samples.ignore_index)

    yield "image", picture(own["image"], own["label"])
    for word, changes in pipelines.items():
        run = jax.jit(lambda key, p=changes: transform(key, own["image"], targets, p, codec=samples.codec, partner=partner))
        for key in keys:
            image, moved = run(key)
            yield word, picture(image, moved["label"])


def draw(titled: Sequence[tuple[str, np.ndarray]]) -> np.ndarray:
    """The pictures in rows, each below its title."""
    blank = "", np.full_like(titled[0][1], 255)
    columns = min(COLUMNS, len(titled))
    rows = [titled[start : start + columns] for start in range(0, len(titled), columns)]
    rows[-1] = [*rows[-1], *[blank] * (columns - len(rows[-1]))]
    return np.concatenate([gallery([[tile for _, tile in row]], [title for title, _ in row]) for row in rows])


if __name__ == "__main__":
    command.run(lambda: main(sys.argv[1:]))
