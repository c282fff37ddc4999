"""Objects and their classes in one map: the number of an object is STEP times its class, plus a number of its own from 1 on."""

import numpy as np
from jaxtyping import Int, Int32, Integer

STEP = 2**20
"""More than an image has objects."""


def classified(
    objects: Integer[np.ndarray, "h w"], label: Integer[np.ndarray, "h w"], classes: int, first: int = 0
) -> Int32[np.ndarray, "h w"]:
    """Objects with the class that most of their pixels have; -1 (not known) where that is none.

    Args:
        objects: a number above 0 for each, 0 for background, below where nothing is known.
        label: the class of each pixel; others than 0..classes-1 are none.
        classes: how many.
        first: the first that objects may have, which becomes 0.

    Raises:
        ValueError: there are too many objects.
    """
    ids, numbers = np.unique(np.maximum(objects, 0), return_inverse=True)
    numbers = numbers.reshape(objects.shape) + (ids[0] > 0)
    count = int(numbers.max()) + 1
    if count > STEP:
        raise ValueError(f"{count - 1} objects in an image; of several classes there may be {STEP - 1}")
    legal = (label >= first) & (label < classes)
    pairs = np.bincount((numbers * classes + np.where(legal, label, 0))[legal], minlength=count * classes)
    pixels = pairs.reshape(count, classes)[:, first:]
    named = np.where(pixels.any(1), pixels.argmax(1) * STEP + np.arange(count), -1)
    named[0] = 0
    return np.where(objects < 0, -1, named[numbers]).astype(np.int32)


def numbered(instances: Integer[np.ndarray, "h w"], classes: Integer[np.ndarray, " ids"]) -> Int32[np.ndarray, "h w"]:
    """Objects with their classes in one map.

    Args:
        instances: 0 for background, 1, 2, 3 ... for objects.
        classes: of each number; that of 0 says nothing.
    """
    return np.where(instances > 0, classes[instances] * STEP + instances, instances).astype(np.int32)


def by_class(numbers: Integer[np.ndarray, "h w"]) -> tuple[Int32[np.ndarray, "h w"], Int[np.ndarray, " ids"]]:
    """Objects as 1, 2, 3 ..., and the class of each number; that of 0 says nothing. Below 0 nothing is known."""
    ids, found = np.unique(np.maximum(numbers, 0), return_inverse=True)
    background = int(ids[0] > 0)
    found = found.reshape(numbers.shape) + background
    return np.where(numbers < 0, -1, found).astype(np.int32), np.concatenate([[0] * background, ids // STEP]).astype(int)
