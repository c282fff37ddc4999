"""Zeros around images."""

from collections.abc import Sequence

import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Float

Pads = tuple[tuple[int, int], tuple[int, int]]
"""((top, bottom), (left, right))."""
NO_PADS: Pads = ((0, 0), (0, 0))


def pair(value: int | Sequence[int]) -> tuple[int, int]:
    """(rows, columns) of a setting that may be one number for both."""
    rows, columns = (value, value) if isinstance(value, int) else value
    return int(rows), int(columns)


def explicit_padding(padding, size, kernel_size, strides, dilation) -> Pads:
    """((top, bottom), (left, right)) of any way to give the padding.

    Raises:
      ValueError: an unknown name.
    """
    if isinstance(padding, str):
        if padding not in ("SAME", "VALID"):
            raise ValueError(f"unknown padding {padding!r}; give 'SAME', 'VALID', a number or ((top, bottom), (left, right))")
        windows = [(k - 1) * d + 1 for k, d in zip(kernel_size, dilation)]
        padding = lax.padtype_to_pads(size, windows, strides, padding)
    elif isinstance(padding, int):
        padding = ((padding, padding),) * 2
    (top, bottom), (left, right) = padding
    return (int(top), int(bottom)), (int(left), int(right))


def place(x: Float[Array, "n h w c"], pads: Pads, rows: int, columns: int) -> Float[Array, "n {rows} {columns} c"]:
    """The padded images, with more zeros below and to the right, or cut, so that they have the given size."""
    (top, _), (left, _) = pads
    x = x[:, : max(0, rows - top), : max(0, columns - left)]
    bottom, right = rows - top - x.shape[1], columns - left - x.shape[2]
    return pad_images(x, ((top, bottom), (left, right)))


def pad_images(x: Float[Array, "n h w c"], pads: Pads) -> Float[Array, "n h2 w2 c"]:
    """The images with zeros around; where a number is negative, cut."""
    return lax.pad(x, jnp.zeros((), x.dtype), ((0, 0, 0), *((before, after, 0) for before, after in pads), (0, 0, 0)))
