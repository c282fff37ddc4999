"""Which algorithm of a 3x3 convolution is fast on a processor: a small table, measured for each machine by `fcn.kernels.tune`.

XLA's own ("native"), one product of stacked windows ("im2col", `fcn.kernels.im2col`), Winograd's algorithm along "rows" or over
"tiles" (`fcn.kernels.winograd`), and, where it may be used, oneDNN's ("onednn", `fcn.kernels.onednn`; the products in the
others are oneDNN's there, too).
"""

import functools
import json
import math
from pathlib import Path
from typing import Any, Literal, get_args

from fcn.draft import replacing
from fcn.environment import cache_folder, processors, version

Algorithm = Literal["native", "im2col", "rows", "tiles", "onednn"]
Product = Literal["convolution", "gradient"]
PRODUCTS: tuple[Product, ...] = get_args(Product)
ALGORITHMS: tuple[Algorithm, ...] = get_args(Algorithm)

CHANNELS = (16, 32, 64, 128, 256, 512, 1024)
PIXELS = (64, 256, 1024, 4096, 16384, 65536)
"""Of all images of a batch together."""
FEWEST: dict[Product, int] = {"convolution": 16, "gradient": 8}
"""With fewer channels on either side, none of these was measured to be fast but XLA's and oneDNN's."""

# A line for each number of channels, a letter for each number of pixels. Measured on two processors of an AMD EPYC with AVX2;
# what differs since JAX 0.12, on one with AVX-512.
_USUAL: dict[Product, tuple[str, ...]] = {
    "convolution": ("nnnnnn", "nnnttt" if version() < (0, 12) else "nnnttn", "nrtttt", "rrtttt", "irrttt", "irtttt", "iirttt"),
    "gradient": ("nrrttt", "nntttt", "rrtttt", "rrtttt", "rrtttt", "irtttt", "irrttt"),
}
# With oneDNN, on two processors of an Intel Xeon with AVX-512.
_USUAL_WITH_ONEDNN: dict[Product, tuple[str, ...]] = {
    "convolution": ("iitooo", "ttoooo", "iooooo", "iotttt", "irtttt", "iitttt", "iitttt"),
    "gradient": ("iitttr", "nnnttt", "nntttt", "ittttt", "ittttt", "irtttt", "rrrttt"),
}


def measured_algorithm(product: Product, channels: int, features: int, positions: int, *, onednn: bool = False) -> Algorithm:
    """The fastest for a convolution or its kernel's gradient, as with as many channels on both sides.

    Args:
      product: what is computed.
      channels: of the input.
      features: channels of the output.
      positions: of the output, in all images of the batch.
      onednn: whether it may be used.
    """
    like = math.sqrt(channels * features) if product == "convolution" else (channels + features) / 2
    return _look_up(machine_table(onednn)[product], like, positions)


def usual_algorithm(product: Product, channels: int, pixels: int, *, onednn: bool = False) -> Algorithm:
    """What a machine takes which has not been measured."""
    return _look_up(_usual(onednn)[product], channels, pixels)


def _look_up(lines: tuple[str, ...], channels: int | float, pixels: int) -> Algorithm:
    letter = lines[_nearest(CHANNELS, channels)][_nearest(PIXELS, pixels)]
    return next(name for name in ALGORITHMS if name.startswith(letter))


def _nearest(steps: tuple[int, ...], value: int | float) -> int:
    """The place of the step whose logarithm is nearest."""
    return min(range(len(steps)), key=lambda place: abs(math.log(steps[place] / max(value, 1))))


@functools.cache
def machine_table(onednn: bool) -> dict[Product, tuple[str, ...]]:
    """This machine's, else the usual one."""
    try:
        measured = _kept()[_machine(onednn)]
        return {product: _checked(measured[product], onednn and product == "convolution") for product in PRODUCTS}
    except (ValueError, LookupError, TypeError):
        return _usual(onednn)  # not measured yet, or by another version


def _usual(onednn):
    return _USUAL_WITH_ONEDNN if onednn else _USUAL


def keep(found: dict[Product, list[str]], *, onednn: bool = False) -> Path:
    """Writes this machine's table, from now on used, beside those of others; returns the file."""
    path, tables = _path(), {**_kept(), _machine(onednn): found}
    path.parent.mkdir(parents=True, exist_ok=True)
    with replacing(path) as draft:
        draft.write_text(json.dumps(tables, indent=2) + "\n")
    machine_table.cache_clear()
    return path


def _kept() -> dict[str, Any]:
    """The tables of all machines that share the home folder."""
    try:
        tables = json.loads(_path().read_text())
    except (OSError, ValueError, RuntimeError):
        return {}  # nothing kept yet, or there is no home
    return tables if isinstance(tables, dict) else {}


def _checked(lines: list[str], onednn: bool) -> tuple[str, ...]:
    letters = {name[0] for name in ALGORITHMS if name != "onednn" or onednn}
    if [len(line) for line in lines] != [len(PIXELS)] * len(CHANNELS) or not set("".join(lines)) <= letters:
        raise ValueError
    return tuple(lines)


def _path() -> Path:
    return cache_folder() / "forms.json"


def _machine(onednn: bool = False) -> str:
    """Its processors, JAX's version, whose own algorithms differ, and whether oneDNN may be used."""
    major, minor, *_ = version()
    return f"{processors()}, JAX {major}.{minor}{', oneDNN' if onednn else ''}"
