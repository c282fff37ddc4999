"""Which form of a 3x3 convolution is fast on a processor: a small table, measured for each machine by `fcn.kernels.tune`.

The forms are XLA's own ("native"), one product of stacked windows ("im2col", `fcn.kernels.im2col`), Winograd's algorithm over
"rows" or "tiles" (`fcn.kernels.winograd`), and, where it may be used, oneDNN's ("onednn", `fcn.kernels.onednn`; the products in
the others are oneDNN's there, too).
"""

import functools
import json
import math
import os
import platform
from pathlib import Path
from typing import Any, Literal, get_args

import jax

Form = Literal["native", "im2col", "rows", "tiles", "onednn"]
Product = Literal["convolution", "gradient"]
PRODUCTS: tuple[Product, ...] = get_args(Product)
FORMS: tuple[Form, ...] = get_args(Form)

CHANNELS = (16, 32, 64, 128, 256, 512, 1024)
PIXELS = (64, 256, 1024, 4096, 16384, 65536)
"""Of all images of a batch together."""
FEWEST: dict[Product, int] = {"convolution": 16, "gradient": 8}
"""With fewer channels on either side, none of these forms but XLA's and oneDNN's was measured to be fast, except by rows to
many features (`FEWEST_TO_MANY`)."""

BEFORE_0_12 = jax.__version_info__ < (0, 12)
"""Whether XLA's library for convolutions (YNNPACK) is that of JAX 0.10 and 0.11, which is slow for more shapes."""
ONE_PROCESSOR = 16
"""XLA before 0.12 mostly convolves on one processor where either side has more channels: 16 to 64 at 4 x 128x128 in 19 ms, by
rows 12."""
FEWEST_TO_MANY, MANY = 8, 80
"""Before JAX 0.12 a convolution of many pixels goes by rows from so many channels to more features than that, too."""

# A line for each number of channels, a letter for each number of pixels. Measured on two processors of an AMD EPYC with AVX2;
# what differs since JAX 0.12, on one with AVX-512.
_USUAL: dict[Product, tuple[str, ...]] = {
    "convolution": ("nnnnnn", "nnnttt" if BEFORE_0_12 else "nnnttn", "nrtttt", "rrtttt", "irrttt", "irtttt", "iirttt"),
    "gradient": ("nrrttt", "nntttt", "rrtttt", "rrtttt", "rrtttt", "irtttt", "irrttt"),
}
# With oneDNN, on two processors of an Intel Xeon with AVX-512.
_USUAL_WITH_ONEDNN: dict[Product, tuple[str, ...]] = {
    "convolution": ("iitooo", "ttoooo", "iooooo", "iotttt", "irtttt", "iitttt", "iitttt"),
    "gradient": ("iitttr", "nnnttt", "nntttt", "ittttt", "ittttt", "irtttt", "rrrttt"),
}


def leaves_processors_idle() -> bool:
    """Whether XLA's library convolves on one processor mostly, dividing only the columns of an output, in wide parts.

    Where there are several devices, the images may be split over them already, and all processors are busy anyway.
    """
    return BEFORE_0_12 and jax.device_count() == 1


def form_3x3(product: Product, channels: int, features: int, pixels: int, *, onednn: bool = False) -> Form:
    """The form for a convolution ("convolution") or its kernel's gradient ("gradient").

    Where oneDNN may be used, the table decides, and with fewer than 16 channels on either side a convolution is oneDNN's. Where
    not, one of many pixels is XLA's own from more channels to 16 (64 to 16 at 2 x 224x224: 15 ms, by tiles 35, by rows 54), and
    goes by rows from 16 to more and from 8 to many (12 to 180 at 2 x 224x224: 12 ms, XLA's 20), whatever the table says, which
    is measured with as many channels on both sides; since JAX 0.12 these are XLA's own. Few channels on both sides go in pairs
    and do not come here (`fcn.kernels.pairs`). The gradient by the input is a convolution from the features to the channels.

    Args:
      product: what is computed.
      channels: of the input.
      features: channels of the output.
      pixels: of the output, in all images of the batch.
      onednn: whether it may be used.
    """
    fewest = min(channels, features)
    if onednn and product == "convolution" and fewest < FEWEST[product]:
        return "onednn"
    if not onednn and product == "convolution" and fewest <= ONE_PROCESSOR < max(channels, features) and pixels >= 4096:
        by_rows = channels == ONE_PROCESSOR or (channels >= FEWEST_TO_MANY and features > MANY)
        return "rows" if BEFORE_0_12 and by_rows else "native"
    if fewest < FEWEST[product]:
        return "native"
    # What as many channels on both sides are like.
    like = math.sqrt(channels * features) if product == "convolution" else (channels + features) / 2
    return _look_up(_table(onednn)[product], like, pixels)


def usual_form(product: Product, channels: int, pixels: int, *, onednn: bool = False) -> Form:
    """The form that a machine takes which has not been measured."""
    return _look_up(_usual(onednn)[product], channels, pixels)


def _look_up(lines: tuple[str, ...], channels: int | float, pixels: int) -> Form:
    letter = lines[_nearest(CHANNELS, channels)][_nearest(PIXELS, pixels)]
    return next(form for form in FORMS if form.startswith(letter))


def _nearest(steps: tuple[int, ...], value: int | float) -> int:
    """The place of the step whose logarithm is nearest."""
    return min(range(len(steps)), key=lambda place: abs(math.log(steps[place] / max(value, 1))))


@functools.cache
def _table(onednn: bool) -> dict[Product, tuple[str, ...]]:
    """This machine's, else the usual one."""
    try:
        measured = _kept()[_machine(onednn)]
        return {product: _checked(measured[product], onednn and product == "convolution") for product in PRODUCTS}
    except (ValueError, LookupError, TypeError):
        return _usual(onednn)  # not measured yet, or by another version


def _usual(onednn):
    return _USUAL_WITH_ONEDNN if onednn else _USUAL


def keep(table: dict[Product, list[str]], *, onednn: bool = False) -> Path:
    """Writes this machine's table, from now on used, beside those of others; returns the file."""
    path, tables = _path(), {**_kept(), _machine(onednn): table}
    path.parent.mkdir(parents=True, exist_ok=True)
    new = path.with_name(f"{path.name}.{os.getpid()}")
    new.write_text(json.dumps(tables, indent=2) + "\n")
    new.replace(path)
    _table.cache_clear()
    return path


def _kept() -> dict[str, Any]:
    """The tables of all machines that share the home folder."""
    try:
        tables = json.loads(_path().read_text())
    except (OSError, ValueError, RuntimeError):
        return {}  # nothing kept yet, or there is no home
    return tables if isinstance(tables, dict) else {}


def _checked(lines: list[str], onednn: bool) -> tuple[str, ...]:
    letters = {form[0] for form in FORMS if form != "onednn" or onednn}
    if [len(line) for line in lines] != [len(PIXELS)] * len(CHANNELS) or not set("".join(lines)) <= letters:
        raise ValueError
    return tuple(lines)


def _path() -> Path:
    return Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache").expanduser() / "fcn" / "forms.json"


def _machine(onednn: bool = False) -> str:
    """The processors' kind and number (hosts of virtual machines give the same name to several generations), JAX's version,
    whose own forms differ, and whether oneDNN may be used."""
    told = [platform.processor() or platform.machine()]
    information = Path("/proc/cpuinfo")
    if information.exists():
        first = [line.partition(":") for line in information.read_text().partition("\n\n")[0].splitlines()]
        told = [value.strip() for name, _, value in first if name.strip() in ("cpu family", "model", "model name", "CPU part")]
    major, minor, *_ = jax.__version_info__
    return f"{' '.join(told)} x {os.cpu_count()}, JAX {major}.{minor}{', oneDNN' if onednn else ''}"
