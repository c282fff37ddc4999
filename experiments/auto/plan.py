"""nnU-Net's rules for images: what it would train on data of some fingerprint, in a memory of some size.

Isensee, Jaeger, Kohl, Petersen, Maier-Hein, "nnU-Net: a self-configuring method for deep learning-based biomedical image
segmentation", Nature Methods 2021; the numbers are those of its version 2.8. All of it is arithmetic.
"""

import dataclasses
import math
from collections.abc import Sequence
from typing import Any

from experiments.auto.fingerprint import Fingerprint
from fcn.data.loading.crops import Size

BASE_FEATURES, MAX_FEATURES = 32, 512
STEPS = 250 * 1000
FOREGROUND = 0.33
_LARGEST_SIDE = 2048
_SMALLEST_EDGE = 4
"""Rows and columns of the coarsest map."""
_REFERENCE, _REFERENCE_GB, _REFERENCE_BATCH = 85e6, 8, 12
"""Entries of all maps of so many images that go into so many gigabytes."""
_SMALLEST_BATCH, _SHARE_OF_DATA = 2, 0.05


@dataclasses.dataclass(frozen=True)
class Plan:
    """What nnU-Net would train; the rest of it is the same for all data."""

    patch: Size
    batch_size: int
    pools: tuple[int, int]
    """How often height and width are halved."""
    features: tuple[int, ...]
    """Of each stage, the finest first."""
    normalisation: str

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
            "features": list(self.features),
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
    pools, patch = topology([min(side, _LARGEST_SIDE) for side in data.size])
    reference = _REFERENCE * gigabytes / _REFERENCE_GB
    while (size := map_entries(patch, pools, data.classes)) / _REFERENCE_BATCH * _SMALLEST_BATCH > reference:
        if max(patch) <= 2 * _SMALLEST_EDGE:
            raise ValueError(f"memory of {gigabytes:g} GB holds no patch of these images; give more: --memory 8GB")
        pools, patch = topology(_smaller(patch, data.size, pools))
    batch = round(reference / size * _REFERENCE_BATCH)
    pixels = data.images * math.prod(data.size)
    batch = max(min(batch, round(_SHARE_OF_DATA * pixels / math.prod(patch))), _SMALLEST_BATCH)
    return Plan(patch, batch, pools, features(max(pools) + 1), normalisation(data))


def topology(size: Sequence[int]) -> tuple[tuple[int, int], Size]:
    """How often each side is halved, both together and a longer one beyond, and the size that this divides.

    A side is halved while at least 4 are left, and, where it alone is left, 6.
    """
    sides, pools = list(size), [0, 0]
    while True:
        axes = [axis for axis in (0, 1) if sides[axis] >= 2 * _SMALLEST_EDGE]
        axes = [axis for axis in axes if pools[axis] == min(pools[other] for other in axes)]
        if not axes or (len(axes) == 1 and sides[axes[0]] < 3 * _SMALLEST_EDGE):
            height, width = (-(-side // 2**count) * 2**count for side, count in zip(size, pools))
            return (pools[0], pools[1]), (height, width)
        for axis in axes:
            sides[axis], pools[axis] = -(-sides[axis] // 2), pools[axis] + 1


def features(stages: int, base: int = BASE_FEATURES) -> tuple[int, ...]:
    """Of each stage: twice as many as of the finer one, at most 16 times the first."""
    return tuple(min(base * 2**stage, base * MAX_FEATURES // BASE_FEATURES) for stage in range(stages))


def map_entries(patch: Size, pools: Sequence[int], classes: int) -> int:
    """Entries of all maps that the convolutions of a plain U-Net give for a patch: two of each stage on the way down, three on
    the way up, and the logits."""
    total = classes * math.prod(patch)
    stages = max(pools) + 1
    for stage, width in enumerate(features(stages)):
        area = math.prod(side // 2 ** min(stage, count) for side, count in zip(patch, pools))
        total += area * width * (5 if stage < stages - 1 else 2)
    return total


def _smaller(patch: Size, median: Size, pools: Sequence[int]) -> Size:
    """The patch with that side shortened which is the longest beside the median image, by as little as can be divided."""
    axis = 1 if patch[1] / median[1] >= patch[0] / median[0] else 0
    shorter = list(patch)
    shorter[axis] -= 2 ** pools[axis]
    counts, _ = topology(shorter)
    shorter = list(patch)
    shorter[axis] -= 2 ** counts[axis]
    return shorter[0], shorter[1]


def normalisation(data: Fingerprint) -> str:
    """Colours are brought to 0..1, all else to mean 0 and deviation 1 in each image and channel."""
    return "rgb_to_0_1" if data.channels == 3 else "z-score"
