"""Operations that put parts of another sample of the set, the partner, into a sample: image and labels alike."""

import dataclasses
from collections.abc import Sequence
from typing import Annotated

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Int, Key, Num

from fcn.data.augment.noise import box
from fcn.data.augment.operation import Number, Operation, Span, streams
from fcn.data.augment.resampling import at_pixels
from fcn.data.codec import Codec, Targets
from fcn.data.panoptic import STEP
from fcn.ranges import Range

Sample = tuple[Num[Array | np.ndarray, "..."], Targets]
"""An image and its targets."""

LABELS = 256
"""Class numbers and the ignored label lie below this."""


class Mixing(Operation):
    """An operation that takes some pixels from the partner."""

    def taken(self, key: Key[Array, ""], partner: Int[Array, "*size"], ignore_index: Number) -> Bool[Array, "*size"]:
        """Which pixels come from the partner.

        Args:
            key: decides everything that is random.
            partner: its label.
            ignore_index: the label of pixels that count nowhere.
        """
        raise NotImplementedError

    def pasted(self, taken: Bool[Array, "*size"], own: Targets, partner: Targets, codec: Codec) -> Targets:
        """The targets of a sample that has taken some pixels from its partner."""
        return {name: at_pixels(taken, partner[name], values) for name, values in own.items()}


@dataclasses.dataclass(frozen=True, kw_only=True)
class CutMix(Mixing):
    """A box of the partner (Yun et al., ICCV 2019; for segmentation French et al., BMVC 2020).

    Attributes:
        share: of the length of each axis that the box takes.
    """

    share: Annotated[Span, Range(0, 1)] = (0.2, 0.7)

    def taken(self, key, partner, ignore_index):
        return box(key, partner.shape, self.share)


@dataclasses.dataclass(frozen=True, kw_only=True)
class ClassMix(Mixing):
    """Half of the classes of the partner, rounded up (Olsson et al., WACV 2021). Its ignored pixels stay behind."""

    def taken(self, key, partner, ignore_index):
        known = partner != ignore_index
        present = labels_present(partner, known)
        chance = jnp.where(present, jax.random.uniform(key, (LABELS,)), jnp.inf)
        last = jnp.sort(chance)[jnp.maximum((jnp.sum(present) + 1) // 2 - 1, 0)]
        chosen = present & (chance <= last)
        return known & chosen[jnp.clip(partner, 0, LABELS - 1)]


@dataclasses.dataclass(frozen=True, kw_only=True)
class CopyPaste(Mixing):
    """Objects of the partner, each with a probability (Ghiasi et al., CVPR 2021). Labels are instance maps: 0 is background.

    Pasted objects get numbers above those of the sample, and keep their classes in maps of `fcn.data.panoptic`. What is unknown
    is below 0, as it is for `fcn.data.codec.Objects`. What else is learnt of an object comes with it. Where something is, what
    remains of an object that is hidden in part counts nowhere: it is of the whole object.

    Attributes:
        share: the probability of an object.
        objects: of so many each is chosen by itself; those of larger numbers share the chances of others.
    """

    share: Annotated[Number, Range(0, 1)] = 0.5
    objects: Annotated[int, Range(1, 2**16)] = 4096

    def taken(self, key, partner, ignore_index):
        chosen = jax.random.uniform(key, (self.objects + 1,)) < self.share
        return (partner > 0) & (partner != ignore_index) & chosen[self._group(partner)]

    def pasted(self, taken, own, partner, codec):
        offset = jnp.max(_number(own["label"]))  # numbers that no object of this image has
        if len(own) > 1:
            rest = self._rest(own["label"], taken)
            own = {name: at_pixels(rest, codec.fill[name], values) for name, values in own.items()}
        return super().pasted(taken, own, {**partner, "label": partner["label"] + offset}, codec)

    def _rest(self, label, taken):
        """What is left of the objects that are hidden in part, and of those with their chance."""
        object_, group = label > 0, self._group(label)
        nobody = self.objects + 1
        hidden = jnp.zeros(nobody, bool).at[jnp.where(taken & object_, group, nobody)].set(True, mode="drop")
        return object_ & hidden[group] & ~taken

    def _group(self, label):
        return _number(label) % (self.objects + 1)


def refuse_other_targets(operations: Sequence[Mixing], codec: Codec) -> None:
    """Tells what of these targets cannot be mixed."""
    for operation in operations:
        name, follow = type(operation).__name__, {"label"}
        if isinstance(operation, CopyPaste):
            follow |= codec.of_objects
        elif codec.of_objects:
            raise ValueError(f"{name} takes parts of class maps, and {type(codec).__name__} learns objects; take CopyPaste")
        if strange := sorted(set(codec.fill) - follow):
            raise ValueError(f"{name} mixes {', '.join(sorted(follow))}, not {', '.join(strange)}; leave out one or the other")
        if isinstance(operation, CopyPaste) and unknown_label(codec) >= 0:
            raise ValueError(
                f"{name} takes objects from instance maps, whose unknown pixels are below 0; with class numbers take ClassMix"
            )


def mixed(key: Key[Array, ""], own: Sample, operations: Sequence[Mixing], codec: Codec, partner: Sample | None) -> Sample:
    """A sample that has taken pixels from its partner.

    Raises:
        ValueError: there is none, or labels are neither class numbers nor instance maps.
    """
    if not operations:
        return own
    image, targets = own
    if partner is None:
        raise ValueError(f"{type(operations[0]).__name__} takes pixels from a partner, and none is given")
    label = targets["label"]
    if label.ndim != image.ndim - 1 or not jnp.issubdtype(label.dtype, jnp.integer):
        raise ValueError(f"{type(operations[0]).__name__} mixes class numbers and instance maps, no other labels; leave it out")
    targets = {name: targets[name] for name in codec.fill}
    other_image = jnp.asarray(partner[0], jnp.float32)
    others: Targets = {name: jnp.asarray(partner[1][name]) for name in targets}
    for operation, stream, used in streams(key, operations):
        taken = operation.taken(stream, jnp.asarray(others["label"]), unknown_label(codec)) & used
        targets = operation.pasted(taken, targets, others, codec)
        image = jnp.where(taken[..., None], other_image, image)
    return image, targets


def unknown_label(codec: Codec) -> int | float:
    """The label of pixels of which nothing is known."""
    return codec.fill.get("label", codec.ignore_index)


def labels_present(label: Int[Array, "*size"], known: Bool[Array, "*size"]) -> Bool[Array, " n"]:
    """Which of the `LABELS` occur among the known pixels."""
    return jnp.zeros(LABELS, bool).at[jnp.where(known, label, LABELS)].set(True, mode="drop")


def _number(label):
    """Of an object in its image, whatever its class; 0 where there is none."""
    return jnp.where(label > 0, label % STEP, 0)
