"""Which form of a 3x3 convolution is fast on a processor: a small table, measured once for each machine by `tune`.

The forms are XLA's own ("native"), one product of stacked windows ("im2col", `fcn.layers.im2col`) and Winograd's algorithm over
"rows" or "tiles" (`fcn.layers.winograd`).
"""

import functools
import json
import math
import os
import platform
import statistics
import time
from collections.abc import Callable
from pathlib import Path
from typing import Literal, get_args

import jax
import jax.numpy as jnp

Form = Literal["native", "im2col", "rows", "tiles"]
Product = Literal["convolution", "gradient"]
PRODUCTS: tuple[Product, ...] = get_args(Product)
FORMS: tuple[Form, ...] = get_args(Form)

CHANNELS = (16, 32, 64, 128, 256, 512, 1024)
PIXELS = (64, 256, 1024, 4096, 16384, 65536)
"""Of all images of a batch together."""

# A line for each number of channels, a letter for each number of pixels. Measured on two processors of an AMD EPYC with AVX2.
_USUAL: dict[Product, tuple[str, ...]] = {
    "convolution": ("nnnnnn", "nnnttt", "nrtttt", "rrtttt", "irrttt", "irtttt", "iirttt"),
    "gradient": ("nnnnnt", "nntttt", "rrtttt", "rrtttt", "rrtttt", "irtttt", "irrttt"),
}


def form_3x3(product: Product, channels: int, features: int, pixels: int) -> Form:
    """The form for a convolution ("convolution", its input's gradient as well) or its kernel's gradient ("gradient").

    Args:
      product: what is computed.
      channels: of the input.
      features: channels of the output.
      pixels: of the output, in all images of the batch.
    """
    fewest = min(channels, features)
    if fewest < CHANNELS[0]:
        return "native"
    letter = _table()[product][_nearest(CHANNELS, fewest)][_nearest(PIXELS, pixels)]
    return next(form for form in FORMS if form.startswith(letter))


def tune(rounds: int = 5) -> Path:
    """Measures all forms on this machine's processors, some minutes long; a file in the user's cache folder names the fastest.

    What is traced from then on, in this process and others, uses them; another machine with the same home folder does not.
    Delete the file to go back. Results differ between forms by rounding.

    Args:
      rounds: how often each form runs, in turn with the others; medians are compared.

    Returns:
      The file.
    """
    with jax.default_device(jax.local_devices(backend="cpu")[0]):
        table = {product: [_fastest_of_line(product, channels, rounds) for channels in CHANNELS] for product in PRODUCTS}
    path = _path()
    path.parent.mkdir(parents=True, exist_ok=True)
    new = path.with_name(f"{path.name}.{os.getpid()}")
    new.write_text(json.dumps({"machine": _machine(), "jax": jax.__version__, **table}, indent=2) + "\n")
    new.replace(path)
    _table.cache_clear()
    return path


_MOST_WORK = 2e10
"""Additions and multiplications of the largest convolution that is measured; larger ones take the form of the next smaller."""


def _fastest_of_line(product: Product, channels: int, rounds: int) -> str:
    letters = ""
    for pixels in PIXELS:
        measured = not letters or 18 * channels**2 * pixels <= _MOST_WORK
        letters += _fastest(product, channels, pixels, rounds)[0] if measured else letters[-1]
    return letters


def _fastest(product: Product, channels: int, pixels: int, rounds: int) -> Form:
    from fcn.layers.convolution import convolution_in_form, kernel_gradient_in_form

    side, settings = math.isqrt(pixels), ((1, 1), ((1, 1), (1, 1)), (1, 1))
    x, kernel = jnp.ones((1, side, side, channels)), jnp.ones((3, 3, channels, channels))
    if product == "convolution":
        functions, arguments = {form: convolution_in_form(form, *settings) for form in FORMS}, (x, kernel)
    else:
        functions = {form: kernel_gradient_in_form(form, kernel.shape, *settings) for form in FORMS}
        arguments = x, x
    functions = {form: jax.jit(function).lower(*arguments).compile() for form, function in functions.items()}
    seconds = _race(functions, arguments, rounds)
    return min(seconds, key=seconds.get)


def _race(functions: dict[Form, Callable], arguments, rounds: int) -> dict[Form, float]:
    """Median seconds of each."""
    seconds = {form: [] for form in functions}
    for number in range(rounds + 1):
        for form, function in functions.items():
            start = time.perf_counter()
            jax.block_until_ready(function(*arguments))
            if number:
                seconds[form].append(time.perf_counter() - start)
    return {form: statistics.median(times) for form, times in seconds.items()}


def _nearest(steps: tuple[int, ...], value: int) -> int:
    """The place of the step whose logarithm is nearest."""
    return min(range(len(steps)), key=lambda place: abs(math.log(steps[place] / max(value, 1))))


@functools.cache
def _table() -> dict[Product, tuple[str, ...]]:
    """This machine's, else the usual one."""
    try:
        measured = json.loads(_path().read_text())
        if measured["machine"] == _machine():
            return {product: _checked(measured[product]) for product in PRODUCTS}
    except (OSError, ValueError, LookupError, TypeError):
        pass  # not measured yet, or by another version
    return _USUAL


def _checked(lines: list[str]) -> tuple[str, ...]:
    letters = {form[0] for form in FORMS}
    if [len(line) for line in lines] != [len(PIXELS)] * len(CHANNELS) or not set("".join(lines)) <= letters:
        raise ValueError
    return tuple(lines)


def _path() -> Path:
    return Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache").expanduser() / "fcn" / "forms.json"


def _machine() -> str:
    """The processors' name and number."""
    name = platform.processor() or platform.machine()
    information = Path("/proc/cpuinfo")
    if information.exists():
        names = [
            line.partition(":")[2].strip() for line in information.read_text().splitlines() if line.startswith("model name")
        ]
        name = names[0] if names else name
    return f"{name} x {os.cpu_count()}"
