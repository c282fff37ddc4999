"""nnU-Net's rules for images and volumes: what it would train on data of some fingerprint, in a memory of some size.

Isensee, Jaeger, Kohl, Petersen, Maier-Hein, "nnU-Net: a self-configuring method for deep learning-based biomedical image
segmentation", Nature Methods 2021; the numbers are those of its version 2.8. All of it is arithmetic.
"""

import dataclasses
import math
from collections.abc import Sequence
from typing import Any, NamedTuple

from experiments.auto.fingerprint import Fingerprint
from fcn.data.loading.crops import Size

BASE_FEATURES = 32
_MAX_FEATURES = {2: 512, 3: 320}
"""Of images and of volumes, as all that depends on the number of sides."""
STEPS = 250 * 1000
FOREGROUND = 0.33
_LARGEST_SIDE = {2: 2048, 3: 256}
"""Of a patch as long as wide, whose size others have, too."""
_SMALLEST_EDGE = 4
"""Rows and columns of the coarsest map."""
_REFERENCE, _REFERENCE_BATCH, _REFERENCE_GB = {2: 85e6, 3: 560e6}, {2: 12, 3: 2}, 8
"""Entries of all maps of so many images that go into so many gigabytes."""
_SMALLEST_BATCH, _SHARE_OF_DATA = 2, 0.05


class Topology(NamedTuple):
    """How a U-Net makes maps coarser."""

    strides: tuple[Size, ...]
    """Of each stage; that of the first is 1 along each side."""
    kernels: tuple[Size, ...]
    """Sizes of kernels of each stage."""

    @property
    def pools(self) -> tuple[int, ...]:
        """How often each side is halved."""
        return tuple(sum(stride == 2 for stride in along) for along in zip(*self.strides))

    def padded(self, size: Size) -> Size:
        """The smallest size that contains `size` and can be halved so often."""
        return tuple(-(-side // 2**count) * 2**count for side, count in zip(size, self.pools))


@dataclasses.dataclass(frozen=True)
class Plan:
    """What nnU-Net would train; the rest of it is the same for all data."""

    patch: Size
    batch_size: int
    topology: Topology
    features: tuple[int, ...]
    """Of each stage, the finest first."""
    normalisation: str
    spacing: tuple[float, ...]
    """That between pixels, or between voxels, in millimetres."""

    @property
    def pools(self) -> tuple[int, ...]:
        """How often each side is halved."""
        return self.topology.pools

    @property
    def stages(self) -> int:
        """Levels of the network: one more than poolings."""
        return len(self.features)

    def to_json(self) -> dict[str, Any]:
        """With what is the same for all data."""
        return {
            "patch": list(self.patch),
            "batch_size": self.batch_size,
            "stages": self.stages,
            "pools": list(self.pools),
            "strides": [list(step) for step in self.topology.strides],
            "kernel_sizes": [list(sides) for sides in self.topology.kernels],
            "features": list(self.features),
            "spacing": list(self.spacing),
            "normalisation": self.normalisation,
            "norm": "instance",
            "activation": "leaky_relu",
            "deep_supervision": True,
            "loss": "ce + dice",
            "optimizer": {"name": "sgd", "learning_rate": 0.01, "momentum": 0.99, "weight_decay": 3e-5, "schedule": "poly"},
            "steps": STEPS,
            "augmentation": "nnunet",
            "foreground": FOREGROUND,
        }


def make_plan(data: Fingerprint, gigabytes: float = 8) -> Plan:
    """The largest patch whose maps go into the memory, by the median image, and as many of them as go in, too."""
    axes, spacing = len(data.size), data.spacing
    found, patch = topology(_largest(data), spacing)
    reference, usual = _REFERENCE[axes] * gigabytes / _REFERENCE_GB, _REFERENCE_BATCH[axes]
    while (size := map_entries(patch, found.strides, data.classes)) / usual * _SMALLEST_BATCH > reference:
        if max(patch) <= 2 * _SMALLEST_EDGE:
            raise ValueError(f"memory of {gigabytes:g} GB holds no patch of these {data.kind}; give more: --memory 8GB")
        found, patch = topology(_smaller(patch, data, found), spacing)
    batch = round(reference / size * usual)
    pixels = data.images * math.prod(data.size)
    batch = max(min(batch, round(_SHARE_OF_DATA * pixels / math.prod(patch))), _SMALLEST_BATCH)
    return Plan(patch, batch, found, features(len(found.strides), axes=axes), normalisation(data), spacing)


def topology(size: Size, spacing: Sequence[float]) -> tuple[Topology, Size]:
    """How often each side is halved, and the size that this divides.

    A side is halved while at least 4 are left, and, where it alone is left, 6; only where its spacing is then below twice the
    finest of those that are left, so that coarse sides wait for others. Until then kernels are flat along it.
    """
    sides, steps, kernels = list(size), list(spacing), [(1,) * len(size)]
    strides = [(1,) * len(size)]
    while axes := [axis for axis, side in enumerate(sides) if side >= 2 * _SMALLEST_EDGE]:
        axes = [axis for axis in axes if steps[axis] < 2 * min(steps[other] for other in axes)]
        if len(axes) == 1 and sides[axes[0]] < 3 * _SMALLEST_EDGE:
            break
        kernels.append(tuple(3 if kernel == 3 or step < 2 * min(steps) else 1 for kernel, step in zip(kernels[-1], steps)))
        strides.append(tuple(1 + (axis in axes) for axis in range(len(sides))))
        sides = [-(-side // stride) for side, stride in zip(sides, strides[-1])]
        steps = [step * stride for step, stride in zip(steps, strides[-1])]
    found = Topology(tuple(strides), (*kernels[1:], (3,) * len(size)))
    return found, found.padded(size)


def features(stages: int, base: int = BASE_FEATURES, axes: int = 2) -> tuple[int, ...]:
    """Of each stage: twice as many as of the finer one, at most 16 times the first, of volumes 10 times."""
    return tuple(min(base * 2**stage, base * _MAX_FEATURES[axes] // BASE_FEATURES) for stage in range(stages))


def map_entries(patch: Size, strides: Sequence[Size], classes: int) -> int:
    """Entries of all maps that the convolutions of a plain U-Net give for a patch: two of each stage on the way down, three on
    the way up, and the logits."""
    total, sides = classes * math.prod(patch), patch
    for stage, width in enumerate(features(len(strides), axes=len(patch))):
        sides = tuple(side // stride for side, stride in zip(sides, strides[stage]))
        total += math.prod(sides) * width * (5 if stage < len(strides) - 1 else 2)
    return total


def _largest(data: Fingerprint) -> Size:
    """The first patch that is tried: as long as wide in space, and no larger than the median image."""
    mean = math.prod(data.spacing) ** (1 / len(data.spacing))
    wanted = [round(_LARGEST_SIDE[len(data.size)] * mean / step) for step in data.spacing]
    return tuple(map(min, data.size, wanted))


def _smaller(patch: Size, data: Fingerprint, found: Topology) -> Size:
    """The patch with that side shortened which is the longest beside the median image, by as little as can be divided."""
    axis = max(range(len(patch)), key=lambda axis: (patch[axis] / data.size[axis], axis))

    def without(less: int) -> Size:
        return (*patch[:axis], patch[axis] - less, *patch[axis + 1 :])

    shorter, _ = topology(without(2 ** found.pools[axis]), data.spacing)
    return without(2 ** shorter.pools[axis])


def normalisation(data: Fingerprint) -> str:
    """Colours are brought to 0..1, CT to the values of its foreground, all else to mean 0 and deviation 1 in each image and
    channel."""
    if data.ct:
        return "ct"
    return "rgb_to_0_1" if data.photos else "z-score"
