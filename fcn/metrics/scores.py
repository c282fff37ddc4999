"""Scores of classes from four counts of pixels, pooled over images or image by image: the quotients that papers report."""

import dataclasses
from collections.abc import Callable, Sequence
from typing import Literal, NamedTuple, get_args

import numpy as np
from jaxtyping import Array, Integer, Real

from fcn.errors import unknown

Reduction = Literal["micro", "macro", "weighted", "micro-imagewise", "macro-imagewise", "weighted-imagewise"]


class Counts(NamedTuple):
    """Pixels of each class, one against the rest: integers [..., K], the images before the classes.

    Attributes:
        tp: predicted and labelled so.
        fp: predicted so, labelled otherwise.
        fn: labelled so, predicted otherwise.
        tn: all other pixels that count.
    """

    tp: Integer[Array | np.ndarray, "*images k"]
    fp: Integer[Array | np.ndarray, "*images k"]
    fn: Integer[Array | np.ndarray, "*images k"]
    tn: Integer[Array | np.ndarray, "*images k"]


def counts_of(matrix: Integer[Array | np.ndarray, "*images k k"]) -> Counts:
    """The counts that confusion matrices (row = label, column = prediction) hold, [..., K]; on the device as well."""
    tp = matrix.diagonal(0, -2, -1)
    fp, fn = matrix.sum(-2) - tp, matrix.sum(-1) - tp
    return Counts(tp, fp, fn, matrix.sum((-2, -1))[..., None] - tp - fp - fn)


def score(
    name: str,
    counts: Counts,
    reduction: Reduction | None = "macro",
    *,
    class_weights: Real[np.ndarray, " k"] | Sequence[int | float] | None = None,
    zero_division: int | float = float("nan"),
    beta: int | float = 1.0,
) -> float | np.ndarray:
    """A score of `SCORES`, computed on the host in float64.

    A score is undefined where it would divide by 0 (precision of a class that is never predicted), and, whatever the score, for
    a class that occurs in neither labels nor predictions. What is undefined is in no mean.

    Args:
        name: "iou", "f1" (Dice), "f_beta", "precision", "recall", "specificity", "accuracy", "balanced_accuracy", "kappa" or
            "mcc".
        counts: integers [N, K] (or [K], of one image, or of all together).
        reduction: None gives the score of each image and class. "micro" pools all images and classes before the score is taken,
            "macro" pools images and takes the mean over classes, "weighted" its weighted mean. "...-imagewise" does so in each
            image and takes the mean over images.
        class_weights: [K], for the weighted means; by default the pixels that are labelled so.
        zero_division: stands for an undefined score, and is in the means; 1 as segmentation-models-pytorch has it.
        beta: of "f_beta": how many times recall counts as much as precision.

    Returns:
        A number, NaN where nothing is defined; with `reduction=None` float64 of the shape of the counts.

    Raises:
        ValueError: for an unknown score or reduction, counts of different shapes, weights that do not fit, or beta <= 0.
    """
    _check(name, counts, reduction, class_weights, beta)
    tp, fp, fn, tn = (np.asarray(count, np.float64) for count in counts)
    if reduction in ("micro", "macro", "weighted"):
        tp, fp, fn, tn = (count.reshape(-1, count.shape[-1]).sum(0) for count in (tp, fp, fn, tn))
    weights = tp + fn if class_weights is None else np.broadcast_to(np.asarray(class_weights, np.float64), tp.shape)
    if reduction in ("micro", "micro-imagewise"):
        tp, fp, fn, tn, weights = (count.sum(-1, keepdims=True) for count in (tp, fp, fn, tn, weights))
    options = {"beta": beta} if name == "f_beta" else {}
    values = np.where(tp + fp + fn > 0, SCORES[name].function(tp, fp, fn, tn, **options), np.nan)
    values = np.where(np.isnan(values), zero_division, values)
    if reduction is None:
        return values
    weights = weights if reduction.startswith("weighted") else np.ones_like(values)
    return float(_mean(_mean(values, weights), np.ones(values.shape[:-1])))


def cohen_kappa(matrix: Real[np.ndarray, "*images k k"]) -> np.ndarray | float:
    """Agreement beyond chance: (p_o - p_e) / (1 - p_e). Cohen, Educational and Psychological Measurement 20, 1960, equation 1.

    Args:
        matrix: confusion matrices, row = label, column = prediction; integers, or float64 of integers.

    Returns:
        float64 in -1..1; NaN where labels and predictions are all of one class, or nothing was counted.
    """
    matrix = np.asarray(matrix, np.float64)
    total = matrix.sum((-2, -1))
    chance = divide((matrix.sum(-1) * matrix.sum(-2)).sum(-1), total**2)
    return divide(divide(np.trace(matrix, axis1=-2, axis2=-1), total) - chance, 1 - chance)


def matthews_correlation(matrix: Real[np.ndarray, "*images k k"]) -> np.ndarray | float:
    """Correlation of labels and predictions. Matthews, 1975; for K classes Gorodkin, Comput. Biol. Chem. 28, 2004, equation 8.

    Args:
        matrix: confusion matrices, row = label, column = prediction; integers, or float64 of integers.

    Returns:
        float64 in -1..1; NaN where the labels, or the predictions, are all of one class.
    """
    matrix = np.asarray(matrix, np.float64)
    total, correct = matrix.sum((-2, -1)), np.trace(matrix, axis1=-2, axis2=-1)
    labelled, predicted = matrix.sum(-1), matrix.sum(-2)
    spread = [total**2 - (side**2).sum(-1) for side in (labelled, predicted)]
    return divide(correct * total - (labelled * predicted).sum(-1), np.sqrt(spread[0] * spread[1]))


def divide(numerator, denominator) -> np.ndarray:
    """Quotient in float64, NaN where the denominator is not above 0."""
    numerator, denominator = np.broadcast_arrays(np.asarray(numerator, np.float64), np.asarray(denominator, np.float64))
    return np.divide(numerator, denominator, out=np.full(denominator.shape, np.nan), where=denominator > 0)


def _iou(tp, fp, fn, tn):
    return divide(tp, tp + fp + fn)


def _f_beta(tp, fp, fn, tn, beta=1.0):
    return divide((1 + beta**2) * tp, (1 + beta**2) * tp + beta**2 * fn + fp)


def _precision(tp, fp, fn, tn):
    return divide(tp, tp + fp)


def _recall(tp, fp, fn, tn):
    return divide(tp, tp + fn)


def _specificity(tp, fp, fn, tn):
    return divide(tn, tn + fp)


def _accuracy(tp, fp, fn, tn):
    return divide(tp + tn, tp + fp + fn + tn)


def _balanced_accuracy(tp, fp, fn, tn):
    return (_recall(tp, fp, fn, tn) + _specificity(tp, fp, fn, tn)) / 2


def _matrices(tp, fp, fn, tn):
    """One class against the rest as confusion matrices [..., K, 2, 2]."""
    return np.stack([np.stack([tn, fp], -1), np.stack([fn, tp], -1)], -2)


def _kappa(*counts):
    return np.asarray(cohen_kappa(_matrices(*counts)))


def _mcc(*counts):
    return np.asarray(matthews_correlation(_matrices(*counts)))


@dataclasses.dataclass(frozen=True)
class Score:
    """A score and where it comes from.

    Attributes:
        function: (tp, fp, fn, tn), float64 [..., K] -> float64 [..., K], NaN where undefined.
        paper: where it was published.
    """

    function: Callable[..., np.ndarray | float]
    paper: str


SCORES: dict[str, Score] = {
    "iou": Score(_iou, "Jaccard, New Phytologist 11, 1912"),
    "f1": Score(_f_beta, "Dice, Ecology 26, 1945"),
    "f_beta": Score(_f_beta, "van Rijsbergen, Information Retrieval, 1979, chapter 7"),
    "precision": Score(_precision, "Kent et al., American Documentation 6, 1955"),
    "recall": Score(_recall, "Kent et al., American Documentation 6, 1955"),
    "specificity": Score(_specificity, "Yerushalmy, Public Health Reports 62, 1947"),
    "accuracy": Score(_accuracy, "Sokal, Michener, University of Kansas Science Bulletin 38, 1958"),
    "balanced_accuracy": Score(_balanced_accuracy, "Brodersen et al., ICPR 2010"),
    "kappa": Score(_kappa, "Cohen, Educational and Psychological Measurement 20, 1960"),
    "mcc": Score(_mcc, "Matthews, Biochimica et Biophysica Acta 405, 1975"),
}


def _mean(values, weights) -> np.ndarray:
    """Weighted mean over the last axis of the values that are not NaN; NaN where there are none."""
    defined = ~np.isnan(values)
    return divide(np.where(defined, values * weights, 0).sum(-1), (weights * defined).sum(-1))


def _check(name, counts: Counts, reduction, class_weights, beta) -> None:
    if name not in SCORES:
        raise unknown("score", name, SCORES)
    if reduction is not None and reduction not in get_args(Reduction):
        raise unknown("reduction", reduction, get_args(Reduction))
    shapes = {np.shape(count) for count in counts}
    if len(shapes) > 1 or shapes == {()}:
        raise ValueError(f"counts have one shape, [images, classes] or [classes], not {sorted(shapes)}")
    classes = np.shape(counts[0])[-1]
    if class_weights is not None and (np.shape(class_weights) != (classes,) or np.min(class_weights) < 0):
        raise ValueError(f"class_weights has one weight, not negative, for each of {classes} classes, not {class_weights}")
    if not 0 < beta < float("inf"):
        raise ValueError(f"beta is {beta}; it must be above 0 and finite (1 is F1, 2 counts recall more)")
