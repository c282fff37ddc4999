"""Operations on the value of each pixel: brightness, contrast, gamma, saturation, hue."""

import dataclasses
from typing import Annotated

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from fcn.data.augment.operation import Number, Photometric, Span, factor, uniform
from fcn.ranges import Range

LUMA = (0.299, 0.587, 0.114)
_YIQ = np.array([LUMA, (0.5959, -0.2746, -0.3213), (0.2115, -0.5227, 0.3112)], np.float32)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Brightness(Photometric):
    """Multiplies by a factor.

    Attributes:
        range: of the factor.
        centred: multiplies the difference from the channel's mean: what becomes of a z-scored image that is multiplied.
        per_channel: draws a factor for each channel.
    """

    range: Annotated[Span, Range(0, 100)] = (0.8, 1.2)
    centred: bool = False
    per_channel: bool = False

    def change(self, key, image):
        by = _factor(self, key, image)
        middle = spatial_mean(image) if self.centred else 0.0
        return middle + by * (image - middle)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Contrast(Photometric):
    """Multiplies the difference from the mean luma, or from each channel's mean.

    Attributes:
        range: of the factor.
        keep_range: clips to the lowest and the highest value of each channel.
        per_channel: draws a factor for each channel, and takes its mean.
    """

    range: Annotated[Span, Range(0, 100)] = (0.8, 1.2)
    keep_range: bool = False
    per_channel: bool = False

    def change(self, key, image):
        mean = spatial_mean(image) if self.per_channel else jnp.mean(luma(image))
        changed = mean + _factor(self, key, image) * (image - mean)
        if self.keep_range:
            changed = jnp.clip(changed, *_channel_range(image))
        return changed


@dataclasses.dataclass(frozen=True, kw_only=True)
class Gamma(Photometric):
    """Raises values to a power, on the scale on which the lowest of a channel is 0 and the highest is 1.

    Attributes:
        range: of the power.
        inverted: does so to the negative image.
        keep_statistics: gives each channel the mean and the deviation that it had.
        per_channel: draws a power for each channel.
    """

    range: Annotated[Span, Range(0.01, 100)] = (0.8, 1.25)
    inverted: bool = False
    keep_statistics: bool = False
    per_channel: bool = False

    @property
    def stream(self):
        return "GammaInverted" if self.inverted else "Gamma"

    def change(self, key, image):
        low, high = _channel_range(image)
        span = high - low
        share = (image - low) / jnp.where(span > 0, span, 1)
        share = 1 - share if self.inverted else share
        share = share ** _factor(self, key, image)
        share = 1 - share if self.inverted else share
        changed = low + span * share
        return _with_statistics_of(image, changed) if self.keep_statistics else changed


@dataclasses.dataclass(frozen=True, kw_only=True)
class Saturation(Photometric):
    """Multiplies the difference from the pixel's luma. Images that are not RGB stay as they are."""

    range: Annotated[Span, Range(0, 100)] = (0.8, 1.2)

    def change(self, key, image):
        if image.shape[-1] != 3:
            return image
        gray = luma(image)[..., None]
        return gray + factor(key, self.range) * (image - gray)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Hue(Photometric):
    """Turns colours around gray in the YIQ plane, which keeps the luma. Images that are not RGB stay as they are."""

    degrees: Annotated[Number, Range(0, 180)] = 15.0

    def change(self, key, image):
        if image.shape[-1] != 3:
            return image
        angle = jnp.deg2rad(uniform(key, (-self.degrees, self.degrees)))
        cosine, sine = jnp.cos(angle), jnp.sin(angle)
        turned = jnp.eye(3).at[1:, 1:].set(jnp.array([[cosine, -sine], [sine, cosine]]))
        turned = jnp.matmul(np.linalg.inv(_YIQ), jnp.matmul(turned, _YIQ, precision="highest"), precision="highest")
        return jnp.einsum("...c,dc->...d", image, turned, precision="highest")


def luma(image: Float[Array, "*size c"]) -> Float[Array, "*size"]:
    """How bright pixels look; of images that are not RGB the mean of the channels."""
    if image.shape[-1] != 3:
        return jnp.mean(image, -1)
    red, green, blue = (share * image[..., c] for c, share in enumerate(LUMA))
    return red + green + blue


def deviation(image: Float[Array, "*size c"]) -> Float[Array, " c"]:
    """The standard deviation of each channel."""
    return jnp.sqrt(jnp.mean((image - spatial_mean(image)) ** 2, _spatial(image)))


def _with_statistics_of(image, changed):
    own = deviation(changed)
    scale = deviation(image) / jnp.where(own > 0, own, 1)
    return spatial_mean(image) + scale * (changed - spatial_mean(changed))


def _factor(operation: Brightness | Contrast | Gamma, key, image):
    return factor(key, operation.range, image.shape[-1:] if operation.per_channel else ())


def _channel_range(image):
    return jnp.min(image, _spatial(image)), jnp.max(image, _spatial(image))


def spatial_mean(image: Float[Array | np.ndarray, "*size c"]) -> Float[Array, " c"]:
    """The mean of each channel."""
    return jnp.mean(image, _spatial(image))


def _spatial(image) -> tuple[int, ...]:
    return tuple(range(image.ndim - 1))
