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

    Attributes:
        turns: quarter turns, after
        mirrored: whether left and right are exchanged, after
        scale: how many times as large images are seen.
    """

    turns: int = 0
    mirrored: bool = False
    scale: float = 1.0

    def seen(self, images: Num[Any, "b h w c"]) -> Num[Array, "b h2 w2 c"]:
        """Images, as this view shows them."""
        if self.scale != 1:
            images = resize_bilinear(images, [max(1, round(side * self.scale)) for side in images.shape[1:3]])
        return jnp.rot90(images[:, :, ::-1] if self.mirrored else images, self.turns, (1, 2))

    def back(self, found: Shaped[Array, "b h2 w2 k"], size: Sequence[int]) -> Shaped[Array, "b h w k"]:
        """What was found in the images, where they have it; `size` is their height and width."""
        found = jnp.rot90(found, -self.turns, (1, 2))
        found = found[:, :, ::-1] if self.mirrored else found
        return found if self.scale == 1 else resize_bilinear(found, size)


def views_of(augmentations: Sequence[str | float]) -> list[View]:
    """The views that test-time augmentation averages; the image as it is comes first.

    Args:
        augmentations: "flips" (4 views), "rotations" by 90 degrees (4; with flips 8), and numbers: scales besides 1. A text
            is one of them.

    Raises:
        ValueError: another name, or a scale that is not above 0.
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
    symmetries = _SYMMETRIES[tuple(name for name in NAMES if name in names)]
    return [View(turns, mirrored, scale) for scale in (1.0, *scales) for turns, mirrored in symmetries]
