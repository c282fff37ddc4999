"""All losses by name, and sums of them from a text such as "0.5*ce+0.5*dice"."""

import dataclasses
import functools
import inspect
import operator
import re
from collections.abc import Callable, Sequence
from typing import Any

import jax.numpy as jnp
from jaxtyping import Array, Float

from fcn.calls import read_options
from fcn.errors import unknown
from fcn.losses.border import border_cross_entropy, weight_of_border
from fcn.losses.cldice import cldice_loss
from fcn.losses.correlation import mcc_loss
from fcn.losses.distances import boundary_loss, hausdorff_loss, weight_by_distances
from fcn.losses.entropy import cross_entropy, ohem_cross_entropy, topk_cross_entropy, weight_of_cross_entropy
from fcn.losses.focal import focal_loss, weight_of_focal
from fcn.losses.inputs import Labels, Logits
from fcn.losses.lovasz import lovasz_loss
from fcn.losses.overlap import dice_loss, focal_tversky_loss, generalized_dice_loss, jaccard_loss, tversky_loss
from fcn.losses.regression import Targets, huber_loss, l1_loss, weight_of_values


@dataclasses.dataclass(frozen=True)
class Loss:
    """A loss and where it comes from.

    Attributes:
        function: (logits, labels, ...) -> scalar.
        paper: where it was published, if it was.
        distances: whether it takes distance maps, computed on the host, as `distances`.
        regression: whether it takes (predictions, targets), without mode and ignored labels.
        weight: of the same arguments the weight by which its sum is divided, where it is such a mean: then the loss of several
            batches together is the mean of theirs by these weights. None, or no weight: it is not.
    """

    function: Callable[..., Array]
    paper: str
    distances: bool = False
    regression: bool = False
    weight: Callable[..., Array | None] | None = None


LOSSES: dict[str, Loss] = {
    "ce": Loss(cross_entropy, "Long, Shelhamer, Darrell, CVPR 2015", weight=weight_of_cross_entropy),
    "topk": Loss(topk_cross_entropy, "Wu, Shen, van den Hengel, 2016"),
    "ohem": Loss(ohem_cross_entropy, "Shrivastava, Gupta, Girshick, CVPR 2016"),
    "border": Loss(border_cross_entropy, "Ronneberger, Fischer, Brox, MICCAI 2015", distances=True, weight=weight_of_border),
    "focal": Loss(focal_loss, "Lin et al., ICCV 2017", weight=weight_of_focal),
    "dice": Loss(dice_loss, "Milletari, Navab, Ahmadi, 3DV 2016"),
    "generalized_dice": Loss(generalized_dice_loss, "Sudre et al., DLMIA 2017"),
    "jaccard": Loss(jaccard_loss, "Rahman, Wang, ISVC 2016"),
    "tversky": Loss(tversky_loss, "Salehi, Erdogmus, Gholipour, MLMI 2017"),
    "focal_tversky": Loss(focal_tversky_loss, "Abraham, Khan, ISBI 2019"),
    "lovasz": Loss(lovasz_loss, "Berman, Rannen Triki, Blaschko, CVPR 2018"),
    "mcc": Loss(mcc_loss, "Abhishek, Hamarneh, ISBI 2021"),
    "boundary": Loss(boundary_loss, "Kervadec et al., MIDL 2019", distances=True, weight=weight_by_distances),
    "hausdorff": Loss(hausdorff_loss, "Karimi, Salcudean, TMI 2020", distances=True, weight=weight_by_distances),
    "cldice": Loss(cldice_loss, "Shit et al., CVPR 2021"),
    "l1": Loss(l1_loss, "none: the mean absolute error", regression=True, weight=weight_of_values),
    "huber": Loss(huber_loss, "Huber, Annals of Mathematical Statistics 1964", regression=True, weight=weight_of_values),
}


@dataclasses.dataclass(frozen=True)
class Term:
    """A part of a sum of losses: its weight, its name in `LOSSES`, and options of the loss."""

    weight: float
    name: str
    options: dict[str, Any] = dataclasses.field(default_factory=dict, hash=False)

    def __call__(self, logits: Logits, labels: Labels | Targets, **options) -> Float[Array, ""]:
        """The weighted loss; options of the term go before those that are given here."""
        return self.weight * LOSSES[self.name].function(logits, labels, **{**options, **self.options})

    def divisor(self, logits: Logits, labels: Labels | Targets, **options) -> Float[Array, ""] | None:
        """What the loss of these logits weighs beside that of others; None where it is no mean by weights."""
        options, weight = {**options, **self.options}, LOSSES[self.name].weight
        return None if weight is None or options.get("reduction") == "sum" else weight(logits, labels, **options)


_NUMBER = r"\d+\.?\d*(?:[eE][+-]?\d+)?|\.\d+(?:[eE][+-]?\d+)?"
_TERM = re.compile(rf"(?:({_NUMBER})\*)?([a-zA-Z]\w*)(?:\(([^()]*)\))?")


def parse_terms(text: str) -> tuple[Term, ...]:
    """Reads a sum of losses: "0.5*ce+0.5*dice", "ce", "focal(gamma=3)+2*tversky(alpha=0.3,beta=0.7)".

    Args:
        text: terms with "+" between them; each a weight above 0 and "*" (or neither: 1), a name of `LOSSES`, and options of
            that loss in brackets: numbers, true, false, null, lists ([1,2]) or a word.

    Returns:
        The terms in their order; `total_loss` sums them.

    Raises:
        ValueError: for a text that is no such sum, a loss or an option that does not exist, or losses of classes and of values
            in one sum.
    """
    terms = tuple(_term(piece) for piece in re.split(r"\+(?=[^()]*(?:\(|$))", re.sub(r"\s", "", text)))
    if len({LOSSES[term.name].regression for term in terms}) > 1:
        raise ValueError(f"{text!r} mixes losses of classes with losses of values; l1 and huber go with each other only")
    return terms


def total_loss(terms: Sequence[Term], logits: Logits, labels: Labels | Targets, **options) -> Float[Array, ""]:
    """The sum of some losses.

    Args:
        terms: from `parse_terms`.
        logits, labels: as the losses take them.
        options: of all losses (mode, ignore_index, axis_name ...); one that some loss does not have goes to the others.

    Returns:
        A float32 scalar.

    Raises:
        ValueError: for an option that no term has.
    """
    known = [_options(term.name) for term in terms]
    for name in options:
        if not any(name in names for names in known):
            raise unknown("option of " + "+".join(term.name for term in terms), name, set().union(*known))
    shared = [{name: value for name, value in options.items() if name in names} for names in known]
    return functools.reduce(operator.add, (term(logits, labels, **mine) for term, mine in zip(terms, shared)))


def weighed_losses(
    terms: Sequence[Term], logits: Logits, labels: Labels | Targets, images: Float[Array, ""], **options
) -> Float[Array, "terms 2"]:
    """Each of some losses, and what it weighs beside that of other batches.

    Of means by weights the weight is their sum: so the loss of all batches together is found. All else weighs as much as the
    batch has images: the mean over batches, which is not the loss of all images together, and depends on the size of a batch.

    Args:
        terms, logits, labels, options: as `total_loss` takes them.
        images: how many the batch of all devices has, without those that fill it up.
    """

    def row(term):
        divisor = term.divisor(logits, labels, **options)
        return jnp.stack([total_loss((term,), logits, labels, **options), images if divisor is None else divisor])

    return jnp.stack([row(term) for term in terms])


def _term(text: str) -> Term:
    match = _TERM.fullmatch(text)
    if not match:
        raise ValueError(f"{text!r} is no term of a loss; write WEIGHT*NAME(OPTION=VALUE), as in 0.5*ce+0.5*dice(smooth=1)")
    weight, name, options = match.groups()
    if name not in LOSSES:
        raise unknown("loss", name, LOSSES)
    weight = 1.0 if weight is None else float(weight)
    if not 0 < weight < float("inf"):
        raise ValueError(f"the weight of {name!r} must be above 0 and finite, not {weight}")
    return Term(weight, name, read_options(name, options or "", _options(name)))


def _options(name: str) -> set[str]:
    parameters = inspect.signature(LOSSES[name].function).parameters
    return set(list(parameters)[2:])
