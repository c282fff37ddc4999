"""Test-time augmentation: an image seen mirrored, turned and in other sizes, and what is found turned back."""

import itertools
from collections.abc import Sequence
from typing import Any, NamedTuple

import jax.numpy as jnp
from jaxtyping import Array, Num, Shaped

from fcn.errors import unknown
from fcn.layers import resize_bilinear

NAMES = ("flips", "rotations")
_SYMMETRIES: dict[tuple[str, ...], tuple[tuple[int, bool], ...]] = {
    (): ((0, False),),
    ("flips",): ((0, False), (0, True), (2, False), (2, True)),
    ("rotations",): tuple((turns, False) for turns in range(4)),
    NAMES: tuple(itertools.product(range(4), (False, True))),
}


class View(NamedTuple):
    """A way to look at images.

    Of volumes the last two axes are rows and columns; a signal has columns alone.

    Attributes:
        turns: quarter turns, after
        mirrored: whether left and right are exchanged, after
        scale: how many times as large images are seen.
        reversed: whether the slices of a volume come in reversed order.
    """

    turns: int = 0
    mirrored: bool = False
    scale: float = 1.0
    reversed: bool = False

    def seen(self, images: Num[Any, "b *spatial c"]) -> Num[Array, "b *shown c"]:
        """Images, as this view shows them."""
        if self.scale != 1:
            images = resize_bilinear(images, [max(1, round(side * self.scale)) for side in images.shape[1:-1]])
        return jnp.rot90(self._exchanged(images), self.turns, (-3, -2))

    def back(self, found: Shaped[Array, "b *shown k"], size: Sequence[int]) -> Shaped[Array, "b *spatial k"]:
        """What was found in the images, where they have it; `size` is their height and width."""
        found = self._exchanged(jnp.rot90(found, -self.turns, (-3, -2)))
        return found if self.scale == 1 else resize_bilinear(found, size)

    def _exchanged(self, images):
        images = images[:, ::-1] if self.reversed else images
        return images[..., ::-1, :] if self.mirrored else images


def views_of(augmentations: Sequence[str | float], dimensions: int = 2) -> list[View]:
    """The views that test-time augmentation averages; the image as it is comes first.

    Args:
        augmentations: "flips" (4 views), "rotations" by 90 degrees (4; with flips 8), and numbers: scales besides 1. A text
            is one of them. Of signals there are two flips; of volumes twice as many views, where flips are among them.
        dimensions: 1 for signals, 2 for images, 3 for volumes.

    Raises:
        ValueError: another name, a scale that is not above 0, or rotations of signals.
    """
    if isinstance(augmentations, str):
        augmentations = (augmentations,)
    names = {name for name in augmentations if isinstance(name, str)}
    scales = [float(scale) for scale in augmentations if not isinstance(scale, str)]
    for name in names:
        if name not in NAMES:
            raise unknown("test-time augmentation", name, NAMES)
    for scale in scales:
        if not 0 < scale <= 16:
            raise ValueError(f"images seen {scale:g} times as large; give a scale above 0, up to 16")
    if dimensions == 1 and "rotations" in names:
        raise ValueError("a signal has no rotations; take flips, which reverse it")
    symmetries = _SYMMETRIES[tuple(name for name in NAMES if name in names)]
    symmetries = symmetries[:2] if dimensions == 1 else symmetries
    orders = (False, True) if dimensions == 3 and "flips" in names else (False,)
    return [View(*how, scale, order) for scale in (1.0, *scales) for order in orders for how in symmetries]
