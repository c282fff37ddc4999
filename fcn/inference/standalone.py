"""What a network computes outside of this library: uint8 images -> class ids and probabilities."""

import contextlib
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp

from fcn.errors import first_line
from fcn.inference.probabilities import mode_of, to_probabilities
from fcn.inference.whole import covering_logits
from fcn.preprocessing import Preprocessing
from fcn.tasks import Task

MULTIPLE = 32
"""Sides of images are extended to multiples of it: the largest stride of the networks."""


class Sizes(NamedTuple):
    """The images that a program takes: any number of them, of any height and width where these are None."""

    height: int | None = None
    width: int | None = None

    def images(self, channels: int) -> jax.ShapeDtypeStruct:
        """Their shape, with symbols for what is open, and their type."""
        symbols = jax.export.symbolic_shape("b, h, w" if None in self else "b")
        return jax.ShapeDtypeStruct((*(symbols if None in self else (*symbols, *self)), channels), jnp.uint8)

    @contextlib.contextmanager
    def explained(self, model: nn.Module, *passed: type[Exception]) -> Iterator[None]:
        """Says of what fails inside that a network takes one size only, where it was to take any; not of what is passed."""
        try:
            yield
        except Exception as error:  # what a network does with a symbol may fail in many ways
            if None not in self or isinstance(error, passed):
                raise
            told = f"{type(model).__name__} takes no images of any size in one program ({first_line(str(error))})"
            raise ValueError(f"{told}; give the height and width of one") from error


def prediction(model: nn.Module, preprocessing: Preprocessing, task: Task) -> Callable:
    """`predict(variables, images)`: uint8 images -> int32 class ids [b, h, w] and float32 probabilities [b, h, w, k].

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
    """uint8 images [b, h, w, c], red first -> float32 logits [b, h, w, k].

    The last row and column are repeated up to the network's strides. Sizes may be symbols.
    """
    height, width = images.shape[1:3]
    return covering_logits(model, variables, preprocessing.apply(_extended(images)))[:, :height, :width]


def _extended(images):
    """The last row and column repeated, up to multiples."""
    for axis in (1, 2):
        side = images.shape[axis]
        more = (side + MULTIPLE - 1) // MULTIPLE * MULTIPLE - side  # which symbols are understood in, unlike -side % MULTIPLE
        last = jax.lax.slice_in_dim(images, side - 1, side, axis=axis)
        shape = tuple(more if i == axis else length for i, length in enumerate(images.shape))
        images = jnp.concatenate([images, jnp.broadcast_to(last, shape)], axis)
    return images
