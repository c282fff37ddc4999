"""What a network expects of its images: statistics, order of the channels, range of the stored values, size. One record."""

import dataclasses
from collections.abc import Mapping
from typing import Annotated, Any, Literal, get_args

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Num

from fcn.errors import unknown
from fcn.ranges import LARGEST, Range, check_fields

IMAGENET_MEAN, IMAGENET_STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
GRAY_MEAN, GRAY_STD = (0.449,), (0.226,)
Numbers = tuple[int | float, ...]
PerImage = Literal["percentiles", "z-score"]
Resize = Literal["exact", "shorter", "longer"]
_ANY = Range(-LARGEST[float])
_LATER = {"resize": "exact", "per_image": None, "axes": 2, "spacing": None}
"""Fields that came later, and what they are where a record does not have them."""
_WORDS = {"resize": get_args(Resize), "per_image": get_args(PerImage)}
_KINDS: dict[str, tuple[type, str]] = {
    "bgr": (bool, "true or false"),
    "resize": (str, "a word"),
    "per_image": (str, "a word"),
    "axes": (int, "a number"),
}


@dataclasses.dataclass(frozen=True)
class Preprocessing:
    """How images become what a network takes. Training writes it, prediction and evaluation obey it.

    Raises:
        ValueError: a number that is not finite or outside its range, or fields that do not fit each other.
    """

    mean: Annotated[Numbers, _ANY] = IMAGENET_MEAN
    """For each channel what is taken off values of 0..1, in the network's order of the channels."""
    std: Annotated[Numbers, Range(0, above=True)] = IMAGENET_STD
    """What they are then divided by; above 0."""
    bgr: bool = False
    """The network takes blue, green, red, and so do mean and std; images are always given as red, green, blue."""
    value_range: Annotated[Numbers | None, _ANY] = None
    """The stored values that become 0 and 1; None: the whole range of the stored type."""
    size: Annotated[tuple[int, ...] | None, Range(1, 2**16)] = None
    """Height and width that training resized images to; None: they were taken as they are."""
    resize: Resize = "exact"
    """What of the size training kept: both, or, with the aspect ratio, as `fitted` says."""
    per_image: PerImage | None = None
    """Each channel of an image is first brought to 0..1: from its percentile 1 to 99.8, or from three deviations below its mean
    to three above. None: by `value_range`."""
    axes: Annotated[int, Range(1, 3)] = 2
    """The spatial dimensions: 1 of signals, 2 of images, 3 of volumes."""
    spacing: Annotated[Numbers | None, Range(0, above=True)] = None
    """Millimetres between voxels to which training resampled volumes, along each axis; None: they were taken as they are."""

    def __post_init__(self):
        check_fields(self)
        for name, kind in (("mean", float), ("std", float), ("value_range", float), ("size", int), ("spacing", float)):
            if (values := getattr(self, name)) is not None:
                object.__setattr__(self, name, tuple(map(kind, values)))
        if not self.mean or len(self.mean) != len(self.std):
            raise ValueError(f"mean has {len(self.mean)} channels, std has {len(self.std)}; give one of each a channel")
        if self.bgr and self.channels != 3:
            raise ValueError(f"bgr is true for {self.channels} channels; only three have such an order")
        if self.value_range is not None and not (len(self.value_range) == 2 and self.value_range[0] < self.value_range[1]):
            raise ValueError(f"value_range is {list(self.value_range)}; give the lower value, then the higher one")
        if self.size is not None and len(self.size) != 2:
            raise ValueError(f"size is {list(self.size)}; give height and width")
        if self.spacing is not None and len(self.spacing) != self.axes:
            raise ValueError(f"spacing is {list(self.spacing)}; give a number for each of {self.axes} dimensions")

    @property
    def channels(self) -> int:
        """The number of channels of the images."""
        return len(self.mean)

    @property
    def fill(self) -> tuple[float, ...]:
        """The values 0..255 of an image, red first, that normalisation makes 0."""
        return tuple(255 * value for value in (self.mean[::-1] if self.bgr else self.mean))

    def apply(self, images: Num[Array | np.ndarray, "*b c"]) -> Float[Array, "*b c"]:
        """Images of values 0..255 (any type; red, green, blue) as the network takes them, float32. Runs on the device.

        Raises:
            ValueError: images of another number of channels.
        """
        if images.shape[-1] != self.channels:
            raise ValueError(f"images have {images.shape[-1]} channels; the network takes {self.channels}")
        return normalise(images[..., ::-1] if self.bgr else images, self.mean, self.std)

    def seen_size(self, height: int, width: int) -> tuple[int, int]:
        """Height and width at which the network sees an image, unless its user wants another size.

        Where training resized images, the longer side gets as many pixels as it had there, and the shape stays: a photo of the
        same kind shows things as large as in training, whatever the camera. Else the image is seen as it is.
        """
        if self.size is None:
            return height, width
        if self.resize != "exact":
            return fitted((height, width), (self.size[0], self.size[1]), self.resize)
        scale = max(self.size) / max(height, width)
        return max(1, round(height * scale)), max(1, round(width * scale))

    def as_read(self) -> "Preprocessing":
        """The record for images that were brought to their own range already, as `read_image` does: without `per_image`."""
        return dataclasses.replace(self, per_image=None)

    def with_channels(self, channels: int) -> "Preprocessing":
        """The record for another number of channels: each then has the average of the statistics."""
        if channels == self.channels:
            return self
        mean, std = ((sum(values) / len(values),) * channels for values in (self.mean, self.std))
        return dataclasses.replace(self, mean=mean, std=std, bgr=False)

    def describe(self) -> str:
        """What who uses the network elsewhere must know, in a line."""
        mean, std = (" ".join(f"{value:.4g}" for value in values) for values in (self.mean, self.std))
        text = f"images have mean {mean} and deviation {std} on the scale 0..1" + " (blue, green, red)" * self.bgr
        if self.value_range is not None:
            text += "; stored values {:g}..{:g} are black..white".format(*self.value_range)
        if self.axes != 2:
            text = text.replace("images", {1: "signals", 3: "volumes"}[self.axes], 1)
        if self.spacing is not None:
            text += "; training resampled them to {:g} x {:g} x {:g} mm".format(*self.spacing)
        if self.size is not None:
            text += "; training resized them to {}x{}".format(*self.size) + f" ({self.resize} side)" * (self.resize != "exact")
        if self.per_image is not None:
            how = "percentiles 1 and 99.8" if self.per_image == "percentiles" else self.per_image
            text += f"; each image is first brought to its {how}"
        return text

    def to_json(self) -> dict[str, Any]:
        """The fields as JSON values; those that came later only where they say something."""
        fields = {name: list(value) if isinstance(value, tuple) else value for name, value in vars(self).items()}
        return {name: value for name, value in fields.items() if _LATER.get(name, ...) != value}


def from_json(values: Any) -> Preprocessing:
    """What `Preprocessing.to_json` gave; fields that are missing have their defaults.

    Raises:
        ValueError: a field is not known, or has a value that it cannot have.
    """
    if not isinstance(values, Mapping):
        raise ValueError(f"preprocessing is {values!r}; it is an object with mean, std, bgr, value_range and size")
    known = [field.name for field in dataclasses.fields(Preprocessing)]
    for name in values:
        if name not in known:
            raise unknown("field of preprocessing", name, known)
    fields: dict[str, Any] = {name: tuple(value) if isinstance(value, list) else value for name, value in values.items()}
    for name, value in fields.items():
        optional = name in ("value_range", "size", "per_image", "spacing") and value is None
        kind, words = _KINDS.get(name, (tuple, "a list of numbers"))
        if not (optional or isinstance(value, kind)):
            raise ValueError(f"{name} is {value!r}; it is {words}")
        if isinstance(value, str) and value not in _WORDS[name]:
            raise unknown(name, value, _WORDS[name])
    return Preprocessing(**fields)


def fitted(size: tuple[int, int], target: tuple[int, int], how: Resize) -> tuple[int, int]:
    """Height and width that an image of some size gets.

    Args:
        size: height and width of the image.
        target: those that are asked for.
        how: "exact": these. With the aspect ratio kept, "longer": the largest that fit into them, "shorter": the smallest that
            hold them.
    """
    if how == "exact":
        return target
    scale = (min if how == "longer" else max)(wanted / length for wanted, length in zip(target, size))
    height, width = (max(1, round(length * scale)) for length in size)
    return height, width


def default_preprocessing(channels: int) -> Preprocessing:
    """The statistics of ImageNet: of its colours for three channels, of its gray values for each of another number."""
    return Preprocessing() if channels == 3 else Preprocessing(GRAY_MEAN * channels, GRAY_STD * channels)


def normalise(
    image: Num[Array | np.ndarray, "*b c"],
    mean: Float[Array | np.ndarray, "#c"] | tuple[float, ...],
    std: Float[Array | np.ndarray, "#c"] | tuple[float, ...],
) -> Float[Array, "*b c"]:
    """(image / 255 - mean) / std in float32, for values 0..255 of any dtype; mean and std per channel, on the scale 0..1."""
    middle, deviation = (jnp.asarray(values, jnp.float32) for values in (mean, std))
    return jnp.asarray(image).astype(jnp.float32) * (1 / (255 * deviation)) - middle / deviation
