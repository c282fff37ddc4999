"""From a plan to what a time allows: a network whose steps are as many as it takes to learn, and how many they are.

nnU-Net's 250,000 steps take a day on a large GPU. Where less is to be had, the network becomes narrower, or sees the image at
a lower resolution if the parts of classes are wide enough, until there are `WANTED` steps; all that is left becomes steps.
"""

import dataclasses
import math
from collections.abc import Sequence
from typing import NamedTuple

from experiments.auto.fingerprint import Fingerprint
from experiments.auto.plan import BASE_FEATURES, STEPS, Plan, Topology, features, topology
from fcn.data.loading.crops import Size

WANTED = 800
"""Steps for which a smaller network is taken."""
_SMALLEST_WIDTH = 4
"""Pixels that the parts of a class must have where the network sees them."""
_PIXELS = {2: 256**2, 3: 64**3}
"""Of a patch, where the network sees it, unless all of the plan goes into the time; by its number of sides."""
_BATCHES = {2: (8, 4), 3: (4, 2)}
_BACKWARD = 2
"""The time of a backward pass, in forward passes."""
_TRAINED = 0.75
"""The share of the time that is left to training, before that is known."""
_NEAR = (0.7, 4)
"""Steps that are near enough to those that are wanted, beside them."""
_SURE = 0.9
"""The share of the time that is planned with."""
_EVALUATED, _EVALUATIONS = 0.1, 10
_FEWEST = 10
_END = 15.0
"""Seconds that pictures and the last checkpoint take."""


@dataclasses.dataclass(frozen=True)
class Rung:
    """A size of network and batch; its cost is `work`."""

    base: int
    stem: int
    topology: Topology
    patch: Size
    batch: int
    whole: bool = False
    """All that nnU-Net plans."""

    @property
    def depth(self) -> int:
        """The number of poolings."""
        return len(self.topology.strides) - 1

    @property
    def features(self) -> tuple[int, ...]:
        """Of each level, the finest first."""
        return features(self.depth + 1, self.base, len(self.patch))

    def work(self, channels: int, classes: int) -> float:
        """Multiplications of a step, roughly: three convolutions a level and side, forward and back."""
        axes, widths = len(self.patch), self.features
        whole = area = math.prod(-(-side // self.stem) for side in self.patch)
        first = channels if self.stem == 1 else 2 * self.base
        total = (self.stem > 1) * (2 * self.stem) ** axes * channels * first * whole + 0.0
        for level, (above, own) in enumerate(zip((first, *widths), widths)):
            area /= math.prod(self.topology.strides[level])
            kernel = math.prod(self.topology.kernels[level])
            total += area * kernel * own * (above + own)
            if level < self.depth:
                total += area * (kernel * own * 3 * own + widths[level + 1] * own)
        total += whole * self.base * classes
        return total * self.batch * (1 + _BACKWARD)


class Evaluation(NamedTuple):
    """What an evaluation takes."""

    pixels: int
    shapes: int
    """Each is a compilation."""


class Length(NamedTuple):
    """How long to train."""

    steps: int
    eval_every: int


def rungs(plan: Plan, data: Fingerprint, devices: int = 1) -> list[Rung]:
    """What may be trained, from the plan itself down to the least, each with less work than the one before.

    Batches are multiples of the number of devices.
    """
    patch = _inside(plan.patch, data)
    whole = Rung(BASE_FEATURES, 1, _usable(plan.topology, patch), patch, plan.batch_size, whole=True)
    wide = (data.width or 0) if len(patch) == 2 else 0  # what volumes are seen by has no stem
    strides = [stride for stride in (1, 2, 4) if stride == 1 or wide / stride >= _SMALLEST_WIDTH]
    smaller = [
        _rung(base, stride, patch, batch, plan)
        for base in (BASE_FEATURES, BASE_FEATURES // 2, BASE_FEATURES // 4)
        for stride in strides
        for batch in _BATCHES[len(patch)]
        if base > BASE_FEATURES // 4 or stride == strides[-1]
    ]
    divided = [dataclasses.replace(rung, batch=-(-rung.batch // devices) * devices) for rung in [whole, *smaller]]
    whole, cost = divided[0], {rung: rung.work(data.channels, data.classes) for rung in divided}
    ordered = sorted((rung for rung in cost if cost[rung] < cost[whole]), key=lambda rung: -cost[rung])
    return [whole, *ordered]


def pick(choices: Sequence[Rung], data: Fingerprint, rate: float, seconds: float, wanted: int = WANTED) -> tuple[Rung, int]:
    """The first that makes as many steps as are wanted in a time, else the last; with the steps that it makes.

    Args:
      choices: those of `rungs`.
      data: what they are for.
      rate: multiplications a second.
      seconds: that are left, of which a quarter goes to other things than training.
      wanted: steps.
    """
    steps = 0
    for rung in choices:
        steps = int(seconds * _TRAINED * rate / rung.work(data.channels, data.classes))
        if steps >= wanted:
            break
    return rung, min(max(steps, 1), STEPS)


def is_right(step: float, seconds: float, wanted: int) -> bool:
    """Whether steps of so many seconds, in a time, are about as many as are wanted: another network need not be timed."""
    return _NEAR[0] * wanted <= seconds * _TRAINED / step <= _NEAR[1] * wanted


def length(
    rung: Rung, step: float, compilation: float, evaluation: Evaluation, seconds: float, fixed: int | None = None
) -> Length:
    """The steps that go into a time, with up to ten evaluations in a tenth of it.

    Compilation of the step, which happens once more, and of the evaluation, is taken off.

    Args:
      rung: what is trained.
      step: seconds of a step, and
      compilation: of its compilation.
      evaluation: what an evaluation takes.
      seconds: that are left.
      fixed: how many steps there will be, whatever the time, if that is said.

    Raises:
      ValueError: hardly any goes in.
    """
    compiled = compilation * (1.5 + 0.3 * evaluation.shapes)
    one = step / (1 + _BACKWARD) * evaluation.pixels / (rung.batch * math.prod(rung.patch))
    free = seconds * _SURE - compiled - _END
    count = min(max(int(_EVALUATED * free / max(one, 1e-9)), 1), _EVALUATIONS)
    steps = fixed or min(int((free - (count + 1) * one) / step), STEPS)
    if steps < _FEWEST and not fixed:
        missing = (2 * one + 10 * _FEWEST * step - free) / _SURE
        raise ValueError(
            f"{max(seconds, 0):.0f} s of the budget are left, too few for compilation, evaluation and {_FEWEST} steps of "
            f"{step:.1f} s; give {math.ceil(missing / 60)} minutes more, or a smaller network (--model.options)"
        )
    return Length(steps, -(-steps // count))


def _rung(base: int, stride: int, patch: Size, batch: int, plan: Plan) -> Rung:
    """A network for a part of the patch, as large as is seen at once, and no more pixels than the plan has."""
    while math.prod(patch) > _PIXELS[len(patch)] * stride ** len(patch):
        longest = patch.index(max(patch))
        patch = tuple(-(-side // 2) if axis == longest else side for axis, side in enumerate(patch))
    found, _ = topology(tuple(-(-side // stride) for side in patch), plan.spacing)
    most = plan.batch_size * math.prod(plan.patch) // math.prod(patch)
    return Rung(base, stride, _usable(found, patch), patch, min(batch, most))


def _usable(found: Topology, patch: Size) -> Topology:
    """One with a pooling at least; that of images has those by which both sides are halved."""
    first, *others = found.strides
    halved = [step for step in others if len(patch) > 2 or min(step) > 1] or [tuple(min(2, side) for side in patch)]
    kernels = (*found.kernels, (3,) * len(patch))  # one more where there was no pooling
    return Topology((first, *halved), kernels[: len(halved) + 1])


def _inside(patch: Size, data: Fingerprint) -> Size:
    """The patch without what lies outside of images that are all alike: the network itself pads them."""
    return tuple(map(min, patch, data.size)) if data.alike else patch
