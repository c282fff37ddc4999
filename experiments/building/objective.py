"""From the configuration of a loss to the terms of a task's loss."""

import dataclasses
from collections.abc import Sequence

from experiments.configuration.config import LossConfig
from fcn import losses
from fcn.data import Prepared
from fcn.losses import LOSSES, Term, parse_terms
from fcn.tasks import Task

_ENTROPIES = ("ce", "ohem", "topk", "border")
"""The losses that class weights weigh."""


def loss_terms(config: LossConfig, default: str) -> tuple[Term, ...]:
    """The terms of the loss that is asked for, without class weights, which `weighted` finds.

    Args:
      config: what is asked for.
      default: the loss where it does not say which.

    Raises:
      ValueError: the terms are none, or an option belongs to a loss that is not among them.
    """
    if config.terms is not None and config.dice:
        raise ValueError(f"loss.dice and loss.terms are two ways to say the same; write +{config.dice:g}*dice in loss.terms")
    terms = parse_terms(config.terms or default)
    if config.dice:
        terms = (*terms, Term(config.dice, "dice", {"absent": "skip"}))
        if any(LOSSES[term.name].regression for term in terms):
            raise ValueError("loss.dice is of classes, but this task learns values")
    given = {"reduction": config.reduction, "label_smoothing": config.label_smoothing}
    defaults = {field.name: field.default for field in dataclasses.fields(LossConfig)}
    asked = {name: value for name, value in given.items() if value != defaults[name]}
    if asked and not any(term.name == "ce" for term in terms):
        raise ValueError(
            f"loss.{next(iter(asked))} is the cross-entropy's, which is no part of the loss; name ce in loss.terms"
        )
    return _with_options(terms, ("ce",), asked)


def weighted(terms: Sequence[Term], config: LossConfig, task: Task, source: Prepared) -> tuple[Term, ...]:
    """The terms with the class weights that are asked for, which are found in the labels of the training split.

    Raises:
      ValueError: the task has no classes that exclude each other, or no term is a cross-entropy.
    """
    if config.class_weights == "none":
        return tuple(terms)
    if not any(term.name in _ENTROPIES for term in terms):
        raise ValueError(f"loss.class_weights weighs {', '.join(_ENTROPIES)}, none of which is a part of the loss")
    if task.label_kind not in ("classes", "binary"):
        raise ValueError(f"loss.class_weights is for classes that exclude each other, not for the task {task.name!r}")
    counts = losses.class_counts((source[i]["label"] for i in range(len(source))), len(task.classes))
    weights = getattr(losses, f"{config.class_weights}_weights")(counts) ** config.class_weight_power
    return _with_options(terms, _ENTROPIES, {"class_weights": weights})


def _with_options(terms: Sequence[Term], names: Sequence[str], options: dict) -> tuple[Term, ...]:
    """The terms, those of some names with further options; what a term says itself holds."""
    return tuple(
        dataclasses.replace(term, options={**options, **term.options}) if term.name in names else term for term in terms
    )
