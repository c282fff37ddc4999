"""Predict: `python -m experiments.predict RUN IMAGE ... --out DIR`.

For each image, of any size, writes NAME_mask.png (class ids, of the image's size), NAME_overlay.png (the classes in colour
over the image) and NAME_legend.png (what the colours mean).
"""

import dataclasses
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Literal

import tyro

from experiments import command


@dataclasses.dataclass(frozen=True)
class PredictConfig:
    """Class maps of images by a trained network."""

    run: Annotated[Path, tyro.conf.Positional]
    """The run folder."""
    images: Annotated[tuple[Path, ...], tyro.conf.Positional]
    """Image files."""
    out: Path
    """The folder to write to; made if it is missing."""
    checkpoint: Literal["last", "best"] = "last"
    """Which checkpoint: the last, or the one with the best validation mIoU."""
    overwrite: bool = False
    """Replace files of the same names."""


def main(args: Sequence[str]) -> None:
    options = tyro.cli(PredictConfig, prog="python -m experiments.predict", description=__doc__, args=list(args))
    if not options.images:
        raise ValueError("no image was given; name at least one image file")
    outputs = plan(options)
    command.cache_compilations()
    import numpy as np

    from experiments.build import restore, statistics
    from experiments.run_folder import RunFolder, save_picture
    from fcn import visualize
    from fcn.data import read_image
    from fcn.inference import make_predictor, predict_image

    run = restore(RunFolder(options.run), options.checkpoint)
    channels = run.image_shape[2]
    images = {path: read_image(path, channels=channels) for path in options.images}
    palette = np.array(run.palette, np.uint8)
    predict = make_predictor(run.model, *statistics(channels))
    long_side = None if run.config.data.size is None else max(run.config.data.size)
    options.out.mkdir(parents=True, exist_ok=True)
    for path, image in images.items():
        mask = predict_image(predict, run.variables, image, long_side=long_side)
        mask_path, overlay_path, legend_path = outputs[path]
        save_picture(mask_path, mask.astype(np.uint8))
        save_picture(overlay_path, visualize.overlay(image, mask, palette))
        save_picture(legend_path, visualize.legend(run.classes, palette))
        shares = np.bincount(mask.ravel(), minlength=len(run.classes)) / mask.size
        found = ", ".join(f"{run.classes[c]} {shares[c]:.0%}" for c in np.argsort(-shares) if shares[c] >= 0.005)
        print(f"{path} -> {mask_path}: {found}")


def plan(options: PredictConfig) -> dict[Path, tuple[Path, Path, Path]]:
    """The files to write for each image.

    Raises:
      FileExistsError: a file exists already, or two images would write the same.
      FileNotFoundError: an image is missing.
    """
    outputs = {}
    for path in options.images:
        if not path.is_file():
            raise FileNotFoundError(f"no image {path}")
        outputs[path] = tuple(options.out / f"{path.stem}_{kind}.png" for kind in ("mask", "overlay", "legend"))
    files = [file for files in outputs.values() for file in files]
    twice = sorted({file.name for file in files if files.count(file) > 1})
    if twice:
        raise FileExistsError(f"two images would write {twice[0]}; predict them into different folders")
    taken = [] if options.overwrite else [file for file in files if file.exists()]
    if taken:
        raise FileExistsError(f"{taken[0]} exists already; give another --out, or --overwrite")
    return outputs


if __name__ == "__main__":
    command.keep_memory()
    command.run(lambda: main(sys.argv[1:]))
