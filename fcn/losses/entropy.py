"""Cross-entropy: plain, of the hardest pixels (top-k), and by online hard example mining (OHEM)."""

import math
from typing import Literal

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from fcn.errors import unknown
from fcn.losses.inputs import (
    Labels,
    Logits,
    Mode,
    PixelWeights,
    Weights,
    check_weights,
    divide,
    gather_over,
    prepare,
    sum_over,
    weigh,
)


def cross_entropy(
    logits: Logits,
    labels: Labels,
    mode: Mode = "multiclass",
    *,
    ignore_index: int = 255,
    class_weights: Weights | None = None,
    pixel_weights: PixelWeights | None = None,
    reduction: Literal["mean", "sum"] = "mean",
    label_smoothing: float = 0.0,
    pos_weight: Weights | None = None,
    axis_name: str | None = None,
) -> Float[Array, ""]:
    """Cross-entropy over all entries whose label is not ignored: of the softmax, or of a sigmoid per channel.

    The weight of a pixel is `class_weights[label] * pixel_weights[pixel]`, both 1 where not given, and 0 where the label is
    ignored. With all weights 0 the loss is 0 and its gradient is 0.

    Args:
        logits: [B, H, W, K] scores (any number of leading axes), float32 or bfloat16; K >= 2, in "binary" 1.
        labels: [B, H, W] integers, 0..K-1 ("binary": 0, 1) or `ignore_index`; "multilabel": [B, H, W, K] of 0, 1 or
            `ignore_index`. Any other value is ignored too, because a compiled function cannot raise;
            `fcn.data.check_source` finds such labels before training.
        mode: "multiclass" (softmax), "binary" (the sigmoid of one channel) or "multilabel" (a sigmoid per channel).
        ignore_index: the label of entries that do not count; may be one of the classes.
        class_weights: [K], not negative; see `enet_weights` and `median_frequency_weights`. "binary": [2], of the labels 0
            and 1. "multilabel": [K], of the channels.
        pixel_weights: [B, H, W], not negative, such as the `border_weights` of U-Net.
        reduction: "mean" divides the weighted sum by the sum of the weights (as PyTorch does); "sum" does not divide: the
            unnormalised loss of Long, Shelhamer, Darrell (CVPR 2015), whose scale grows with the number of pixels.
        label_smoothing: in 0..1; the target is 1 - s for the label plus s / K for every class (Szegedy et al., "Rethinking the
            Inception Architecture", CVPR 2016, section 7). With class weights, class c's part of the target is weighted by
            `class_weights[c]` and the divisor stays that of the labels, as in PyTorch. Of sigmoids the target is 1 - s where
            the class is there, else s, as in segmentation-models-pytorch.
        pos_weight: [K], "binary" and "multilabel" only: factors of the loss where the class is there; not in the divisor.
        axis_name: the `pmap` axis over which sum and weight are summed.

    Returns:
        A float32 scalar.

    Raises:
        ValueError: for shapes that do not match, labels that are not integers, or an option that does not exist.
    """
    if reduction not in ("mean", "sum"):
        raise unknown("reduction", reduction, ("mean", "sum"))
    loss, weight = entries(
        logits, labels, mode, ignore_index, class_weights, pixel_weights, label_smoothing=label_smoothing, pos_weight=pos_weight
    )
    total = sum_over(jnp.sum(loss), axis_name)
    return total if reduction == "sum" else divide(total, sum_over(jnp.sum(weight), axis_name))


def weight_of_cross_entropy(
    logits: Logits,
    labels: Labels,
    mode: Mode = "multiclass",
    *,
    ignore_index: int = 255,
    class_weights: Weights | None = None,
    pixel_weights: PixelWeights | None = None,
    axis_name: str | None = None,
    **_,
) -> Float[Array, ""]:
    """The sum of the weights by which the mean of `cross_entropy` is divided; arguments as there."""
    _, weight = entries(logits, labels, mode, ignore_index, class_weights, pixel_weights)
    return sum_over(jnp.sum(weight), axis_name)


def topk_cross_entropy(
    logits: Logits,
    labels: Labels,
    mode: Mode = "multiclass",
    *,
    keep: float = 0.1,
    ignore_index: int = 255,
    class_weights: Weights | None = None,
    pixel_weights: PixelWeights | None = None,
    axis_name: str | None = None,
) -> Float[Array, ""]:
    """The mean of the largest `keep` of all entries' cross-entropies (Wu, Shen, van den Hengel, "Bridging Category-level and
    Instance-level Semantic Image Segmentation", 2016).

    Args:
        logits, labels, mode, ignore_index, class_weights, pixel_weights: as in `cross_entropy`. The hardest are those
            whose loss is the largest, with its weight; pixels of weight 0 are ignored.
        keep: share of the entries that count, in (0, 1]; rounded up to whole ones, over the batch of all devices.
        axis_name: the `pmap` axis whose losses are gathered.

    Returns:
        A float32 scalar.

    Raises:
        ValueError: for a share outside (0, 1], and where `cross_entropy` raises.
    """
    if not 0 < keep <= 1:
        raise ValueError(f"keep is a share of the pixels above 0 and at most 1, not {keep}")
    loss, weight, counted = _hardest(logits, labels, mode, ignore_index, class_weights, pixel_weights, axis_name)
    kept = jnp.arange(loss.size) < jnp.ceil(keep * counted - 1e-3)
    return divide(jnp.sum(loss * kept), jnp.sum(weight * kept))


def ohem_cross_entropy(
    logits: Logits,
    labels: Labels,
    mode: Mode = "multiclass",
    *,
    threshold: float = 0.7,
    min_kept: int = 100_000,
    ignore_index: int = 255,
    class_weights: Weights | None = None,
    pixel_weights: PixelWeights | None = None,
    axis_name: str | None = None,
) -> Float[Array, ""]:
    """The mean cross-entropy of the entries whose label has a probability below `threshold`, and of the `min_kept` hardest.

    After Shrivastava, Gupta, Girshick, "Training Region-based Object Detectors with Online Hard Example Mining", CVPR 2016.

    Args:
        logits, labels, mode, ignore_index, class_weights, pixel_weights: as in `cross_entropy`. The hardest are those
            whose loss is the largest, with its weight; pixels of weight 0 are ignored.
        threshold: a probability in 0..1.
        min_kept: so many count at least, as far as there are, over the batch of all devices.
        axis_name: the `pmap` axis whose losses are gathered.

    Returns:
        A float32 scalar.

    Raises:
        ValueError: for a threshold outside 0..1 or a negative count, and where `cross_entropy` raises.
    """
    if not 0 <= threshold <= 1 or min_kept < 0:
        raise ValueError(f"threshold is a probability in 0..1 and min_kept not negative; given are {threshold} and {min_kept}")
    loss, weight, counted = _hardest(logits, labels, mode, ignore_index, class_weights, pixel_weights, axis_name)
    easy = -math.log(threshold) if threshold else math.inf
    rank = jnp.arange(loss.size)
    hard = (divide(loss, weight) > easy) | (rank < min_kept)
    kept = hard & (rank < counted)
    return divide(jnp.sum(loss * kept), jnp.sum(weight * kept))


def entries(
    logits, labels, mode, ignore_index=255, class_weights=None, pixel_weights=None, *, label_smoothing=0.0, pos_weight=None
) -> tuple[Array, Array]:
    """The weighted cross-entropy of every entry, and its weight: [...], in "binary" [..., 1], in "multilabel" [..., K]."""
    if not 0 <= label_smoothing <= 1:
        raise ValueError(f"label_smoothing is a share of the target in 0..1, not {label_smoothing}")
    inputs = prepare(logits, labels, mode, ignore_index)
    check_weights(class_weights, 2 if mode == "binary" else logits.shape[-1])
    weight = weigh(inputs.valid, pixel_weights)
    weights = None if class_weights is None else jnp.asarray(class_weights, jnp.float32)
    if mode != "multiclass":
        return _sigmoid_entries(inputs.x, inputs.target, weight, mode, weights, label_smoothing, pos_weight)
    if pos_weight is not None:
        raise ValueError("pos_weight belongs to mode='binary' and 'multilabel'; in mode='multiclass' use class_weights")
    return _softmax_entries(inputs.x, inputs.target, weight[..., 0], weights, label_smoothing)


def _softmax_entries(x, target, pixel_weights, class_weights, smoothing):
    def pick(values):  # values[..., label]; as fast as a gather, and its gradient needs no scatter
        return jnp.sum(jnp.where(target, values, 0.0), axis=-1)

    largest = jax.lax.stop_gradient(jnp.max(x, axis=-1, keepdims=True))
    weight = pixel_weights if class_weights is None else pixel_weights * pick(class_weights)
    normaliser = jnp.log(jnp.sum(jnp.exp(x - largest), axis=-1))
    loss = weight * (normaliser - (pick(x) - largest[..., 0]))
    if smoothing:
        every_class = normaliser[..., None] - (x - largest)
        if class_weights is not None:
            every_class = every_class * class_weights
        loss = (1 - smoothing) * loss + smoothing * pixel_weights * jnp.mean(every_class, axis=-1)
    return loss, weight


def _sigmoid_entries(x, target, weight, mode, class_weights, smoothing, pos_weight):
    if class_weights is not None:
        weight = weight * (jnp.where(target, class_weights[1], class_weights[0]) if mode == "binary" else class_weights)
    share = jnp.where(target, 1.0 - smoothing, smoothing)
    positive = jnp.asarray(1.0 if pos_weight is None else pos_weight, jnp.float32)
    return weight * (positive * share * jax.nn.softplus(-x) + (1 - share) * jax.nn.softplus(x)), weight


def _hardest(logits, labels, mode, ignore_index, class_weights, pixel_weights, axis_name):
    """Losses and weights of the entries of all devices, hardest first (ignored ones last), and how many count."""
    loss, weight = entries(logits, labels, mode, ignore_index, class_weights, pixel_weights)
    valid = weigh(prepare(logits, labels, mode, ignore_index).valid, pixel_weights) > 0
    loss, weight, valid = (gather_over(values.ravel(), axis_name) for values in (loss, weight, valid.astype(jnp.float32)))
    order = jnp.argsort(jnp.where(valid > 0, -jax.lax.stop_gradient(loss), jnp.inf))
    return loss[order], weight[order], jnp.sum(valid)
