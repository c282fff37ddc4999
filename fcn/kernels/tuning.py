"""Measures the forms of 3x3 convolutions."""

import math
import statistics
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp

from fcn.kernels.dense_convolution import convolution_in_form, kernel_gradient_in_form
from fcn.kernels.forms import CHANNELS, FORMS, PIXELS, PRODUCTS, Form, Product, keep, usual_form
from fcn.kernels.onednn import usable


def tune(rounds: int = 5) -> Path:
    """Measures all forms on this machine's processors, some minutes long; a file in the user's cache folder names the fastest.

    Where no form is clearly faster than the one that is used without measuring, that one stays. What is traced from then on, in
    this process and others, uses what was found; another machine with the same home folder and another version of JAX (0.10,
    0.12) do not, and have tables of their own in the file, nor does a process where oneDNN may be used if it might not here,
    or the other way round. Delete it to go back. Results differ between forms by rounding.

    Args:
      rounds: how often each form runs, in turn with the others; medians are compared.

    Returns:
      The file.
    """
    with jax.default_device(jax.local_devices(backend="cpu")[0]):
        table: dict[Product, list[str]] = {
            product: [_fastest_of_line(product, channels, rounds) for channels in CHANNELS] for product in PRODUCTS
        }
    return keep(table, onednn=usable())


BATCH = 4
"""Images; XLA's gradient by the kernel is slower for several than for one of as many pixels."""
CLEARLY = 0.9
"""A form takes the usual one's place if it needs less than so much of its time: measured times wander by some percent."""
_MOST_WORK = 2e10
"""Additions and multiplications of the largest convolution that is measured; larger ones take the form of the next smaller."""


def _fastest_of_line(product: Product, channels: int, rounds: int) -> str:
    letters = ""
    for pixels in PIXELS:
        measured = not letters or 18 * channels**2 * pixels <= _MOST_WORK
        letters += _fastest(product, channels, pixels, rounds)[0] if measured else letters[-1]
    return letters


def _fastest(product: Product, channels: int, pixels: int, rounds: int) -> Form:
    side, settings = math.isqrt(pixels // BATCH), ((1, 1), ((1, 1), (1, 1)), (1, 1))
    x, kernel = jnp.ones((BATCH, side, side, channels)), jnp.ones((3, 3, channels, channels))
    if product == "convolution":
        forms = [form for form in FORMS if form != ("native" if usable() else "onednn")]
        functions: dict[Any, Callable] = {form: convolution_in_form(form, *settings) for form in forms}
        arguments = x, kernel
    else:
        functions = {form: kernel_gradient_in_form(form, kernel.shape, *settings) for form in FORMS if form != "onednn"}
        arguments = x, x
    compiled: dict[Form, Callable] = {form: jax.jit(f).lower(*arguments).compile() for form, f in functions.items()}
    seconds, usual = _race(compiled, arguments, rounds), usual_form(product, channels, pixels, onednn=usable())
    best = min(seconds, key=lambda form: seconds[form])
    return best if seconds[best] < CLEARLY * seconds[usual] else usual


def _race(functions: dict[Form, Callable], arguments, rounds: int) -> dict[Form, float]:
    """Median seconds of each."""
    seconds: dict[Form, list[float]] = {form: [] for form in functions}
    for number in range(rounds + 1):
        for form, function in functions.items():
            start = time.perf_counter()
            jax.block_until_ready(function(*arguments))
            if number:
                seconds[form].append(time.perf_counter() - start)
    return {form: statistics.median(times) for form, times in seconds.items()}
