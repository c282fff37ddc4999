"""Zeros around images, signals and volumes."""

from collections.abc import Sequence

import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Float

Pads = tuple[tuple[int, int], ...]
"""(before, after) for each spatial dimension: ((top, bottom), (left, right)) of images."""
NO_PADS: Pads = ((0, 0), (0, 0))


def per_dimension(value: int | Sequence[int], dimensions: int) -> tuple[int, ...]:
    """A setting for each spatial dimension, (rows, columns) of images, that may be one number for all.

    Raises:
      ValueError: there are more or fewer numbers than dimensions.
    """
    values = (value,) * dimensions if isinstance(value, int) else tuple(map(int, value))
    if len(values) != dimensions:
        raise ValueError(f"{values} has {len(values)} numbers for {dimensions} spatial dimensions; give one, or {dimensions}")
    return values


def explicit_padding(padding, size, kernel_size, strides, dilation) -> Pads:
    """(before, after) for each spatial dimension, of any way to give the padding.

    Raises:
      ValueError: an unknown name, or more or fewer pairs than dimensions.
    """
    if isinstance(padding, str):
        if padding not in ("SAME", "VALID"):
            raise ValueError(f"unknown padding {padding!r}; give 'SAME', 'VALID', a number or (before, after) pairs")
        windows = [(k - 1) * d + 1 for k, d in zip(kernel_size, dilation)]
        padding = lax.padtype_to_pads(size, windows, strides, padding)
    elif isinstance(padding, int):
        padding = ((padding, padding),) * len(size)
    if len(padding) != len(size):
        raise ValueError(f"padding={padding} has {len(padding)} pairs for {len(size)} spatial dimensions")
    return tuple((int(before), int(after)) for before, after in padding)


def place(x: Float[Array, "n h w c"], pads: Pads, rows: int, columns: int) -> Float[Array, "n {rows} {columns} c"]:
    """The padded images, with more zeros below and to the right, or cut, so that they have the given size."""
    (top, _), (left, _) = pads
    x = x[:, : max(0, rows - top), : max(0, columns - left)]
    bottom, right = rows - top - x.shape[1], columns - left - x.shape[2]
    return pad_images(x, ((top, bottom), (left, right)))


def pad_images(x: Float[Array, "n *spatial c"], pads: Pads) -> Float[Array, "n *padded c"]:
    """The images with zeros around; where a number is negative, cut."""
    return lax.pad(x, jnp.zeros((), x.dtype), ((0, 0, 0), *((before, after, 0) for before, after in pads), (0, 0, 0)))
