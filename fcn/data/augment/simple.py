"""The changes that have options of their own: flips, scale, crop and three jitters, of images of two axes."""

from functools import partial

import jax
import jax.numpy as jnp
from jaxtyping import Array

from fcn.data.augment.colour import LUMA
from fcn.data.augment.config import AugmentConfig
from fcn.data.augment.cropping import whole_start
from fcn.data.codec import Codec, Targets


def simple_changes(key, image, targets: Targets, config: AugmentConfig, codec: Codec, fill) -> tuple[Array, Targets]:
    """One sample with the changes that the fields of a configuration name; see `augment`."""
    chance = jax.random.uniform(key, (8,))
    image = jnp.asarray(image, jnp.float32)
    targets = {name: jnp.asarray(values) for name, values in targets.items()}
    inside, scale = None, 1.0
    if config.crop not in (None, image.shape[:2]) or config.scale != (1.0, 1.0):
        image, targets, inside, scale = _resample(chance[:3], image, targets, config, codec.fill)
    image = _jitter(chance[3:6], image, config)
    if inside is not None:
        image = jnp.where(inside[..., None], image, fill)
    flipped = (config.vertical_flip & (chance[7] < 0.5), config.flip & (chance[6] < 0.5))
    for use, axis in ((config.flip, 1), (config.vertical_flip, 0)):
        if use:
            image, targets = jax.tree.map(partial(_mirror, flipped[axis], axis), (image, targets))
    return image, codec.moved(targets, scale, flipped)


def _mirror(chosen, axis, array):
    return jnp.where(chosen, jnp.flip(array, axis), array)


def _resample(chance, image, targets: Targets, config, fill) -> tuple[Array, Targets, Array, Array]:
    """A random crop of image and targets scaled by a random factor; which of its pixels lie inside the image; the factor."""
    low, high = config.scale
    scale = low * (high / low) ** chance[0]
    size = image.shape[:2]
    crop = config.crop or size
    rows = _places(chance[1], size[0], crop[0], scale, whole=low == high == 1)
    columns = _places(chance[2], size[1], crop[1], scale, whole=low == high == 1)
    down, across = (_weights(place, length, scale) for place, length in zip((rows, columns), size))
    image = jnp.einsum("ih,hwc->iwc", down, image, precision="highest")
    image = jnp.einsum("jw,iwc->ijc", across, image, precision="highest")
    row, column = jnp.floor(rows + 0.5).astype(int), jnp.floor(columns + 0.5).astype(int)
    inside = ((row >= 0) & (row < size[0]))[:, None] & ((column >= 0) & (column < size[1]))

    def nearest(name, values):
        values = jnp.take(jnp.take(values, row, 0, mode="clip"), column, 1, mode="clip")
        return jnp.where(inside.reshape(*inside.shape, *[1] * (values.ndim - 2)), values, fill[name])

    return image, {name: nearest(name, values) for name, values in targets.items()}, inside, scale


def _places(chance, length, crop, scale, *, whole):
    """Where the centres of `crop` output pixels lie in an axis of `length` pixels enlarged by `scale`, placed at random."""
    if whole:  # at scale 1 move by whole pixels: nothing is blurred
        start = whole_start(length - crop, chance)
    else:
        start = chance * (scale * length - crop)
    return (jnp.arange(crop) + 0.5 + start) / scale - 0.5


def _weights(places, length, scale):
    """Matrix [n, length] of linear interpolation at `places`; where the image shrinks the filter widens (antialiasing)."""
    near = jnp.clip(places, 0, length - 1)
    weights = jnp.maximum(0, 1 - jnp.abs(near[:, None] - jnp.arange(length)) * jnp.minimum(scale, 1))
    return weights / jnp.sum(weights, axis=1, keepdims=True)


def _jitter(chance, image, config):
    """Brightness, contrast and saturation, clipped to 0..255."""
    if not (config.brightness or config.contrast or config.saturation):
        return image
    by = 1 + jnp.array([config.brightness, config.contrast, config.saturation]) * (2 * chance - 1)
    luma = image @ jnp.array(LUMA) if image.shape[-1] == 3 else jnp.mean(image, -1)
    image = luma[..., None] + by[2] * (image - luma[..., None])
    mean = jnp.mean(luma)
    return jnp.clip(by[0] * (mean + by[1] * (image - mean)), 0, 255)
