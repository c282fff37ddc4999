"""Operations that put parts of another sample of the set, the partner, into a sample: image and labels alike."""

import dataclasses
from typing import Annotated

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Int, Key

from fcn.data.augment.noise import box
from fcn.data.augment.operation import Number, Operation, Span
from fcn.ranges import Range

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

    def pasted(self, own: Int[Array, "*size"], partner: Int[Array, "*size"]) -> Int[Array, "*size"]:
        """The partner's label as it is pasted into another."""
        return partner


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
        present = jnp.zeros(LABELS, bool).at[jnp.where(known, partner, LABELS)].set(True, mode="drop")
        chance = jnp.where(present, jax.random.uniform(key, (LABELS,)), jnp.inf)
        last = jnp.sort(chance)[jnp.maximum((jnp.sum(present) + 1) // 2 - 1, 0)]
        chosen = present & (chance <= last)
        return known & chosen[jnp.clip(partner, 0, LABELS - 1)]


@dataclasses.dataclass(frozen=True, kw_only=True)
class CopyPaste(Mixing):
    """Objects of the partner, each with a probability (Ghiasi et al., CVPR 2021). Labels are instance maps: 0 is background.

    Pasted objects get numbers above those of the sample. What is unknown is below 0, as it is for `Codec(ignore_index=-1)`.

    Attributes:
        share: the probability of an object.
        objects: the largest number of an object that can be pasted.
    """

    share: Annotated[Number, Range(0, 1)] = 0.5
    objects: Annotated[int, Range(1, 2**16)] = 4096

    def taken(self, key, partner, ignore_index):
        chosen = jax.random.uniform(key, (self.objects + 1,)) < self.share
        object_ = (partner > 0) & (partner <= self.objects) & (partner != ignore_index)
        return object_ & chosen[jnp.clip(partner, 0, self.objects)]

    def pasted(self, own, partner):
        return partner + jnp.max(own)  # numbers that no object of this image has
