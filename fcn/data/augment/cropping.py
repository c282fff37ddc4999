"""Where a crop lies: anywhere in the image, or around a pixel of a class that may be rare."""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int, Key

from fcn.data.augment.mixing import LABELS, labels_present
from fcn.data.augment.operation import Number
from fcn.data.codec import Targets


def crop_start(
    key: Key[Array, ""],
    targets: Targets,
    size: tuple[int, ...],
    crop: tuple[int, ...],
    foreground: Number,
    ignore_index: Number,
) -> list[Float[Array, ""]]:
    """The first pixel of the crop in the image along each axis, a whole number; below 0 where the crop is larger.

    Args:
        key: decides everything that is random.
        targets: with the class numbers "label" [*size], if `foreground` is above 0.
        size, crop: of the image, and of the crop.
        foreground: the probability that the crop is centred on a pixel of a class.
        ignore_index: the label that is no class.
    """
    key = jax.random.fold_in(key, _STREAM)
    if crop == size:
        return [jnp.zeros(()) for _ in size]
    chance, anywhere, own = jax.random.split(key, 3)
    rooms = [length - part for length, part in zip(size, crop)]
    starts = [whole_start(room, c) for room, c in zip(rooms, jax.random.uniform(anywhere, (len(size),)))]
    if not foreground:
        return starts
    label = jnp.asarray(targets["label"])
    if label.shape != size or not jnp.issubdtype(label.dtype, jnp.integer):
        raise ValueError(f"foreground is {foreground}, but the label holds no class numbers; it is 0 for such tasks")
    pixel, found = class_pixel(own, label, ignore_index)
    found &= jax.random.uniform(chance) < foreground
    centred = [jnp.clip(p - part // 2, min(room, 0), max(room, 0)) for p, part, room in zip(pixel, crop, rooms)]
    return [jnp.where(found, a, b) for a, b in zip(centred, starts)]


_STREAM = 0x43726F70
"""Of the random numbers of crops, which no operation has."""


def whole_start(room: int, chance: Float[Array, ""]) -> Float[Array, ""]:
    """A whole number from 0 to the room, each as likely; the room is negative where the crop is larger."""
    return jnp.sign(room) * jnp.minimum(jnp.floor(chance * (abs(room) + 1)), abs(room))


def class_pixel(
    key: Key[Array, ""], label: Int[Array, "*size"], ignore_index: Number
) -> tuple[tuple[Int[Array, ""], ...], Array]:
    """A random pixel of a class, or object, that is drawn from those of the label, each as likely; and whether there is any.

    Class 0, the background, is left out where there are others.
    """
    which, where = jax.random.split(key)
    known = (label != ignore_index) & (label >= 0)
    label = jnp.where(label < LABELS, label, 1 + (label - 1) % (LABELS - 1))  # numbers of objects, of which there may be more
    present = labels_present(label, known)
    present = present.at[0].set(present[0] & ~jnp.any(present[1:]))
    drawn = jnp.argmax(jnp.where(present, jax.random.uniform(which, (LABELS,)), -1))
    chance = jnp.where(known & (label == drawn), jax.random.uniform(where, label.shape), -1)
    return jnp.unravel_index(jnp.argmax(chance), label.shape), jnp.any(present)
