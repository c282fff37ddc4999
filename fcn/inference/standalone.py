"""What a network computes outside of this library: uint8 images -> class ids and probabilities.

Signals and volumes are float32, on the same scale.
"""

import contextlib
from collections.abc import Callable, Iterator, Mapping
from typing import Any, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from fcn.errors import first_line
from fcn.inference.probabilities import mode_of, to_probabilities
from fcn.inference.whole import covering_logits
from fcn.layers.network import INPUTS
from fcn.preprocessing import Preprocessing
from fcn.pretrained.names import dimensions_of
from fcn.tasks import Task

MULTIPLE = 32
"""Sides of images are extended to multiples of it: the largest stride of the networks."""


class Sizes(NamedTuple):
    """The images, signals or volumes that a program takes: any number of them, of any size where `sides` are None.

    Attributes:
        sides: height and width.
        dimensions: how many sides there are.
    """

    sides: tuple[int, ...] | None = None
    dimensions: int = 2

    @property
    def names(self) -> tuple[int | str, ...]:
        """The sides, by name where they are open, with the number of images before them: ("b", "h", "w")."""
        return ("b", *(self.sides or _SIDES[self.dimensions]))

    @property
    def dtype(self) -> Any:
        """The type of the values, on the scale 0..255 of `Preprocessing.apply`; those of float32 may lie beyond."""
        return jnp.uint8 if self.dimensions == 2 else jnp.float32

    def images(self, channels: int) -> jax.ShapeDtypeStruct:
        """Their shape, with symbols for what is open, and their type."""
        shape = jax.export.symbolic_shape(", ".join(map(str, self.names)))
        return jax.ShapeDtypeStruct((*shape, channels), self.dtype)

    @contextlib.contextmanager
    def explained(self, model: nn.Module, *passed: type[Exception]) -> Iterator[None]:
        """Says of what fails inside that a network takes one size only, where it was to take any; not of what is passed."""
        try:
            yield
        except Exception as error:  # what a network does with a symbol may fail in many ways
            if self.sides is not None or isinstance(error, passed):
                raise
            told = f"{type(model).__name__} takes no {self.kind} of any size in one program ({first_line(str(error))})"
            raise ValueError(f"{told}; give a size, a number for each side") from error

    @property
    def kind(self) -> str:
        """What it takes: "signals", "images" or "volumes"."""
        return INPUTS[self.dimensions].partition(" ")[0]

    def describe(self) -> str:
        """In words, such as "images of any size" or "volumes of 16x32x32"."""
        return f"{self.kind} of {'any size' if self.sides is None else 'x'.join(map(str, self.sides))}"


_SIDES = {1: ("l",), 2: ("h", "w"), 3: ("d", "h", "w")}


def sizes_of(model: nn.Module, variables: Mapping[str, Any], size: tuple[int, ...] | None) -> Sizes:
    """What a program takes for a network with these variables, of one size or any.

    Raises:
        ValueError: the size has another number of sides than what the variables are for.
    """
    dimensions = dimensions_of(model, map(np.ndim, jax.tree.leaves(variables)))
    if size is not None and len(size) != dimensions:
        raise ValueError(f"size={tuple(size)} has {len(size)} sides; the network's variables are for {INPUTS[dimensions]}")
    return Sizes(size, dimensions)


def prediction(model: nn.Module, preprocessing: Preprocessing, task: Task) -> Callable:
    """`predict(variables, images)`: images of values 0..255 -> int32 class ids [b, h, w], float32 probabilities [b, h, w, k].

    Of a task of several labels ids are 0 or 1, [b, h, w, k].

    Raises:
        ValueError: the task needs this library to make a prediction of scores.
    """
    if task.on_host or mode_of(task) is None:
        raise ValueError(f"the task {task.name!r} gives no classes on the device, so that a program alone cannot predict")

    def predict(variables, images):
        logits = logits_of(model, preprocessing, variables, images)
        return jnp.asarray(task.prediction(task.scores(logits)), jnp.int32), to_probabilities(logits, mode_of(task))

    return predict


def logits_of(model: nn.Module, preprocessing: Preprocessing, variables: Any, images: Any) -> Any:
    """Images [b, h, w, c] of values 0..255, red first -> float32 logits [b, h, w, k]; signals and volumes likewise.

    The last row and column are repeated up to the network's strides. Sizes may be symbols.
    """
    logits = covering_logits(model, variables, preprocessing.apply(_extended(images)))
    return logits[:, *map(slice, images.shape[1:-1])]


def _extended(images):
    """The last row and column repeated, up to multiples."""
    for axis in range(1, images.ndim - 1):
        side = images.shape[axis]
        more = (side + MULTIPLE - 1) // MULTIPLE * MULTIPLE - side  # which symbols are understood in, unlike -side % MULTIPLE
        last = jax.lax.slice_in_dim(images, side - 1, side, axis=axis)
        shape = tuple(more if i == axis else length for i, length in enumerate(images.shape))
        images = jnp.concatenate([images, jnp.broadcast_to(last, shape)], axis)
    return images
