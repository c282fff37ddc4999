"""Augmentation as options of a run."""

import dataclasses
from typing import Annotated, Literal

from fcn.data.augment.colour import Brightness, Contrast, Saturation
from fcn.data.augment.geometry import Flip, Scale
from fcn.data.augment.mixing import Mixing
from fcn.data.augment.named import parse_operations
from fcn.data.augment.operation import Operation
from fcn.data.augment.pipeline import Pipeline
from fcn.data.augment.presets import PRESETS, nnunet
from fcn.data.augment.resampling import Boundary
from fcn.ranges import Range, check_fields

REPLACED = ("flip", "vertical_flip", "scale", "brightness", "contrast", "saturation")
"""The fields that a preset stands in place of."""


@dataclasses.dataclass(frozen=True)
class AugmentConfig:
    """Random changes to a training sample; the default makes none. Geometry is one bilinear resampling of the image."""

    flip: bool = False
    """Mirror left and right with probability 1/2."""
    vertical_flip: bool = False
    """Mirror top and bottom with probability 1/2."""
    scale: Annotated[tuple[float, float], Range(0.01, 100)] = (1.0, 1.0)
    """Enlarge by a factor drawn log-uniformly between these two."""
    crop: Annotated[tuple[int, ...] | None, Range(1, 2**15)] = None
    """Height and width of the random crop (a side for each dimension); by default that of the sample. Where it reaches outside,
    labels are ignored."""
    brightness: Annotated[float, Range(0, 1)] = 0.0
    """Multiply by a factor from 1 - brightness to 1 + brightness."""
    contrast: Annotated[float, Range(0, 1)] = 0.0
    """Multiply the difference from the mean luma by a factor from 1 - contrast to 1 + contrast."""
    saturation: Annotated[float, Range(0, 1)] = 0.0
    """Multiply the difference from the pixel's luma by a factor from 1 - saturation to 1 + saturation (RGB only)."""
    preset: Literal["none", "light", "standard", "nnunet"] = "none"
    """A list of operations (docs/augmentation.md) in place of flip, vertical_flip, scale, brightness, contrast and saturation;
    none: these."""
    operations: tuple[str, ...] = ()
    """Further operations (docs/augmentation.md), such as rotate elastic(sigma=5) cutmix(probability=0.5), after all others."""
    foreground: Annotated[float, Range(0, 1)] = 0.0
    """Of the crops the share around a pixel of a class that is drawn from those of the sample (nnU-Net: 0.33)."""
    boundary: Boundary = "ignore"
    """What lies outside of the image: nothing, and labels there are ignored, or its mirror image."""

    def __post_init__(self):
        check_fields(self, "augment.")
        low, high = self.scale
        if low > high:
            raise ValueError(f"augment.scale is {self.scale}; the smaller factor comes first, as in {(high, low)}")
        if self.foreground and self.crop is None:
            raise ValueError(f"augment.foreground is {self.foreground} of the crops, and none are taken; set augment.crop")
        parse_operations(self.operations)

    @property
    def pipeline(self) -> Pipeline | None:
        """All that is asked for of images; None where the first seven fields say it all, which have a way of their own."""
        return self.pipeline_for(2)

    def pipeline_for(self, axes: int) -> Pipeline | None:
        """All that is asked for of signals (1), images (2) or volumes (3); values of the first and last are not clipped."""
        more = parse_operations(self.operations)
        if axes == 2 and self.preset == "none" and not (more or self.foreground or self.boundary != "ignore"):
            return None
        start = Pipeline(operations=self._own(axes)) if self.preset == "none" else PRESETS[self.preset]()
        if self.preset == "nnunet":
            start = nnunet(axes)
        changed = {"crop": self.crop, "foreground": self.foreground, "boundary": self.boundary}
        operations, clip = (*start.operations, *more), start.clip and axes == 2
        return dataclasses.replace(start, operations=operations, clip=clip, **changed)

    @property
    def mixes(self) -> bool:
        """Whether samples need partners."""
        return any(isinstance(operation, Mixing) for operation in parse_operations(self.operations))

    def _own(self, axes: int) -> tuple[Operation, ...]:
        """The operations that a preset would stand in place of; left and right lie on the last axis."""
        if axes == 1 and self.vertical_flip:
            raise ValueError("augment.vertical_flip turns images upside down, and signals have one axis; take augment.flip")
        flips = tuple(Flip(axis=axes - back) for back, used in ((2, self.vertical_flip), (1, self.flip)) if used)
        scale = (Scale(range=self.scale, logarithmic=True),) if self.scale != (1.0, 1.0) else ()
        jitters = ((Saturation, self.saturation), (Contrast, self.contrast), (Brightness, self.brightness))
        return (*flips, *scale, *(make(range=(1 - by, 1 + by)) for make, by in jitters if by))
