"""Focal loss."""

from collections.abc import Sequence

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from fcn.losses.inputs import Labels, Logits, Mode, PixelWeights, Weights, chosen, divide, prepare, sum_over, weigh


def focal_loss(
    logits: Logits,
    labels: Labels,
    mode: Mode = "multiclass",
    *,
    alpha: float | None = None,
    gamma: float = 2.0,
    normalized: bool = False,
    reduced_threshold: float | None = None,
    softmax: bool = False,
    classes: Sequence[int] | None = None,
    ignore_index: int = 255,
    class_weights: Weights | None = None,
    pixel_weights: PixelWeights | None = None,
    axis_name: str | None = None,
) -> Float[Array, ""]:
    """Focal loss (1 - q)^gamma * -log(q), where q is the probability of what the label says: the mean over pixels and classes.

    Lin et al., "Focal Loss for Dense Object Detection", ICCV 2017, equations 4 and 5. In "multiclass" each class stands by its
    sigmoid against the rest, as in segmentation-models-pytorch; with `softmax=True` by the softmax, and only the class of the
    label has a loss, as in MONAI's `FocalLoss(use_softmax=True)`.

    Args:
        logits: [B, H, W, K] scores (any number of leading axes); K >= 2, in "binary" 1.
        labels: [B, H, W] integers, 0..K-1 ("binary": 0, 1) or `ignore_index`; "multilabel": [B, H, W, K] of 0, 1 or
            `ignore_index`.
        mode: "multiclass", "binary" or "multilabel".
        alpha: in 0..1, weight of positives; negatives have 1 - alpha. None: both 1.
        gamma: not negative; 0 is the cross-entropy.
        normalized: divides the loss of each class by the sum of its focal factors, and then, as everywhere, by the number of
            pixels (as segmentation-models-pytorch does).
        reduced_threshold: the factor is ((1 - q) / threshold)^gamma, and 1 where q is below the threshold (Sergievskiy,
            Ponamarev, "Reduced Focal Loss", 2019).
        softmax: in "multiclass", q from the softmax.
        classes: ids of the classes in the mean; None: all. `range(1, K)` leaves a background out.
        ignore_index: the label of entries that do not count.
        class_weights: [K], weights of the mean over classes.
        pixel_weights: [B, H, W], not negative.
        axis_name: the `pmap` axis over which sums are summed.

    Returns:
        A float32 scalar.

    Raises:
        ValueError: for shapes or options that do not fit.
    """
    if gamma < 0 or (alpha is not None and not 0 <= alpha <= 1):
        raise ValueError(f"gamma must not be negative and alpha lie in 0..1; given are {gamma} and {alpha}")
    if softmax and (mode != "multiclass" or alpha is not None):
        raise ValueError("softmax=True belongs to mode='multiclass' without alpha; weigh classes by class_weights")
    inputs = prepare(logits, labels, mode, ignore_index)
    weight = weigh(inputs.valid, pixel_weights)
    surprise, doubt = _softmax_terms(inputs) if softmax else _sigmoid_terms(inputs)
    factor = _factor(doubt, gamma, reduced_threshold)
    loss = factor * surprise
    if alpha is not None:
        loss = loss * jnp.where(inputs.target, alpha, 1 - alpha)

    pixels = tuple(range(loss.ndim - 1))
    total, pixel_count = sum_over(jnp.sum(weight * loss, pixels), axis_name), sum_over(jnp.sum(weight, pixels), axis_name)
    if normalized:
        total = total / jnp.maximum(sum_over(jnp.sum(weight * factor, pixels), axis_name), 1e-6)
    weights = chosen(classes, class_weights, logits.shape[-1])
    return divide(jnp.sum(weights * divide(total, pixel_count)), jnp.sum(weights))


def weight_of_focal(
    logits: Logits,
    labels: Labels,
    mode: Mode = "multiclass",
    *,
    normalized: bool = False,
    ignore_index: int = 255,
    pixel_weights: PixelWeights | None = None,
    axis_name: str | None = None,
    **_,
) -> Float[Array, ""] | None:
    """The sum of the weights by which `focal_loss` is divided; None where each class has its own. Arguments as there."""
    if normalized or mode == "multilabel":
        return None
    return sum_over(jnp.sum(weigh(prepare(logits, labels, mode, ignore_index).valid, pixel_weights)), axis_name)


def _sigmoid_terms(inputs):
    """-log(q) and log(1 - q) of every entry."""
    x = jnp.where(inputs.target, inputs.x, -inputs.x)
    return jax.nn.softplus(-x), -jax.nn.softplus(x)


def _softmax_terms(inputs):
    """The same for the class of the label; other classes have no loss."""
    logp = jax.nn.log_softmax(inputs.x, axis=-1)
    surprise = jnp.where(inputs.target, -logp, 0.0)
    others = jax.nn.logsumexp(inputs.x, axis=-1, keepdims=True, where=~inputs.target)
    everything = jax.nn.logsumexp(inputs.x, axis=-1, keepdims=True)
    return surprise, jnp.where(inputs.target, others - everything, 0.0)


def _factor(log_doubt, gamma, threshold):
    """(1 - q)^gamma from log(1 - q): its slope is finite for every gamma."""
    if threshold is None:
        return jnp.exp(gamma * log_doubt)
    reduced = jnp.exp(gamma * (log_doubt - jnp.log(threshold)))
    return jnp.where(-jnp.expm1(log_doubt) < threshold, 1.0, reduced)
