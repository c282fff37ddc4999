"""Losses for dense prediction: pure functions of logits and labels, normalised over the batch of all devices.

Every loss computes in float32, whatever the type of the logits, and gives ignored pixels no weight. A combination is a sum:

    loss = cross_entropy(logits, labels) + 0.5 * dice_loss(logits, labels)

Several devices: under `jit` with sharded arrays nothing is needed. Under `pmap` pass its `axis_name`: numerator and denominator
are then summed over the devices before the division, every device returns the loss of the global batch, and the mean of the
devices' gradients (`jax.lax.pmean`) is the gradient of that loss. The mean of per-device means would be wrong wherever the
devices see different numbers of ignored pixels.
"""

from collections.abc import Iterable, Sequence
from typing import Literal

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Integer, Real

from fcn.errors import unknown


def cross_entropy(
    logits: Float[Array | np.ndarray, "*pixels k"],
    labels: Integer[Array | np.ndarray, "*pixels"],
    *,
    ignore_index: int = 255,
    class_weights: Real[Array | np.ndarray, " k"] | Sequence[int | float] | None = None,
    pixel_weights: Real[Array | np.ndarray, "*pixels"] | None = None,
    reduction: Literal["mean", "sum"] = "mean",
    label_smoothing: float = 0.0,
    axis_name: str | None = None,
) -> Float[Array, ""]:
    """Softmax cross-entropy over all pixels whose label is not ignored.

    The weight of a pixel is `class_weights[label] * pixel_weights[pixel]`, both 1 where not given, and 0 where the label is
    ignored. With all weights 0 the loss is 0 and its gradient is 0.

    Args:
        logits: [B, H, W, K] scores (any number of leading axes), float32 or bfloat16; K >= 2.
        labels: [B, H, W] integers, 0..K-1 or `ignore_index`. Any other value is ignored too, because a compiled function
            cannot raise; `fcn.data.check_source` finds such labels before training.
        ignore_index: the label of pixels that do not count; may be one of 0..K-1.
        class_weights: [K], not negative; see `enet_weights` and `median_frequency_weights`.
        pixel_weights: [B, H, W], not negative, such as the border weights of U-Net (section 3 of its paper).
        reduction: "mean" divides the weighted sum by the sum of the weights (as PyTorch does); "sum" does not divide: the
            unnormalised loss of Long, Shelhamer, Darrell (CVPR 2015), whose scale grows with the number of pixels.
        label_smoothing: in 0..1; the target is 1 - s for the label plus s / K for every class (Szegedy et al., "Rethinking the
            Inception Architecture", CVPR 2016, section 7). With class weights, class c's part of the target is weighted by
            `class_weights[c]` and the divisor stays that of the labels, as in PyTorch.
        axis_name: the `pmap` axis over which sum and weight are summed.

    Returns:
        A float32 scalar.

    Raises:
        ValueError: for one class, shapes that do not match, labels that are not integers, or an option that does not exist.
    """
    _check(logits, labels, class_weights)
    if reduction not in ("mean", "sum"):
        raise unknown("reduction", reduction, ("mean", "sum"))
    if not 0 <= label_smoothing <= 1:
        raise ValueError(f"label_smoothing is a share of the target in 0..1, not {label_smoothing}")
    if pixel_weights is not None and pixel_weights.shape != labels.shape:
        raise ValueError(f"pixel_weights {pixel_weights.shape} must have the shape of the labels {labels.shape}")
    x, largest, chosen, valid = _prepare(logits, labels, ignore_index)

    def pick(values):  # values[..., label]; as fast as a gather, and its gradient needs no scatter
        return jnp.sum(jnp.where(chosen, values, 0.0), axis=-1)

    pixel_weights = valid if pixel_weights is None else valid * jnp.asarray(pixel_weights, jnp.float32)
    weight = pixel_weights if class_weights is None else pixel_weights * pick(jnp.asarray(class_weights, jnp.float32))
    normaliser = jnp.log(jnp.sum(jnp.exp(x - largest), axis=-1))
    loss = weight * (normaliser - (pick(x) - largest[..., 0]))
    if label_smoothing:
        every_class = normaliser[..., None] - (x - largest)
        if class_weights is not None:
            every_class = every_class * jnp.asarray(class_weights, jnp.float32)
        loss = (1 - label_smoothing) * loss + label_smoothing * pixel_weights * jnp.mean(every_class, axis=-1)
    total = _sum_over(jnp.sum(loss), axis_name)
    if reduction == "sum":
        return total
    return _divide(total, _sum_over(jnp.sum(weight), axis_name))


def dice_loss(
    logits: Float[Array | np.ndarray, "*pixels k"],
    labels: Integer[Array | np.ndarray, "*pixels"],
    *,
    ignore_index: int = 255,
    class_weights: Real[Array | np.ndarray, " k"] | Sequence[int | float] | None = None,
    smooth: float = 0.0,
    axis_name: str | None = None,
) -> Float[Array, ""]:
    """Soft Dice loss: 1 - the mean over classes of (2 sum(p t) + smooth) / (sum(p) + sum(t) + smooth).

    p is the softmax of the logits, t the one-hot label; the sums run over the pixels of the whole batch that are not ignored.
    The mean is over the classes that occur in the labels of the batch: for an absent class the quotient is 0 however small the
    prediction, so it teaches nothing, and pixels given to it are missing from the other classes anyway. A batch without any
    label has the loss 0. After Milletari, Navab, Ahmadi, "V-Net", 3DV 2016, section 3, which squares the terms of the
    denominator; here they are not squared (as in Drozdzal et al., "The Importance of Skip Connections in Biomedical Image
    Segmentation", 2016).

    Args:
        logits: [B, H, W, K] scores (any number of leading axes), float32 or bfloat16; K >= 2.
        labels: [B, H, W] integers, 0..K-1 or `ignore_index`; any other value is ignored too (see `cross_entropy`).
        ignore_index: the label of pixels that do not count.
        class_weights: [K], weights of the mean over classes; (0, 1, 1) leaves class 0 out, as is usual for a background.
        smooth: added to numerator and denominator; softens the loss of classes with few pixels.
        axis_name: the `pmap` axis over which the terms are summed.

    Returns:
        A float32 scalar in 0..1.

    Raises:
        ValueError: for one class, shapes that do not match, or labels that are not integers.
    """
    _check(logits, labels, class_weights)
    x, largest, chosen, valid = _prepare(logits, labels, ignore_index)
    e = jnp.exp(x - largest)
    p = e * (valid / jnp.sum(e, axis=-1))[..., None]
    pixels = tuple(range(valid.ndim))
    overlap = _sum_over(jnp.sum(jnp.where(chosen, p, 0.0), pixels), axis_name)
    predicted = _sum_over(jnp.sum(p, pixels), axis_name)
    labelled = _sum_over(jnp.sum(chosen & (valid > 0)[..., None], pixels, dtype=jnp.float32), axis_name)
    dice = _divide(2 * overlap + smooth, predicted + labelled + smooth)

    weights = jnp.asarray(1.0 if class_weights is None else class_weights, jnp.float32)
    weights = jnp.where(labelled > 0, weights, 0.0)
    return _divide(jnp.sum(weights * (1 - dice)), jnp.sum(weights))


def class_counts(labels: Iterable[np.ndarray], num_classes: int, *, ignore_index: int = 255) -> Integer[np.ndarray, "n k"]:
    """Pixels of each class in each label, on the host: `class_counts((s["label"] for s in source), 11)`.

    Args:
        labels: integer arrays of any shape; values 0..K-1 or `ignore_index`.
        num_classes: K.
        ignore_index: the label of pixels that do not count.

    Returns:
        int64 [N, K], a row per label.

    Raises:
        ValueError: for a label outside 0..K-1 that is not `ignore_index`, naming the position of its image.
    """
    rows = []
    for position, label in enumerate(labels):
        label = np.asarray(label).ravel()
        label = label[label != ignore_index]
        if label.size and not 0 <= label.min() <= label.max() < num_classes:
            raise ValueError(
                f"label {position} has values {label.min()}..{label.max()}; "
                f"allowed are 0..{num_classes - 1} and {ignore_index} (ignored)"
            )
        rows.append(np.bincount(label, minlength=num_classes))
    return np.array(rows, np.int64).reshape(-1, num_classes)


def enet_weights(counts: Integer[np.ndarray, "*n k"], *, c: float = 1.02) -> Float[np.ndarray, " k"]:
    """Class weights 1 / ln(c + p) from the share p of each class (Paszke et al., "ENet", 2016, section 5.2).

    With c = 1.02 they lie between 1.42 (every pixel) and 50.5 (no pixel).

    Args:
        counts: pixels of each class, [K] or [N, K] (see `class_counts`).
        c: bounds the weights; above 1.

    Returns:
        float32 [K].
    """
    counts = _per_image(counts)
    if c <= 1:
        raise ValueError(f"c must be above 1 (the paper's value is 1.02), not {c}")
    return (1 / np.log(c + counts.sum(0) / counts.sum())).astype(np.float32)


def median_frequency_weights(counts: Integer[np.ndarray, "*n k"]) -> Float[np.ndarray, " k"]:
    """Class weights median(f) / f (Eigen, Fergus, "Predicting Depth, Surface Normals and Semantic Labels", ICCV 2015).

    f of a class is its number of pixels divided by the number of pixels of the images in which it occurs.

    Args:
        counts: pixels of each class in each image, [N, K] (see `class_counts`); [K] counts as one image.

    Returns:
        float32 [K]; 0 for a class without pixels, which the median leaves out.
    """
    counts = _per_image(counts)
    pixels = counts.sum(1)
    present = counts.sum(0) > 0
    shown = np.where(counts > 0, pixels[:, None], 0).sum(0)[present]
    frequency = counts.sum(0)[present] / shown
    weights = np.zeros(counts.shape[1], np.float32)
    weights[present] = np.median(frequency) / frequency
    return weights


def _check(logits, labels, class_weights) -> None:
    classes = logits.shape[-1]
    if classes < 2:
        raise ValueError("one channel of logits has no softmax; use num_classes=2 (background, object) for a binary task")
    if logits.shape[:-1] != labels.shape:
        raise ValueError(f"labels {labels.shape} must have the shape of the logits {logits.shape} without their last axis")
    if not jnp.issubdtype(labels.dtype, jnp.integer):
        raise ValueError(f"labels must be integers (class ids), not {labels.dtype}")
    if class_weights is not None and np.shape(class_weights) != (classes,):
        raise ValueError(f"class_weights of shape {np.shape(class_weights)} must have one weight for each of {classes} classes")


def _prepare(logits, labels, ignore_index: int):
    """The logits in float32, their largest per pixel, the one-hot labels (bool) and which pixels count (float32)."""
    x, labels = jnp.asarray(logits, jnp.float32), jnp.asarray(labels)
    largest = jax.lax.stop_gradient(jnp.max(x, axis=-1, keepdims=True))
    chosen = labels[..., None] == jnp.arange(x.shape[-1])
    valid = (labels != ignore_index) & (labels >= 0) & (labels < x.shape[-1])
    return x, largest, chosen, valid.astype(jnp.float32)


def _sum_over(value, axis_name: str | None):
    return value if axis_name is None else jax.lax.psum(value, axis_name)


def _divide(numerator, denominator):
    """The quotient; where the denominator is 0, the numerator (which is 0 too, and has a finite gradient)."""
    return numerator / jnp.where(denominator == 0, 1.0, denominator)


def _per_image(counts) -> np.ndarray:
    counts = np.atleast_2d(np.asarray(counts, np.int64))
    if not counts.sum():
        raise ValueError("no pixel is counted: every label is ignored, or there are no labels")
    return counts
