"""What a claim is: numbers computed on the spot, a few lines that tell them, a verdict, and pictures."""

import dataclasses
import time
from collections.abc import Callable

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from matplotlib.figure import Figure


@dataclasses.dataclass(frozen=True)
class Setting:
    """What every claim may use.

    Attributes:
        image: the photo, [H, W, 3] float32 in 0..1.
        seed: of the random features, weights and scenes.
        width: width of the VGG16 that claim 5 slides (1.0 is the network of the paper).
        fast: smaller sizes and fewer steps, for tests; the numbers that have a closed form stay the same.
    """

    image: np.ndarray
    seed: int = 0
    width: float = 0.25
    fast: bool = False

    def rng(self) -> np.random.Generator:
        """A fresh generator, so that no claim depends on which others ran before it."""
        return np.random.default_rng(self.seed)


@dataclasses.dataclass(frozen=True)
class Claim:
    """One answer to "what is a 1x1 convolution for?".

    Attributes:
        title: the claim, as a sentence.
        lines: two to six lines with the numbers.
        verdict: one sentence that says what the numbers show.
        holds: whether the numbers agree with the claim.
        numbers: everything measured, as JSON types; goes to pointwise.json.
        figures: file name without folder -> picture.
    """

    title: str
    lines: tuple[str, ...]
    verdict: str
    holds: bool
    numbers: dict
    figures: dict[str, Figure]


def seconds(function: Callable, *arguments, repeats: int = 5) -> float:
    """Median wall time of `function(*arguments)`, after one call that compiles it."""
    jax.block_until_ready(function(*arguments))
    times = []
    for _ in range(repeats):
        start = time.perf_counter()
        jax.block_until_ready(function(*arguments))
        times.append(time.perf_counter() - start)
    return float(np.median(times))


def largest_difference(a, b) -> float:
    """The largest absolute difference between two arrays of the same shape, as a Python float."""
    a, b = np.asarray(a, np.float64), np.asarray(b, np.float64)
    if a.shape != b.shape:
        raise ValueError(f"shapes differ: {a.shape} and {b.shape}")
    return float(np.abs(a - b).max())


def random_variables(module: nn.Module, example: jax.Array | np.ndarray, rng: np.random.Generator) -> dict:
    """Variables as `module.init` gives them, filled by numpy: kernels N(0, 2 / fan-in), scales and variances 1, the rest 0.

    Saves the compilation of a function that would run once.
    """

    def fill(path, leaf):
        name = path[-1].key
        if name == "kernel":
            deviation = np.sqrt(2 / np.prod(leaf.shape[:-1]))
            return jnp.asarray(rng.normal(0, deviation, leaf.shape), leaf.dtype)
        return jnp.full(leaf.shape, 1.0 if name in ("scale", "var") else 0.0, leaf.dtype)

    return jax.tree.map_with_path(fill, shapes(module, example))


def shapes(module: nn.Module, example: jax.Array | np.ndarray | jax.ShapeDtypeStruct) -> dict:
    """The shapes of the module's variables for an input like `example`; computes nothing."""
    return jax.eval_shape(module.init, jax.random.key(0), example)


def count(tree) -> int:
    """Number of parameters in a tree of arrays or of shapes."""
    return sum(int(np.prod(leaf.shape)) for leaf in jax.tree.leaves(tree))
