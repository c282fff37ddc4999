"""Augmentation and normalisation on the device: pure functions of arrays and a key, one sample at a time under `vmap`."""

import dataclasses
from functools import partial
from typing import Annotated

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int, Key, Num

from fcn.data.codec import Codec, Targets
from fcn.preprocessing import Preprocessing
from fcn.ranges import Range, check_fields

_LUMA = (0.299, 0.587, 0.114)
_LABELS = Codec()


@dataclasses.dataclass(frozen=True)
class AugmentConfig:
    """Random changes to a training sample; the default makes none. Geometry is one bilinear resampling of the image."""

    flip: bool = False
    """Mirror left and right with probability 1/2."""
    vertical_flip: bool = False
    """Mirror top and bottom with probability 1/2."""
    scale: Annotated[tuple[float, float], Range(0.01, 100)] = (1.0, 1.0)
    """Enlarge by a factor drawn log-uniformly between these two."""
    crop: Annotated[tuple[int, int] | None, Range(1, 2**15)] = None
    """Height and width of the random crop; by default that of the sample. Where it reaches outside, labels are ignored."""
    brightness: Annotated[float, Range(0, 1)] = 0.0
    """Multiply by a factor from 1 - brightness to 1 + brightness."""
    contrast: Annotated[float, Range(0, 1)] = 0.0
    """Multiply the difference from the mean luma by a factor from 1 - contrast to 1 + contrast."""
    saturation: Annotated[float, Range(0, 1)] = 0.0
    """Multiply the difference from the pixel's luma by a factor from 1 - saturation to 1 + saturation (RGB only)."""

    def __post_init__(self):
        check_fields(self, "augment.")
        low, high = self.scale
        if low > high:
            raise ValueError(f"augment.scale is {self.scale}; the smaller factor comes first, as in {(high, low)}")


def augment(
    key: Key[Array, ""],
    image: Num[Array | np.ndarray, "h w c"],
    label: Int[Array | np.ndarray, "h w"],
    config: AugmentConfig,
    *,
    ignore_index: int = 255,
    fill: Float[Array | np.ndarray, "..."] | float = 127.5,
) -> tuple[Float[Array, "h2 w2 c"], Int[Array, "h2 w2"]]:
    """Change one sample at random.

    Args:
        key: decides everything that is random.
        image: values 0..255, of any dtype.
        label: class numbers.
        config: which changes.
        ignore_index: label of the pixels that the crop takes from outside the image.
        fill: value of these pixels in the image, 0..255; one, or one a channel.

    Returns:
        The image (float32, 0..255) and the label, of size `config.crop` where that is set.
    """
    image, targets = _augment(key, image, {"label": label}, config, Codec(ignore_index=ignore_index), fill)
    return image, targets["label"]


def _augment(key, image, targets: Targets, config, codec: Codec, fill) -> tuple[Array, Targets]:
    chance = jax.random.uniform(key, (8,))
    image, targets = jnp.asarray(image, jnp.float32), {name: jnp.asarray(values) for name, values in targets.items()}
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


def augment_batch(
    key: Key[Array, ""],
    batch: dict[str, Array | np.ndarray],
    config: AugmentConfig,
    preprocessing: Preprocessing,
    *,
    codec: Codec = _LABELS,
) -> dict[str, Array | np.ndarray]:
    """Augment and normalise a batch of the loader.

    The changes to a sample depend on `key`, its epoch and its index only, not on its place in the batch or on the devices.

    Args:
        key: the key of the run.
        batch: "image" [B, H, W, C] with values 0..255, the targets of the codec ("label" [B, H, W]), "index" and "epoch" [B].
        config: which changes.
        preprocessing: what the network expects; pixels from outside the image take the mean, hence the value 0.
        codec: that of the loader's source.

    Returns:
        The batch with "image" float32 [B, H2, W2, C], normalised, and the targets for it ("label" int [B, H2, W2]).
    """

    def change(image, targets, index, epoch):
        own = jax.random.fold_in(jax.random.fold_in(key, epoch), index)
        return _augment(own, image, targets, config, codec, jnp.asarray(preprocessing.fill, jnp.float32))

    targets = {name: jnp.asarray(batch[name]) for name in codec.fill}
    image, index, epoch = (jnp.asarray(batch[name]) for name in ("image", "index", "epoch"))
    images, targets = jax.vmap(change)(image, targets, index, epoch)
    return {**batch, "image": preprocessing.apply(images), **targets}


def _resample(chance, image, targets, config, fill):
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
        room = length - crop  # negative: the image lies somewhere inside the crop
        start = jnp.sign(room) * jnp.minimum(jnp.floor(chance * (abs(room) + 1)), abs(room))
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
    luma = image @ jnp.array(_LUMA) if image.shape[-1] == 3 else jnp.mean(image, -1)
    image = luma[..., None] + by[2] * (image - luma[..., None])
    mean = jnp.mean(luma)
    return jnp.clip(by[0] * (mean + by[1] * (image - mean)), 0, 255)
