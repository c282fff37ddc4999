"""What is a 1x1 convolution for? Eight claims, each with numbers computed on the spot and a picture.

Writes pointwise.json and pictures named pointwise_*.png into a folder. docs/pointwise.md explains what they show.
"""

import dataclasses
import json
import os
import sys
import time
from pathlib import Path
from typing import Annotated

import jax
import matplotlib
import numpy as np
import tyro
from PIL import Image, ImageOps, UnidentifiedImageError

from experiments import command
from experiments.pointwise_claims import CLAIMS
from experiments.pointwise_claims.claim import Claim, Setting
from experiments.pointwise_claims.drawing import STYLE
from experiments.pointwise_claims.scene import still_life
from fcn.ranges import Range, check_fields

LONGEST, SHORTEST = 320, 16
"""Sides of the photo in pixels: a larger one is scaled down, a smaller one refused."""


@dataclasses.dataclass(frozen=True)
class Options:
    """What is a 1x1 convolution for? Eight claims, with numbers computed on the spot and pictures."""

    out: Path = Path("runs/pointwise")
    """Folder for pointwise.json and the pictures pointwise_*.png; made if it is missing, other files in it are left alone."""
    image: Path | None = None
    """A photo of yours for claims 1 to 3, instead of the drawn still life."""
    claims: Annotated[tuple[int, ...], tyro.conf.arg(metavar="{1..8}")] = tuple(CLAIMS)
    """Which claims to show."""
    seed: Annotated[int, Range(0, 2**32 - 1)] = 0
    """Seed of the random weights and scenes."""
    width: Annotated[float, Range(1 / 64, 1)] = 0.25
    """Width of the VGG16 that claim 5 slides over an image; 1.0 is the network of the paper and takes a few minutes."""
    fast: bool = False
    """Fewer steps and smaller images: a quick look at the numbers, not good pictures."""

    def __post_init__(self):
        check_fields(self)


def main(options: Options) -> int:
    """Shows the claims; 0 if all of them hold, 1 if not."""
    _check(options)
    options.out.mkdir(parents=True, exist_ok=True)
    setting = Setting(load_photo(options.image), seed=options.seed, width=options.width, fast=options.fast)
    where = jax.devices()[0].platform
    print(f"What is a 1x1 convolution for?   computed here, on {where}, with jax {jax.__version__}\n", flush=True)
    start, shown = time.perf_counter(), {}
    with matplotlib.rc_context(STYLE), jax.default_matmul_precision("highest"):
        for number in sorted(set(options.claims)):
            if sys.stdout.isatty():
                print(f"{number}  ...", end="\r", flush=True)
            shown[number] = CLAIMS[number](setting)
            tell(number, shown[number])
            save(shown[number], options.out)
    write_numbers(shown, setting, options)
    holding = sum(claim.holds for claim in shown.values())
    print(f"{holding} of {len(shown)} claims hold, {time.perf_counter() - start:.0f} s. Numbers and pictures: {options.out}")
    return 0 if holding == len(shown) else 1


def load_photo(path: Path | None) -> np.ndarray:
    """The photo as [H, W, 3] float32 in 0..1 (multiples of 1/255), at most 320 pixels long; the still life for None.

    Raises:
        FileNotFoundError: where there is no such file.
        ValueError: where the file is no image that can be read, or is under 16 pixels high or wide.
    """
    if path is None:
        pixels = np.round(255 * still_life())
    else:
        try:
            with Image.open(path) as file:
                photo = ImageOps.exif_transpose(file).convert("RGB")
        except (UnidentifiedImageError, Image.DecompressionBombError, OSError) as error:
            if not path.exists():
                raise FileNotFoundError(f"there is no image {path}") from None
            raise ValueError(f"{path} is not an image that can be read: {error}") from None
        photo.thumbnail((LONGEST, LONGEST))
        pixels = np.asarray(photo)
        if min(pixels.shape[:2]) < SHORTEST:
            size = "{} x {}".format(*pixels.shape)
            raise ValueError(f"{path} is too small or too narrow ({size} pixels here); both sides need {SHORTEST} or more")
    return (pixels / 255).astype(np.float32)


def tell(number: int, claim: Claim) -> None:
    """Prints a claim: heading, numbers, verdict; in colour on a terminal (unless NO_COLOR is set)."""
    colour = sys.stdout.isatty() and not os.environ.get("NO_COLOR")
    bold, green, red, plain = ("\033[1m", "\033[32m", "\033[31m", "\033[0m") if colour else ("",) * 4
    print(f"{bold}{number}  {claim.title}{plain}")
    for line in claim.lines:
        print(f"   {line}")
    mark = f"{green}=> {plain}" if claim.holds else f"{red}=> DOES NOT HOLD HERE: {plain}"
    print(f"   {mark}{claim.verdict}\n", flush=True)


def save(claim: Claim, folder: Path) -> None:
    """Writes the claim's pictures."""
    for name, figure in claim.figures.items():
        figure.savefig(folder / name, dpi=110, metadata={"Software": None})


def write_numbers(shown: dict[int, Claim], setting: Setting, options: Options) -> None:
    """Writes pointwise.json: what the run was given, and for each claim its title, verdict, numbers and pictures."""
    claims = {
        number: {
            "title": claim.title,
            "holds": claim.holds,
            "verdict": claim.verdict,
            "numbers": claim.numbers,
            "pictures": list(claim.figures),
        }
        for number, claim in shown.items()
    }
    given = {
        "image": str(options.image) if options.image else "still life",
        "image_size": list(setting.image.shape[:2]),
        "seed": setting.seed,
        "width": setting.width,
        "fast": setting.fast,
        "jax": jax.__version__,
        "device": jax.devices()[0].device_kind,
    }
    (options.out / "pointwise.json").write_text(json.dumps({"given": given, "claims": claims}, indent=2) + "\n")


def _check(options: Options) -> None:
    """Refuses what cannot work before anything is computed."""
    if unknown := sorted(set(options.claims) - set(CLAIMS)):
        raise ValueError(f"--claims {unknown[0]}: there are claims 1 to {len(CLAIMS)}")
    if not options.claims:
        raise ValueError(f"--claims needs at least one number of 1 to {len(CLAIMS)}")
    if options.out.exists() and not options.out.is_dir():
        raise ValueError(f"--out {options.out} is a file; give a folder")


if __name__ == "__main__":
    command.cache_compilations()
    sys.exit(command.run(lambda: main(command.parse(Options, sys.argv[1:], "pointwise", __doc__))))
