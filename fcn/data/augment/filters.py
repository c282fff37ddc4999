"""Operations on neighbourhoods: blur, sharpening, low resolution, and the blocks of JPEG."""

import dataclasses
import functools
import math
import operator
from typing import Annotated

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Float32

from fcn.data.augment.operation import Number, Photometric, Span, some_channels, uniform
from fcn.ranges import Range

_REACH = 4
"""Deviations that a Gaussian filter reaches to each side; the rest is below 1e-4."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Blur(Photometric):
    """A Gaussian filter; the image is mirrored at its edges.

    Attributes:
        sigma: its standard deviation, in pixels.
        channels: the probability of each channel; below 1 each has a deviation of its own.
    """

    sigma: Annotated[Span, Range(0, 16)] = (0.5, 1.0)
    channels: Annotated[Number, Range(0, 1)] = 1.0

    def change(self, key, image):
        own, chosen = jax.random.split(key)
        sigma = uniform(own, self.sigma, image.shape[-1:] if self.channels < 1 else ())
        blurred = gaussian(image, sigma, math.ceil(_REACH * self.sigma[1]))
        return some_channels(chosen, self.channels, blurred, image)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Sharpen(Photometric):
    """Unsharp masking: adds the difference from the blurred image, times an amount.

    Attributes:
        amount: 0 changes nothing.
        sigma: of the blur, in pixels.
    """

    amount: Annotated[Span, Range(0, 100)] = (0.0, 1.0)
    sigma: Annotated[Number, Range(0, 16, above=True)] = 1.0

    def change(self, key, image):
        return image + uniform(key, self.amount) * (image - gaussian(image, self.sigma, math.ceil(_REACH * self.sigma)))


def gaussian(image: Float[Array, "*size c"], sigma: Float[Array, "..."] | Number, radius: int) -> Float[Array, "*size c"]:
    """A Gaussian filter of 2 * radius + 1 pixels along each axis; the image is mirrored at the edges of its outer pixels.

    Args:
        image: the values.
        sigma: its standard deviation; one, or one a channel.
        radius: see above.
    """
    steps = np.arange(-radius, radius + 1).reshape(-1, *[1] * jnp.ndim(sigma))
    weights = jnp.exp(-0.5 * (steps / jnp.maximum(sigma, 1e-3)) ** 2)
    weights = weights / jnp.sum(weights, 0)
    for axis in range(image.ndim - 1):
        length = image.shape[axis]
        wide = jnp.pad(image, [(radius, radius) if i == axis else (0, 0) for i in range(image.ndim)], mode="symmetric")
        parts = (jax.lax.slice_in_dim(wide, start, start + length, axis=axis) for start in range(len(steps)))
        image = functools.reduce(operator.add, (weight * part for weight, part in zip(weights, parts)))
    return image


@dataclasses.dataclass(frozen=True, kw_only=True)
class LowResolution(Photometric):
    """Takes fewer pixels, the nearest ones, and enlarges them to the old size, linearly.

    Attributes:
        range: of the factor by which the image shrinks.
        channels: the probability of each channel; below 1 each has a factor of its own.
    """

    range: Annotated[Span, Range(0, 1, above=True)] = (0.5, 1.0)
    channels: Annotated[Number, Range(0, 1)] = 1.0

    def change(self, key, image):
        own, chosen = jax.random.split(key)
        by = uniform(own, self.range, image.shape[-1:] if self.channels < 1 else ())
        coarse = jax.vmap(_coarse, (-1, 0), -1)(image, jnp.broadcast_to(by, image.shape[-1:]))
        return some_channels(chosen, self.channels, coarse, image)


def _coarse(image, by):
    for axis in range(image.ndim):
        image = _coarse_along(image, axis, by)
    return image


def _coarse_along(image, axis: int, by):
    """Along an axis: the values between the two low-resolution pixels around each place, each the nearest one of the image."""
    length = image.shape[axis]
    count = jnp.maximum(jnp.round(by * length), 1)
    place = jnp.clip((jnp.arange(length) + 0.5) * (count / length) - 0.5, 0, count - 1)
    low = jnp.floor(place)
    share = jnp.expand_dims(place - low, [i for i in range(image.ndim) if i != axis])

    def pixels(number):
        found = jnp.floor((jnp.minimum(number, count - 1) + 0.5) * (length / count)).astype(int)
        return jnp.take(image, jnp.minimum(found, length - 1), axis)

    return (1 - share) * pixels(low) + share * pixels(low + 1)


@dataclasses.dataclass(frozen=True, kw_only=True)
class JpegBlocks(Photometric):
    """What JPEG leaves of an image: blocks of 8x8 whose cosine coefficients are rounded. Colours are not subsampled.

    Annex K of ITU-T T.81, scaled by a quality as libjpeg does. Images of two axes; where they are not RGB each channel is
    rounded as luma is.

    Attributes:
        quality: 1 to 100.
    """

    quality: Annotated[Span, Range(1, 100)] = (40.0, 95.0)

    def change(self, key, image):
        if image.ndim != 3:
            raise ValueError(f"JpegBlocks needs two axes; the image has {image.ndim - 1}: leave it out")
        return jpeg(image, uniform(key, self.quality))


def jpeg(image: Float[Array, "h w c"], quality: Float[Array, ""] | Number) -> Float[Array, "h w c"]:
    """The image after JPEG's rounding at a quality of 1 to 100; luma and colour differences are clipped, as decoders do."""
    height, width, channels = image.shape
    colour = channels == 3
    image = jnp.pad(image, ((0, -height % 8), (0, -width % 8), (0, 0)), mode="edge")
    values = jnp.einsum("hwc,dc->hwd", image, _YCC, precision="highest") if colour else image
    middle = np.array([128, 0, 0] if colour else [128] * channels, np.float32)
    blocks = (values - middle).reshape(image.shape[0] // 8, 8, image.shape[1] // 8, 8, channels)
    coefficients = jnp.einsum("ui,aibjc,vj->aubvc", _COSINES, blocks, _COSINES, precision="highest")
    tables = np.stack([_LUMA, _CHROMA, _CHROMA] if colour else [_LUMA] * channels, -1)
    steps = _scaled(tables, quality)[:, None]
    coefficients = jnp.round(coefficients / steps) * steps
    blocks = jnp.einsum("ui,aubvc,vj->aibjc", _COSINES, coefficients, _COSINES, precision="highest")
    values = jnp.clip(blocks.reshape(image.shape), -128, 127) + middle
    changed = jnp.einsum("hwc,dc->hwd", values, np.linalg.inv(_YCC), precision="highest") if colour else values
    return changed[:height, :width]


def _scaled(tables: Float32[np.ndarray, "8 8 c"], quality) -> Float[Array, "8 8 c"]:
    percent = jnp.where(quality < 50, 5000 / quality, 200 - 2 * quality)
    return jnp.clip(jnp.floor((tables * percent + 50) / 100), 1, 255)


_YCC = np.array([(0.299, 0.587, 0.114), (-0.168736, -0.331264, 0.5), (0.5, -0.418688, -0.081312)], np.float32)
_COSINES = np.array(
    [[(0.5 if u else 0.125**0.5) * math.cos((2 * i + 1) * u * math.pi / 16) for i in range(8)] for u in range(8)], np.float32
)
_LUMA = np.array(
    [
        (16, 11, 10, 16, 24, 40, 51, 61),
        (12, 12, 14, 19, 26, 58, 60, 55),
        (14, 13, 16, 24, 40, 57, 69, 56),
        (14, 17, 22, 29, 51, 87, 80, 62),
        (18, 22, 37, 56, 68, 109, 103, 77),
        (24, 35, 55, 64, 81, 104, 113, 92),
        (49, 64, 78, 87, 103, 121, 120, 101),
        (72, 92, 95, 98, 112, 100, 103, 99),
    ],
    np.float32,
)
_CHROMA = np.full((8, 8), 99, np.float32)
_CHROMA[:4, :4] = [(17, 18, 24, 47), (18, 21, 26, 66), (24, 26, 56, 99), (47, 66, 99, 99)]
