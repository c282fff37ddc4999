"""Operations that add noise, or leave out parts of the image."""

import dataclasses
from typing import Annotated

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Key

from fcn.data.augment.colour import deviation, spatial_mean
from fcn.data.augment.operation import Photometric, Span, uniform
from fcn.ranges import Range


@dataclasses.dataclass(frozen=True, kw_only=True)
class GaussianNoise(Photometric):
    """Adds normal noise to each value.

    Attributes:
        deviation: its standard deviation, on the scale 0..1.
        relative: in deviations of the image's own channel instead, as for z-scored images.
    """

    deviation: Annotated[Span, Range(0, 10)] = (0.0, 0.1)
    relative: bool = False

    def change(self, key, image):
        own, noise = jax.random.split(key)
        unit = deviation(image) if self.relative else 255.0
        return image + uniform(own, self.deviation) * unit * jax.random.normal(noise, image.shape)


@dataclasses.dataclass(frozen=True, kw_only=True)
class ShotNoise(Photometric):
    """The noise of counted photons, by its normal approximation: the variance is the value over the number of photons.

    Attributes:
        photons: that make the value 255.
    """

    photons: Annotated[Span, Range(1, 1e9)] = (100.0, 1000.0)

    def change(self, key, image):
        own, noise = jax.random.split(key)
        variance = 255 * jnp.maximum(image, 0) / uniform(own, self.photons)
        return image + jnp.sqrt(variance) * jax.random.normal(noise, image.shape)


@dataclasses.dataclass(frozen=True, kw_only=True)
class CoarseDropout(Photometric):
    """Boxes of the image take its mean (DeVries and Taylor, 2017); labels stay, which the network is to find by what is around.

    Attributes:
        boxes: the largest number of them; at least 1 is drawn.
        share: of the length of each axis that a box takes.
    """

    boxes: Annotated[int, Range(1, 64)] = 8
    share: Annotated[Span, Range(0, 1)] = (0.05, 0.2)

    def change(self, key, image):
        number, *keys = jax.random.split(key, self.boxes + 1)
        count = jax.random.randint(number, (), 1, self.boxes + 1)
        hidden = jnp.zeros(image.shape[:-1], bool)
        for i, own in enumerate(keys):
            hidden |= box(own, image.shape[:-1], self.share) & (i < count)
        return jnp.where(hidden[..., None], spatial_mean(image), image)


def box(key: Key[Array, ""], size: tuple[int, ...], share: Span) -> Bool[Array, "*size"]:
    """Where a box lies that takes a random share of each axis and is somewhere inside."""
    mask = jnp.ones(size, bool)
    for axis, own in enumerate(jax.random.split(key, len(size))):
        length, place = jax.random.uniform(own, (2,))
        pixels = jnp.round((share[0] + (share[1] - share[0]) * length) * size[axis])
        start = jnp.floor(place * (size[axis] - pixels + 1))
        along = jnp.arange(size[axis])
        line = (along >= start) & (along < start + pixels)
        mask &= jnp.expand_dims(line, [i for i in range(len(size)) if i != axis])
    return mask
