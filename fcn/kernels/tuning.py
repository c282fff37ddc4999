"""Measures the algorithms of 3x3 convolutions."""

import math
import statistics
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp

from fcn.environment import has_one_device, on_cpu
from fcn.kernels.call import Problem
from fcn.kernels.dense_convolution import function
from fcn.kernels.measured import (
    ALGORITHMS,
    CHANNELS,
    PIXELS,
    PRODUCTS,
    Algorithm,
    Product,
    keep,
    machine_table,
    usual_algorithm,
)
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
    with on_cpu():
        found: dict[Product, list[str]] = {
            product: [_fastest_of_line(product, channels, rounds) for channels in CHANNELS] for product in PRODUCTS
        }
    return keep(found, onednn=usable())


def measured_table() -> dict[str, str]:
    """What this machine takes for 3x3 convolutions and their kernels' gradients, as `tune` measured it or as is usual.

    Returns:
      by "convolution" and "gradient" a word for each number of channels, with the first letter of the algorithm for each number
      of pixels.
    """
    return {product: " ".join(lines) for product, lines in machine_table(usable()).items()}


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
    side, usual = math.isqrt(pixels // BATCH), usual_algorithm(product, channels, pixels, onednn=usable())
    x, kernel = jnp.ones((BATCH, side, side, channels)), jnp.ones((3, 3, channels, channels))
    problem = Problem((x.shape,), kernel.shape, x.dtype, (1, 1), ((1, 1), (1, 1)), (1, 1), alone=has_one_device())
    operation, other = ("convolution", kernel) if product == "convolution" else ("kernel_gradient", x)
    left_out = "native" if product == "convolution" and usable() else "onednn"
    functions: dict[Algorithm, Callable] = {name: function(operation, name, problem) for name in ALGORITHMS if name != left_out}
    compiled: dict[Algorithm, Any] = {name: jax.jit(f).lower(x, other).compile() for name, f in functions.items()}
    seconds = _race(compiled, (x, other), rounds)
    best = min(seconds, key=lambda name: seconds[name])
    return best if seconds[best] < CLEARLY * seconds[usual] else usual


def _race(functions: dict[Algorithm, Callable], arguments, rounds: int) -> dict[Algorithm, float]:
    """Median seconds of each."""
    seconds: dict[Algorithm, list[float]] = {name: [] for name in functions}
    for number in range(rounds + 1):
        for name, run in functions.items():
            start = time.perf_counter()
            jax.block_until_ready(run(*arguments))
            if number:
                seconds[name].append(time.perf_counter() - start)
    return {name: statistics.median(times) for name, times in seconds.items()}
