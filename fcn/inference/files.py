"""Image files through a network: a mask and an overlay for each."""

from collections.abc import Callable, Iterable
from pathlib import Path
from typing import NamedTuple

import numpy as np
from jaxtyping import UInt8
from PIL import Image

from fcn.data import read_image
from fcn.inference.whole import predict_image
from fcn.preprocessing import Preprocessing
from fcn.visualize import overlay
from fcn.visualize.files import indexed, save_pictures


class Files(NamedTuple):
    """An image and what is written for it."""

    image: Path
    mask: Path
    overlay: Path


def plan_files(images: Iterable[Path], out: Path) -> list[Files]:
    """NAME_mask.png and NAME_overlay.png in `out` for each image.

    Raises:
        FileNotFoundError: an image is missing.
        FileExistsError: a file is there already, or two images have the same name.
    """
    plans: dict[Path, Files] = {}
    for image in images:
        if not image.is_file():
            raise FileNotFoundError(f"no image {image}")
        files = Files(image, *(out / f"{image.stem}_{kind}.png" for kind in ("mask", "overlay")))
        if taken := [file for file in files[1:] if file.exists()]:
            raise FileExistsError(f"{taken[0]} exists already; give another folder")
        if files.mask in plans:
            raise FileExistsError(
                f"{plans[files.mask].image} and {image} would both write {files.mask}; take one after the other"
            )
        plans[files.mask] = files
    return list(plans.values())


def predict_file(
    predict: Callable, variables: dict, expected: Preprocessing, palette: UInt8[np.ndarray, "k 3"], files: Files
) -> None:
    """Writes the classes of an image as a PNG in the colours of `palette`, and the image tinted by them.

    Args:
        predict: what `make_predictor` gave.
        variables: the network's.
        expected: what it expects of images, which decides at which size it sees this one.
        palette: a colour for each of up to 256 classes.
        files: what is read and written.

    Raises:
        ValueError: the image cannot be read.
        OSError: the pictures cannot be written.
    """
    image = read_image(files.image, channels=expected.channels, value_range=expected.value_range)
    labels = predict_image(predict, variables, image, size=expected.seen_size(*image.shape[:2])).astype(np.uint8)
    save_pictures({files.overlay: Image.fromarray(overlay(image, labels, palette)), files.mask: indexed(labels, palette)})
