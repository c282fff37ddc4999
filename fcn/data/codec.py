"""What of a sample a network learns, and what becomes of it when the image is changed."""

import dataclasses
from collections.abc import Mapping
from typing import Any, ClassVar

import numpy as np
from jaxtyping import Array, Bool, Float, Shaped

from fcn.data.source import IGNORE, Sample

Targets = dict[str, Shaped[Array | np.ndarray, "..."]]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Codec:
    """Labels as they are. The tasks of `fcn.tasks` are codecs, too, some of which make further arrays of a label.

    Attributes:
        ignore_index: the label of pixels that count nowhere.
    """

    ignore_index: int = IGNORE

    turns: ClassVar[bool] = False
    """Whether an own `moved` is also right for images that are turned, slanted or bent, of which it is told the scale alone."""

    linear: ClassVar[bool] = False
    """Whether `turned` says what becomes of targets where images are turned or slanted; it does not where they are bent."""

    of_objects: ClassVar[frozenset[str]] = frozenset()
    """Where labels are instance maps: the names of targets that a pixel has by its own object alone, "label" among them. With
    these an object can be pasted into another image."""

    @property
    def fill(self) -> Mapping[str, int | float]:
        """The names of the targets, and the value that each has where nothing is known: outside of the image."""
        return {"label": self.ignore_index}

    def targets(self, sample: Sample) -> dict[str, Any]:
        """The targets of a sample by name, computed once, on the host: arrays [H, W] or [H, W, C] of the image's size."""
        return {"label": np.asarray(sample["label"], np.int32)}

    def moved(self, targets: Targets, scale: Float[Array, ""] | float, flipped: tuple[Bool[Array, ""] | bool, ...]) -> Targets:
        """What targets become whose pixels have been moved already, on the device: distances grow, vectors turn.

        Args:
            targets: of one sample.
            scale: the factor by which the image was enlarged.
            flipped: whether top and bottom, and left and right, were mirrored.
        """
        return targets

    def turned(self, targets: Targets, matrix: Float[Array, "n n"]) -> Targets:
        """What targets become whose pixels have been moved already by any linear map, on the device.

        Args:
            targets: of one sample.
            matrix: a step of a pixel in the result is this step in the image.
        """
        raise NotImplementedError(f"{type(self).__name__} does not say what becomes of its targets where images are turned")


UNKNOWN = -1
"""What instance maps have where nothing is known."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Objects(Codec):
    """Instance maps as they are: 0 is background, each object has a number above, and -1 is not known."""

    ignore_index: int = UNKNOWN
    of_objects: ClassVar[frozenset[str]] = frozenset({"label"})


@dataclasses.dataclass(frozen=True, kw_only=True)
class Values(Codec):
    """Labels that are values, as they are: float32, NaN where nothing is known."""

    @property
    def fill(self):
        return {"label": np.nan}

    def targets(self, sample):
        return {"label": np.asarray(sample["label"], np.float32)}
