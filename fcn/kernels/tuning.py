"""Measures the algorithms of 3x3 convolutions."""

import math
import statistics
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp

from fcn.kernels.dense_convolution import convolution, kernel_gradient
from fcn.kernels.measured import ALGORITHMS, CHANNELS, PIXELS, PRODUCTS, Algorithm, Product, keep, usual_algorithm
from fcn.kernels.onednn import usable


def tune(rounds: int = 5) -> Path:
    """Measures the algorithms of 3x3 convolutions on this machine's processors, which takes minutes, and keeps the fastest.

    Where none is clearly faster than the one that is used without measuring, that one stays. What is traced from then on, in
    this process and others, uses what was found; another machine with the same home folder and another version of JAX (0.10,
    0.12) do not, and have tables of their own in the file, nor does a process where oneDNN may be used if it might not here,
    or the other way round. Delete it to go back. Results differ between algorithms by rounding.

    Args:
      rounds: how often each runs, in turn with the others; medians are compared.

    Returns:
      The file.
    """
    with jax.default_device(jax.local_devices(backend="cpu")[0]):
        table: dict[Product, list[str]] = {
            product: [_fastest_of_line(product, channels, rounds) for channels in CHANNELS] for product in PRODUCTS
        }
    return keep(table, onednn=usable())


BATCH = 4
"""Images; XLA's gradient with respect to the kernel is slower for several than for one of as many pixels."""
CLEARLY = 0.9
"""One takes the usual one's place if it needs less than so much of its time: measured times wander by some percent."""
_MOST_WORK = 2e10
"""Additions and multiplications of the largest convolution that is measured; larger ones take that of the next smaller."""


def _fastest_of_line(product: Product, channels: int, rounds: int) -> str:
    letters = ""
    for pixels in PIXELS:
        measured = not letters or 18 * channels**2 * pixels <= _MOST_WORK
        letters += _fastest(product, channels, pixels, rounds)[0] if measured else letters[-1]
    return letters


def _fastest(product: Product, channels: int, pixels: int, rounds: int) -> Algorithm:
    side, settings = math.isqrt(pixels // BATCH), ((1, 1), ((1, 1), (1, 1)), (1, 1))
    x, kernel = jnp.ones((BATCH, side, side, channels)), jnp.ones((3, 3, channels, channels))
    if product == "convolution":
        names = [name for name in ALGORITHMS if name != ("native" if usable() else "onednn")]
        functions: dict[Any, Callable] = {name: convolution(name, *settings) for name in names}
        arguments = x, kernel
    else:
        functions = {name: kernel_gradient(name, kernel.shape, *settings) for name in ALGORITHMS if name != "onednn"}
        arguments = x, x
    compiled: dict[Algorithm, Callable] = {name: jax.jit(f).lower(*arguments).compile() for name, f in functions.items()}
    seconds, usual = _race(compiled, arguments, rounds), usual_algorithm(product, channels, pixels, onednn=usable())
    best = min(seconds, key=lambda name: seconds[name])
    return best if seconds[best] < CLEARLY * seconds[usual] else usual


def _race(functions: dict[Algorithm, Callable], arguments, rounds: int) -> dict[Algorithm, float]:
    """Median seconds of each."""
    seconds: dict[Algorithm, list[float]] = {name: [] for name in functions}
    for number in range(rounds + 1):
        for name, function in functions.items():
            start = time.perf_counter()
            jax.block_until_ready(function(*arguments))
            if number:
                seconds[name].append(time.perf_counter() - start)
    return {name: statistics.median(times) for name, times in seconds.items()}
