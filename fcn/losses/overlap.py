"""Losses of overlap: Dice, Jaccard, Tversky, focal Tversky and generalised Dice."""

from collections.abc import Sequence
from typing import Literal, NamedTuple

import jax.numpy as jnp
from jaxtyping import Array, Float

from fcn.errors import unknown
from fcn.losses.inputs import Labels, Logits, Mode, PixelWeights, Weights, chosen, divide, power, prepare, probabilities, weigh
from fcn.losses.inputs import sum_over as sum_over_devices

Absent = Literal["zero", "skip", "keep"]


class Overlap(NamedTuple):
    """Sums over pixels, of the whole batch [1, K] or per image [B, K]: p t, p (or p²), t; and where labels count."""

    both: Array
    predicted: Array
    labelled: Array
    counted: Array


def dice_loss(
    logits: Logits,
    labels: Labels,
    mode: Mode = "multiclass",
    *,
    classes: Sequence[int] | None = None,
    log_loss: bool = False,
    smooth: float = 0.0,
    eps: float = 1e-7,
    absent: Absent = "zero",
    per_image: bool = False,
    squared: bool = False,
    ignore_index: int = 255,
    class_weights: Weights | None = None,
    pixel_weights: PixelWeights | None = None,
    axis_name: str | None = None,
) -> Float[Array, ""]:
    """Soft Dice loss: 1 - the mean over classes of (sum(p t) + smooth) / ((sum(p) + sum(t)) / 2 + smooth).

    p is the softmax or sigmoid of the logits, t whether the class is there. Milletari, Navab, Ahmadi, "V-Net", 3DV 2016,
    section 3, which squares the terms of the denominator (`squared`); in common use they are not (Drozdzal et al., "The
    Importance of Skip Connections in Biomedical Image Segmentation", 2016). Equals DiceLoss of segmentation-models-pytorch;
    MONAI's is `per_image=True, smooth=5e-6, absent="keep"`, and with `batch=True` the same without `per_image`.

    Args:
        logits: [B, H, W, K] scores (any number of leading axes), float32 or bfloat16; K >= 2, in "binary" 1.
        labels: [B, H, W] integers, 0..K-1 ("binary": 0, 1) or `ignore_index`; "multilabel": [B, H, W, K] of 0, 1 or
            `ignore_index`. Any other value is ignored too (see `cross_entropy`).
        mode: "multiclass", "binary" or "multilabel".
        classes: ids of the classes in the mean; None: all. `range(1, K)` leaves a background out.
        log_loss: the loss is -log(score) instead of 1 - score.
        smooth: added to numerator and denominator; softens the loss of classes with few pixels.
        eps: the least denominator.
        absent: what a class without a label does in the mean: "zero", it counts with loss 0 (segmentation-models-pytorch);
            "skip", it is left out of the mean; "keep", it counts with the loss that the formula gives (MONAI): with `smooth`
            this teaches to predict nothing. For "skip" and "zero" pixels given to it are missing from the other classes.
        per_image: takes the sums in each image, and the mean over classes and images.
        squared: sum(p²) and sum(t²) in the denominator.
        ignore_index: the label of entries that do not count.
        class_weights: [K], weights of the mean over classes.
        pixel_weights: [B, H, W], not negative, weights in all sums over pixels.
        axis_name: the `pmap` axis over which the sums are summed.

    Returns:
        A float32 scalar; in 0..1 without `log_loss`. A batch without any label has the loss 0 (unless `absent="keep"`).

    Raises:
        ValueError: for shapes or options that do not fit.
    """
    overlap = _overlap(logits, labels, mode, per_image, squared, ignore_index, pixel_weights, axis_name)
    weights = chosen(classes, class_weights, logits.shape[-1])
    losses = _losses(_tversky(overlap, 0.5, 0.5, smooth, eps), log_loss, eps)
    return _mean(losses, overlap, weights, absent, axis_name if per_image else None)


def jaccard_loss(
    logits: Logits,
    labels: Labels,
    mode: Mode = "multiclass",
    *,
    classes: Sequence[int] | None = None,
    log_loss: bool = False,
    smooth: float = 0.0,
    eps: float = 1e-7,
    absent: Absent = "zero",
    per_image: bool = False,
    ignore_index: int = 255,
    class_weights: Weights | None = None,
    pixel_weights: PixelWeights | None = None,
    axis_name: str | None = None,
) -> Float[Array, ""]:
    """Soft Jaccard (IoU) loss: 1 - the mean over classes of (sum(p t) + smooth) / (sum(p) + sum(t) - sum(p t) + smooth).

    Rahman, Wang, "Optimizing Intersection-Over-Union in Deep Neural Networks for Image Segmentation", ISVC 2016. Equals
    JaccardLoss of segmentation-models-pytorch; MONAI's `DiceLoss(jaccard=True)`: `per_image=True, smooth=5e-6, absent="keep"`.

    Args: as in `dice_loss`.

    Returns:
        A float32 scalar; in 0..1 without `log_loss`.

    Raises:
        ValueError: for shapes or options that do not fit.
    """
    overlap = _overlap(logits, labels, mode, per_image, False, ignore_index, pixel_weights, axis_name)
    weights = chosen(classes, class_weights, logits.shape[-1])
    losses = _losses(_tversky(overlap, 1.0, 1.0, smooth, eps), log_loss, eps)
    return _mean(losses, overlap, weights, absent, axis_name if per_image else None)


def tversky_loss(
    logits: Logits,
    labels: Labels,
    mode: Mode = "multiclass",
    *,
    alpha: float = 0.5,
    beta: float = 0.5,
    gamma: float = 1.0,
    classes: Sequence[int] | None = None,
    log_loss: bool = False,
    smooth: float = 0.0,
    eps: float = 1e-7,
    absent: Absent = "zero",
    per_image: bool = False,
    ignore_index: int = 255,
    class_weights: Weights | None = None,
    pixel_weights: PixelWeights | None = None,
    axis_name: str | None = None,
) -> Float[Array, ""]:
    """Tversky loss: (1 - the mean over classes of (TP + smooth) / (TP + alpha FP + beta FN + smooth))^gamma.

    Salehi, Erdogmus, Gholipour, "Tversky Loss Function for Image Segmentation using 3D Fully Convolutional Deep Networks",
    2017, equation 2. Equals TverskyLoss of segmentation-models-pytorch, whose gamma is a power of the mean; for a power of each
    class see `focal_tversky_loss`. MONAI's is `per_image=True, smooth=1e-5, absent="keep"`.

    Args:
        alpha: weight of false positives.
        beta: weight of false negatives; above alpha it favours recall.
        gamma: above 0.

        The others are as in `dice_loss`.

    Returns:
        A float32 scalar; in 0..1 without `log_loss`.

    Raises:
        ValueError: for shapes or options that do not fit.
    """
    _check_powers(alpha, beta, gamma)
    overlap = _overlap(logits, labels, mode, per_image, False, ignore_index, pixel_weights, axis_name)
    weights = chosen(classes, class_weights, logits.shape[-1])
    losses = _losses(_tversky(overlap, alpha, beta, smooth, eps), log_loss, eps)
    mean = _mean(losses, overlap, weights, absent, axis_name if per_image else None)
    return mean if gamma == 1 else power(mean, gamma)


def focal_tversky_loss(
    logits: Logits,
    labels: Labels,
    mode: Mode = "multiclass",
    *,
    alpha: float = 0.3,
    beta: float = 0.7,
    gamma: float = 0.75,
    classes: Sequence[int] | None = None,
    smooth: float = 0.0,
    eps: float = 1e-7,
    absent: Absent = "zero",
    per_image: bool = False,
    ignore_index: int = 255,
    class_weights: Weights | None = None,
    pixel_weights: PixelWeights | None = None,
    axis_name: str | None = None,
) -> Float[Array, ""]:
    """Focal Tversky loss: the mean over classes of (1 - (TP + smooth) / (TP + alpha FP + beta FN + smooth))^gamma.

    Abraham, Khan, "A Novel Focal Tversky Loss Function with Improved Attention U-Net for Lesion Segmentation", ISBI 2019,
    equation 4, whose exponent 1 / (4/3) is `gamma` here, and whose sum over classes is a mean.

    Args: as in `tversky_loss`.

    Returns:
        A float32 scalar in 0..1.

    Raises:
        ValueError: for shapes or options that do not fit.
    """
    _check_powers(alpha, beta, gamma)
    overlap = _overlap(logits, labels, mode, per_image, False, ignore_index, pixel_weights, axis_name)
    losses = power(jnp.maximum(1 - _tversky(overlap, alpha, beta, smooth, eps), 0.0), gamma)
    weights = chosen(classes, class_weights, logits.shape[-1])
    return _mean(losses, overlap, weights, absent, axis_name if per_image else None)


def generalized_dice_loss(
    logits: Logits,
    labels: Labels,
    mode: Mode = "multiclass",
    *,
    weighting: Literal["square", "simple", "uniform"] = "square",
    classes: Sequence[int] | None = None,
    smooth: float = 1e-5,
    per_image: bool = True,
    ignore_index: int = 255,
    class_weights: Weights | None = None,
    pixel_weights: PixelWeights | None = None,
    axis_name: str | None = None,
) -> Float[Array, ""]:
    """Generalised Dice loss: 1 - (2 sum_c w_c sum(p t) + smooth) / (sum_c w_c (sum(p) + sum(t)) + smooth), w_c = 1 / sum(t)².

    Sudre et al., "Generalised Dice Overlap as a Deep Learning Loss Function for Highly Unbalanced Segmentations", DLMIA 2017.
    Equals MONAI's GeneralizedDiceLoss; a class without a label has the largest weight of the others, as there.

    Args:
        weighting: w_c is 1 / sum(t)² ("square"), 1 / sum(t) ("simple") or 1 ("uniform").
        per_image: takes the sums in each image, and the mean over images; images without any label are left out.

        The others are as in `dice_loss`.

    Returns:
        A float32 scalar in 0..1.

    Raises:
        ValueError: for shapes or options that do not fit.
    """
    if weighting not in ("square", "simple", "uniform"):
        raise unknown("weighting", weighting, ("square", "simple", "uniform"))
    overlap = _overlap(logits, labels, mode, per_image, False, ignore_index, pixel_weights, axis_name)
    volume = overlap.labelled ** {"square": 2, "simple": 1, "uniform": 0}[weighting]
    weights = chosen(classes, class_weights, logits.shape[-1])
    share = jnp.where(volume > 0, 1 / jnp.where(volume > 0, volume, 1.0), 0.0) * (weights > 0)
    share = weights * jnp.where(volume > 0, share, jnp.max(share, axis=-1, keepdims=True))
    numerator = 2 * jnp.sum(share * overlap.both, -1) + smooth
    score = divide(numerator, jnp.sum(share * (overlap.predicted + overlap.labelled), -1) + smooth)
    counted = jnp.any(overlap.counted > 0, -1)
    image_axis = axis_name if per_image else None
    total = sum_over_devices(jnp.sum(jnp.where(counted, 1 - score, 0.0)), image_axis)
    return divide(total, sum_over_devices(jnp.sum(counted, dtype=jnp.float32), image_axis))


def _overlap(logits, labels, mode, per_image, squared, ignore_index, pixel_weights, axis_name) -> Overlap:
    inputs = prepare(logits, labels, mode, ignore_index)
    weight = weigh(inputs.valid, pixel_weights)
    p, t = probabilities(inputs.x, mode), inputs.target.astype(jnp.float32)
    pixels = tuple(range(1 if per_image else 0, p.ndim - 1))

    def total(values):
        sums = jnp.sum(values, pixels)
        return sums if per_image else sum_over_devices(sums, axis_name)[None]

    return Overlap(total(weight * p * t), total(weight * (p * p if squared else p)), total(weight * t), total(weight))


def _tversky(overlap: Overlap, alpha, beta, smooth, eps) -> Array:
    """The score of each class, 0..1."""
    false_positives, false_negatives = overlap.predicted - overlap.both, overlap.labelled - overlap.both
    denominator = overlap.both + alpha * false_positives + beta * false_negatives + smooth
    return (overlap.both + smooth) / jnp.maximum(denominator, eps)


def _losses(scores, log_loss, eps) -> Array:
    return -jnp.log(jnp.maximum(scores, eps)) if log_loss else 1 - scores


def _mean(losses, overlap: Overlap, weights, absent, axis_name) -> Array:
    """The weighted mean over classes and images; images without any pixel that counts are left out."""
    if absent not in ("zero", "skip", "keep"):
        raise unknown("absent", absent, ("zero", "skip", "keep"))
    present, counted = overlap.labelled > 0, overlap.counted > 0
    weights = weights * (present if absent == "skip" else counted)
    kept = jnp.where(counted if absent == "keep" else present, losses, 0.0)
    return divide(sum_over_devices(jnp.sum(weights * kept), axis_name), sum_over_devices(jnp.sum(weights), axis_name))


def _check_powers(alpha, beta, gamma) -> None:
    if alpha < 0 or beta < 0 or gamma <= 0:
        raise ValueError(f"alpha and beta must not be negative and gamma be above 0; given are {alpha}, {beta} and {gamma}")
