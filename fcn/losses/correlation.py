"""The loss of Matthews' correlation coefficient."""

from collections.abc import Sequence

import jax.numpy as jnp
from jaxtyping import Array, Float

from fcn.losses.inputs import (
    Labels,
    Logits,
    Mode,
    PixelWeights,
    Weights,
    chosen,
    divide,
    prepare,
    probabilities,
    sum_over,
    weigh,
)


def mcc_loss(
    logits: Logits,
    labels: Labels,
    mode: Mode = "multiclass",
    *,
    eps: float = 1e-5,
    classes: Sequence[int] | None = None,
    ignore_index: int = 255,
    class_weights: Weights | None = None,
    pixel_weights: PixelWeights | None = None,
    axis_name: str | None = None,
) -> Float[Array, ""]:
    """1 - Matthews' correlation coefficient of probabilities and labels; of several classes the mean, each against the rest.

    Abhishek, Hamarneh, "Matthews Correlation Coefficient Loss for Deep Convolutional Networks", ISBI 2021, equation 4. "binary"
    equals MCCLoss of segmentation-models-pytorch on probabilities (that one does not apply the sigmoid itself).

    Args:
        logits: [B, H, W, K] scores (any number of leading axes); K >= 2, in "binary" 1.
        labels: [B, H, W] integers, 0..K-1 ("binary": 0, 1) or `ignore_index`; "multilabel": [B, H, W, K] of 0, 1 or
            `ignore_index`.
        mode: "multiclass", "binary" or "multilabel".
        eps: added to each of the four counts.
        classes: ids of the classes in the mean; None: all. Classes without a label are left out of it, unless there is only
            one.
        ignore_index: the label of entries that do not count.
        class_weights: [K], weights of the mean over classes.
        pixel_weights: [B, H, W], not negative.
        axis_name: the `pmap` axis over which the counts are summed.

    Returns:
        A float32 scalar in 0..2.

    Raises:
        ValueError: for shapes or options that do not fit.
    """
    inputs = prepare(logits, labels, mode, ignore_index)
    weight = weigh(inputs.valid, pixel_weights)
    p, t = probabilities(inputs.x, mode), inputs.target.astype(jnp.float32)
    pixels = tuple(range(p.ndim - 1))

    def count(values):
        return sum_over(jnp.sum(weight * values, pixels), axis_name) + eps

    tp, tn, fp, fn = count(p * t), count((1 - p) * (1 - t)), count(p * (1 - t)), count((1 - p) * t)
    mcc = (tp * tn - fp * fn) / (jnp.sqrt((tp + fp) * (tp + fn)) * jnp.sqrt((tn + fp) * (tn + fn)))
    weights = chosen(classes, class_weights, logits.shape[-1])
    counted = sum_over(jnp.sum(weight, pixels), axis_name) > 0
    present = counted if logits.shape[-1] == 1 else sum_over(jnp.sum(weight * t, pixels), axis_name) > 0
    return divide(jnp.sum(jnp.where(present, weights * (1 - mcc), 0.0)), jnp.sum(weights * present))
