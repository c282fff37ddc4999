"""Initialisers of kernels [..., C_in, C_out] that draw their numbers all at once.

Distributions are those of Flax's initialisers of the same names. In the `init` of a `fcn.layers.Network` they leave notes
instead of numbers, and `draw` makes all from a few rows: XLA takes more than 0.1 s to compile a random number generator, and
some networks have three hundred kernels. Elsewhere they draw alone.
"""

import contextlib
import contextvars
import math
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any, Literal

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from flax import struct
from jax.core import Tracer
from jaxtyping import Array, Float

from fcn.environment import CONFIG

Distribution = Literal["truncated_normal", "normal", "uniform"]

_BLOCK = 2**15
"""Numbers of one turn; they stay in the cache."""
_SHARE = 64
"""Blocks of one thread at a time, at most."""
_noting = contextvars.ContextVar("_noting", default=False)


class Note(struct.PyTreeNode, nn.meta.AxisMetadata):
    """In place of a variable: how it is drawn. Flax computes with `value`, which is zeros."""

    value: Any
    distribution: Distribution = struct.field(pytree_node=False)
    deviation: float = struct.field(pytree_node=False)

    def unbox(self) -> Any:
        """What computes."""
        return self.value

    def replace_boxed(self, val: Any) -> "Note":
        """The same note on another value."""
        return self.replace(value=val)

    def add_axis(self, index: int, params: dict) -> "Note":
        """Nothing is noted of axes."""
        return self

    def remove_axis(self, index: int, params: dict) -> "Note":
        """Nothing is noted of axes."""
        return self


@contextlib.contextmanager
def noting() -> Iterator[None]:
    """Initialisers give a `Note` each."""
    token = _noting.set(True)
    try:
        yield
    finally:
        _noting.reset(token)


def initialiser(distribution: Distribution, deviation: Callable[[Sequence[int]], float]) -> nn.initializers.Initializer:
    """Draws numbers of mean 0 and the standard deviation that `deviation` gives for a shape."""

    def init(key: Array, shape: Sequence[int], dtype: Any = jnp.float32) -> Float[Array, "..."] | Note:
        note = Note(jax.ShapeDtypeStruct(tuple(shape), dtype), distribution, deviation(shape))
        return note.replace(value=jnp.zeros(shape, dtype)) if _noting.get() else draw(key, [note])[0]

    return init


def draw(key: Array, notes: Sequence[Note]) -> list[Array]:
    """The arrays that the notes describe, the same whether compiled or not."""
    groups: dict[tuple[Distribution, Any], list[int]] = {}
    for i, note in enumerate(notes):
        groups.setdefault((note.distribution, jnp.dtype(note.value.dtype)), []).append(i)
    arrays: list[Any] = [None] * len(notes)
    for number, ((distribution, dtype), members) in enumerate(groups.items()):
        sizes = [math.prod(notes[i].value.shape) for i in members]
        blocks = [-(-size // _BLOCK) for size in sizes]
        deviations = np.repeat([notes[i].deviation for i in members], blocks).astype(dtype)
        own = jax.random.fold_in(key, number)
        compiled = isinstance(own, Tracer)
        row = (_row if compiled else _row_in_threads)(own, np.arange(len(deviations)), deviations, distribution)
        for i, start, size in zip(members, np.cumsum([0, *blocks]) * _BLOCK, sizes):
            part = row[start : start + size].reshape(notes[i].value.shape)
            arrays[i] = part if compiled else jax.device_put(part)  # on a CPU this copies nothing
    return arrays


@partial(jax.jit, static_argnums=3)
def _row(key, places, deviations, distribution):
    """Blocks of numbers, one after the other, each drawn for its place and of its own deviation."""
    unit = nn.initializers.variance_scaling(1.0, "fan_in", distribution)

    def block(place_and_deviation):
        place, deviation = place_and_deviation
        return deviation * unit(jax.random.fold_in(key, place), (1, _BLOCK), deviations.dtype)

    return jax.lax.map(block, (places, deviations)).reshape(-1)


def _row_in_threads(key, places, deviations, distribution) -> np.ndarray:
    """The same in host memory, by programs of a few sizes that serve all networks, each run of them in a thread.

    XLA runs a loop, and whatever one thread asks for, on one processor.
    """
    share = min(_SHARE, 1 << max(len(places) - 1, 0).bit_length())
    starts = range(0, len(places), share)
    row = _aligned(len(places) * _BLOCK, deviations.dtype)
    device, wide, split = CONFIG.jax_default_device, CONFIG.jax_enable_x64, CONFIG.jax_threefry_partitionable

    def fill(start):
        missing = max(start + share - len(places), 0)
        own = [np.pad(array[start : start + share], (0, missing)) for array in (places, deviations)]
        with jax.default_device(device), jax.enable_x64(wide), jax.threefry_partitionable(split):  # the caller's
            numbers = np.asarray(_row(key, *own, distribution))
        row[start * _BLOCK : (start + share) * _BLOCK] = numbers[: (share - missing) * _BLOCK]

    list(map(fill, starts[:1]))  # alone, so that it is compiled once
    with ThreadPoolExecutor() as threads:
        list(threads.map(fill, starts[1:]))
    return row


def _aligned(size, dtype) -> np.ndarray:
    """Memory that a device on the host takes over as it is: it begins at a multiple of 64 bytes."""
    room = np.empty(size * dtype.itemsize + 64, np.uint8)
    start = -room.ctypes.data % 64
    return room[start : start + size * dtype.itemsize].view(dtype)


def fan_in_scaling(scale: float, distribution: Distribution) -> nn.initializers.Initializer:
    """Draws kernels of variance `scale` / fan-in, the fan-in being the number of inputs of one output: kh * kw * C_in."""
    return initialiser(distribution, lambda shape: math.sqrt(scale / math.prod(shape[:-1])))


def constant_deviation(deviation: float) -> nn.initializers.Initializer:
    """Draws from a normal distribution that is cut off at two standard deviations, those of the result."""
    return initialiser("truncated_normal", lambda _: deviation)


he_normal = fan_in_scaling(2.0, "truncated_normal")
"""He et al., Delving Deep into Rectifiers, ICCV 2015, equation 10, cut off at two standard deviations."""
he_uniform = fan_in_scaling(2.0, "uniform")
"""The same variance, uniform: PyTorch's `kaiming_uniform_`."""
lecun_normal = fan_in_scaling(1.0, "truncated_normal")
"""LeCun et al., Efficient BackProp, 1998, equation 16: variance 1 / fan-in."""
xavier_uniform = initialiser("uniform", lambda shape: math.sqrt(2 / (math.prod(shape[:-2]) * (shape[-2] + shape[-1]))))
"""Glorot, Bengio, Understanding the Difficulty of Training Deep Feedforward Neural Networks, AISTATS 2010, equation 16."""
