"""Losses by distance maps, which are computed on the host beforehand, and the maps themselves."""

from collections.abc import Sequence

import jax.numpy as jnp
import numpy as np
import scipy  # which loads its parts when they are first used
from jaxtyping import Array, Float, Integer, Real, Shaped

from fcn.losses.inputs import (
    Labels,
    Logits,
    Mode,
    PixelWeights,
    Weights,
    chosen,
    prepare,
    probabilities,
    sum_over,
    weigh,
    weighted_mean,
)


def boundary_loss(
    logits: Logits,
    labels: Labels,
    mode: Mode = "multiclass",
    *,
    distances: Float[Array | np.ndarray, "*pixels k"],
    classes: Sequence[int] | None = None,
    ignore_index: int = 255,
    class_weights: Weights | None = None,
    pixel_weights: PixelWeights | None = None,
    axis_name: str | None = None,
) -> Float[Array, ""]:
    """Boundary loss: the mean over pixels and classes of probability times signed distance to the true boundary.

    Kervadec et al., "Boundary Loss for Highly Unbalanced Segmentation", MIDL 2019, equation 5. It is negative for good
    predictions; add it to a loss of overlap, as the paper does.

    Args:
        logits: [B, H, W, K] scores (any number of leading axes); K >= 2, in "binary" 1.
        labels: [B, H, W] ("multilabel": [B, H, W, K]) as in `cross_entropy`; they only say which pixels are ignored.
        mode: "multiclass", "binary" or "multilabel".
        distances: [B, H, W, K], `signed_distances` of each label, computed on the host, where images are loaded.
        classes: ids of the classes in the mean; None: all. The paper leaves the background out: `range(1, K)`.
        ignore_index: the label of entries that do not count.
        class_weights: [K], weights of the mean over classes.
        pixel_weights: [B, H, W], not negative.
        axis_name: the `pmap` axis over which sums are summed.

    Returns:
        A float32 scalar.

    Raises:
        ValueError: for shapes or options that do not fit.
    """
    inputs = prepare(logits, labels, mode, ignore_index)
    _check_distances("distances", distances, logits)
    values = probabilities(inputs.x, mode) * jnp.asarray(distances, jnp.float32)
    weights = weigh(inputs.valid, pixel_weights) * chosen(classes, class_weights, logits.shape[-1])
    return weighted_mean(values, weights, axis_name)


def hausdorff_loss(
    logits: Logits,
    labels: Labels,
    mode: Mode = "multiclass",
    *,
    distances: Float[Array | np.ndarray, "*pixels k"],
    predicted_distances: Float[Array | np.ndarray, "*pixels k"] | None = None,
    alpha: float = 2.0,
    classes: Sequence[int] | None = None,
    ignore_index: int = 255,
    class_weights: Weights | None = None,
    pixel_weights: PixelWeights | None = None,
    axis_name: str | None = None,
) -> Float[Array, ""]:
    """Hausdorff loss: the mean over pixels and classes of (p - t)² (d_t^alpha + d_p^alpha).

    Karimi, Salcudean, "Reducing the Hausdorff Distance in Medical Image Segmentation with Convolutional Neural Networks", TMI
    2020, section II.C: with `predicted_distances` equation 8, without them the one-sided form, which needs no distances of
    predictions while training. With both and `classes=range(1, K)` it equals MONAI's HausdorffDTLoss.

    Args:
        logits: [B, H, W, K] scores (any number of leading axes); K >= 2, in "binary" 1.
        labels: [B, H, W] ("multilabel": [B, H, W, K]) as in `cross_entropy`.
        mode: "multiclass", "binary" or "multilabel".
        distances: [B, H, W, K], `boundary_distances` of the true masks, not negative.
        predicted_distances: the same of the predicted masks, p > 0.5.
        alpha: above 0.
        classes: ids of the classes in the mean; None: all. MONAI leaves the background out: `range(1, K)`.
        ignore_index: the label of entries that do not count.
        class_weights: [K], weights of the mean over classes.
        pixel_weights: [B, H, W], not negative.
        axis_name: the `pmap` axis over which sums are summed.

    Returns:
        A float32 scalar, not negative.

    Raises:
        ValueError: for shapes or options that do not fit.
    """
    if alpha <= 0:
        raise ValueError(f"alpha must be above 0 (the paper's value is 2), not {alpha}")
    inputs = prepare(logits, labels, mode, ignore_index)
    _check_distances("distances", distances, logits)
    far = jnp.asarray(distances, jnp.float32) ** alpha
    if predicted_distances is not None:
        _check_distances("predicted_distances", predicted_distances, logits)
        far = far + jnp.asarray(predicted_distances, jnp.float32) ** alpha
    values = (probabilities(inputs.x, mode) - inputs.target) ** 2 * far
    weights = weigh(inputs.valid, pixel_weights) * chosen(classes, class_weights, logits.shape[-1])
    return weighted_mean(values, weights, axis_name)


def weight_by_distances(
    logits: Logits,
    labels: Labels,
    mode: Mode = "multiclass",
    *,
    classes: Sequence[int] | None = None,
    ignore_index: int = 255,
    class_weights: Weights | None = None,
    pixel_weights: PixelWeights | None = None,
    axis_name: str | None = None,
    **_,
) -> Float[Array, ""]:
    """The sum of the weights by which the means of `boundary_loss` and `hausdorff_loss` are divided; arguments as there."""
    inputs = prepare(logits, labels, mode, ignore_index)
    weights = weigh(inputs.valid, pixel_weights) * chosen(classes, class_weights, logits.shape[-1])
    return sum_over(jnp.sum(jnp.broadcast_to(weights, inputs.x.shape)), axis_name)


def signed_distances(
    labels: Integer[np.ndarray, "..."], num_classes: int, *, spacing: Sequence[float] | None = None
) -> Float[np.ndarray, "..."]:
    """Signed distance of each pixel of an image to the boundary of each class, on the host: for `boundary_loss`.

    Outside of a class the distance to its nearest pixel; inside, one less than the distance to the nearest pixel outside,
    negative (as in the code of Kervadec et al.). A class that is nowhere or everywhere has no boundary: its distances are 0.

    Args:
        labels: [H, W] (any rank) of one image, without batch; ids outside 0..K-1 belong to no class.
        num_classes: K; 1: the object of a binary task (labels equal to 1).
        spacing: size of a pixel along each axis; None: 1.

    Returns:
        float32 [H, W, K].
    """

    def signed(mask):
        if not mask.any() or mask.all():
            return np.zeros(mask.shape)
        return distances_inside(~mask, spacing) - np.where(mask, distances_inside(mask, spacing) - 1, 0)

    return np.stack([signed(mask) for mask in _masks(labels, num_classes)], -1).astype(np.float32)


def boundary_distances(
    masks: Shaped[np.ndarray, "*pixels k"], *, spacing: Sequence[float] | None = None
) -> Float[np.ndarray, "*pixels k"]:
    """Distance of each pixel of an image to the other side of each mask's boundary, on the host: for `hausdorff_loss`.

    Args:
        masks: [H, W, K] (any rank) of one image, bool or 0 and 1: `probabilities > 0.5`, or the one-hot labels.
        spacing: size of a pixel along each axis; None: 1.

    Returns:
        float32 [H, W, K], at least 1 (a pixel); 0 everywhere for a mask that is nowhere or everywhere.
    """

    def unsigned(mask):
        if not mask.any() or mask.all():
            return np.zeros(mask.shape)
        return distances_inside(~mask, spacing) + distances_inside(mask, spacing)

    return np.stack([unsigned(mask) for mask in np.moveaxis(np.asarray(masks) > 0, -1, 0)], -1).astype(np.float32)


def distances_inside(mask, spacing=None) -> np.ndarray:
    """Euclidean distance of each pixel of a mask to the nearest outside of it; 0 outside."""
    return np.asarray(scipy.ndimage.distance_transform_edt(mask, sampling=spacing))


def _masks(labels, num_classes: int) -> list[np.ndarray]:
    ids = [1] if num_classes == 1 else range(num_classes)
    return [np.asarray(labels) == c for c in ids]


def _check_distances(name: str, distances: Real[Array | np.ndarray, "..."], logits) -> None:
    if distances.shape != logits.shape:
        raise ValueError(f"{name} {distances.shape} must have the shape of the logits {logits.shape}")
