"""By how much networks make maps coarser along each axis, and whether volumes are thick enough for that."""

import math
from collections.abc import Sequence

import flax.linen as nn


def total_strides(model: nn.Module, axes: int) -> tuple[int, ...] | None:
    """How many voxels along each axis one place of the coarsest map of a U-Net stands for; None of other networks."""
    stages = getattr(model, "features_per_stage", None)
    if stages is not None:
        given = getattr(model, "strides", None) or (1,) + (2,) * (len(stages) - 1)
        each = [(stride,) * axes if isinstance(stride, int) else tuple(stride) for stride in given]
        return tuple(math.prod(along) for along in zip(*each, strict=True))
    depth = getattr(model, "depth", None)
    return (2**depth,) * axes if isinstance(depth, int) else None


def refuse_flat(model: nn.Module, sides: Sequence[int]) -> None:
    """Raises a ValueError for crops with fewer slices along an axis than the network makes one of."""
    strides = total_strides(model, len(sides))
    if strides is None or all(stride <= side for stride, side in zip(strides, sides, strict=True)):
        return
    axis = max(range(len(sides)), key=lambda axis: strides[axis] / sides[axis])
    crop, steps = ("x".join(map(str, each)) for each in (sides, strides))
    raise ValueError(
        f"crops of {crop} have {sides[axis]} slices along axis {axis}, of which the network, with strides of {steps} in all, "
        "makes less than one; give strides of 1 along that axis (--model.options strides=[1,2,[1,2,2]]) or a larger --data.crop"
    )
