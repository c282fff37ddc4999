"""Predict: `python -m experiments.predict RUN IMAGE ... --out DIR`.

For each image, of any size, writes NAME_mask.png (class ids, shown in the classes' colours, of the image's size),
NAME_overlay.png (the classes in colour over the image) and NAME_legend.png (what the colours mean).

RUN is the folder of a run or of a saved model. With --model and --weights, published weights or a checkpoint of another
implementation take its place: `predict IMAGE ... --model fcn8s --weights FILE --source torchfcn --classes NAMES --out DIR`.
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

    inputs: Annotated[tuple[Path, ...], tyro.conf.Positional]
    """The run folder (or a saved model) and image files; with --model, image files only."""
    out: Path
    """The folder to write to; made if it is missing."""
    checkpoint: Literal["last", "best"] = "last"
    """Which checkpoint of a run: the last, or the one with the best validation mIoU."""
    model: str | None = None
    """A name of fcn.list_models(), in place of a run."""
    encoder: str | None = None
    """The encoder of --model, if not its default."""
    options: tuple[str, ...] = ()
    """Further fields of --model as name=value."""
    weights: str | None = None
    """The weights of --model: a published name or a checkpoint file."""
    source: str | None = None
    """Whose names a checkpoint file has: torchvision, timm, smp, torchfcn, espnet, cifar, caffe or tf_deeplab."""
    classes: Path | None = None
    """A text file with the names of the classes of a checkpoint file, one on each line."""
    overwrite: bool = False
    """Replace files of the same names."""

    @property
    def run(self) -> Path | None:
        """The folder of the network."""
        return self.inputs[0] if self.model is None and self.inputs else None

    @property
    def images(self) -> tuple[Path, ...]:
        """The image files."""
        return self.inputs if self.model is not None else self.inputs[1:]


def main(args: Sequence[str]) -> None:
    options = tyro.cli(PredictConfig, prog="python -m experiments.predict", description=__doc__, args=list(args))
    if (options.model is None) != (options.weights is None):
        raise ValueError("--model and --weights belong together; give both, or a run folder and neither")
    if options.run is not None and options.run.is_file():
        raise ValueError(f"{options.run} is a file; name the run folder (or --model and --weights) before the images")
    if not options.images:
        raise ValueError("no image was given; name at least one image file")
    outputs = plan(options)
    command.cache_compilations()
    import numpy as np

    from experiments.config import ModelConfig
    from experiments.networks import from_folder, from_weights
    from experiments.run_folder import save_picture
    from fcn import visualize
    from fcn.data import read_image
    from fcn.inference import make_predictor, predict_image

    if options.run is None:
        network = ModelConfig(options.model, options.encoder, options.options)
        network = from_weights(network, options.weights, options.source, options.classes)
    else:
        network = from_folder(options.run, options.checkpoint)
    channels, value_range = network.preprocessing.channels, network.preprocessing.value_range
    if channels not in (1, 3):
        raise ValueError(f"{options.run} takes images of {channels} channels; this command reads gray and RGB images")
    images = {path: read_image(path, channels=channels, value_range=value_range) for path in options.images}
    palette = np.array(network.palette, np.uint8)
    predict = make_predictor(network.model, network.preprocessing)
    size = network.preprocessing.size
    options.out.mkdir(parents=True, exist_ok=True)
    for path, image in images.items():
        mask = predict_image(predict, network.variables, image, long_side=None if size is None else max(size))
        mask_path, overlay_path, legend_path = outputs[path]
        save_picture(mask_path, mask.astype(np.uint8), palette)
        save_picture(overlay_path, visualize.overlay(image, mask, palette))
        save_picture(legend_path, visualize.legend(network.classes, palette))
        shares = np.bincount(mask.ravel(), minlength=len(network.classes)) / mask.size
        found = ", ".join(f"{network.classes[c]} {shares[c]:.0%}" for c in np.argsort(-shares) if shares[c] >= 0.005)
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
