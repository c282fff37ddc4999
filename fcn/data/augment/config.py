"""Augmentation as options of a run."""

import dataclasses
from typing import Annotated, Literal

from fcn.data.augment.pipeline import Pipeline
from fcn.data.augment.presets import PRESETS
from fcn.data.augment.resampling import Boundary
from fcn.ranges import Range, check_fields


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
    preset: Literal["none", "light", "standard", "nnunet"] = "none"
    """A list of operations (docs/augmentation.md) in place of flip, vertical_flip, scale, brightness, contrast and saturation;
    none: these."""
    foreground: Annotated[float, Range(0, 1)] = 0.0
    """Of the crops of a preset the share around a pixel of a class that is drawn from those of the sample (nnU-Net: 0.33)."""
    boundary: Boundary = "ignore"
    """What a preset takes from outside of the image: labels to be ignored, or a mirror image of it."""

    def __post_init__(self):
        check_fields(self, "augment.")
        low, high = self.scale
        if low > high:
            raise ValueError(f"augment.scale is {self.scale}; the smaller factor comes first, as in {(high, low)}")
        if self.preset == "none" and (self.foreground or self.boundary != "ignore"):
            name = "foreground" if self.foreground else "boundary"
            raise ValueError(f"augment.{name} is {getattr(self, name)!r} without a preset; choose --augment.preset light")

    @property
    def pipeline(self) -> Pipeline | None:
        """The operations of the preset; None where there is none."""
        if self.preset == "none":
            return None
        return dataclasses.replace(PRESETS[self.preset](), crop=self.crop, foreground=self.foreground, boundary=self.boundary)
