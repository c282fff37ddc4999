"""Losses by distance maps, which are computed on the host beforehand, and the maps themselves."""

from collections.abc import Sequence

import jax.numpy as jnp
import numpy as np
import scipy  # which loads its parts when they are first used
from jaxtyping import Array, Float, Integer, Real, Shaped

from fcn.losses.inputs import Labels, Logits, Mode, chosen, prepare, probabilities, weighted_mean


def boundary_loss(
    logits: Logits,
    labels: Labels,
    mode: Mode = "multiclass",
    *,
    distances: Float[Array | np.ndarray, "*pixels k"],
    classes: Sequence[int] | None = None,
    ignore_index: int = 255,
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
        axis_name: the `pmap` axis over which sums are summed.

    Returns:
        A float32 scalar.

    Raises:
        ValueError: for shapes or options that do not fit.
    """
    inputs = prepare(logits, labels, mode, ignore_index)
    _check_distances("distances", distances, logits)
    values = probabilities(inputs.x, mode) * jnp.asarray(distances, jnp.float32)
    return weighted_mean(values, inputs.valid * chosen(classes, None, logits.shape[-1]), axis_name)


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
    return weighted_mean(values, inputs.valid * chosen(classes, None, logits.shape[-1]), axis_name)


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
        return _distances(~mask, spacing) - np.where(mask, _distances(mask, spacing) - 1, 0)

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
        return _distances(~mask, spacing) + _distances(mask, spacing)

    return np.stack([unsigned(mask) for mask in np.moveaxis(np.asarray(masks) > 0, -1, 0)], -1).astype(np.float32)


def border_weights(instances: Integer[np.ndarray, "..."], *, w0: float = 10.0, sigma: float = 5.0) -> Float[np.ndarray, "..."]:
    """U-Net's weights of pixels between near objects, on the host: 1 + w0 exp(-(d1 + d2)² / (2 sigma²)).

    Ronneberger, Fischer, Brox, "U-Net", MICCAI 2015, equation 2 without its class weights (`class_weights` of the loss).
    d1 and d2 are the distances to the nearest and the second nearest object, 0 inside of it.

    Args:
        instances: [H, W] (any rank), 0 for background, another integer for each object.
        w0: the largest weight that is added; not negative.
        sigma: width in pixels; above 0.

    Returns:
        float32 [H, W], exact within 1e-6; 1 everywhere where there are fewer than two objects.

    Raises:
        ValueError: for a negative w0 or sigma.
    """
    if w0 < 0 or sigma <= 0:
        raise ValueError(f"w0 must not be negative and sigma be above 0; given are {w0} and {sigma}")
    instances = np.asarray(instances)
    reach = int(np.ceil(sigma * np.sqrt(2 * np.log(max(w0, 1) / 1e-7))))  # farther objects add less than 1e-7
    first, second = np.full((2, *instances.shape), np.inf)
    for label in np.setdiff1d(np.unique(instances), 0):
        near = _box(instances == label, reach)
        distance = _distances(instances[near] != label)
        second[near] = np.minimum(second[near], np.maximum(first[near], distance))
        first[near] = np.minimum(first[near], distance)
    return (1 + w0 * np.exp(-((first + second) ** 2) / (2 * sigma**2))).astype(np.float32)


def _distances(mask, spacing=None) -> np.ndarray:
    """Euclidean distance of each pixel of a mask to the nearest outside of it; 0 outside."""
    return np.asarray(scipy.ndimage.distance_transform_edt(mask, sampling=spacing))


def _masks(labels, num_classes: int) -> list[np.ndarray]:
    ids = [1] if num_classes == 1 else range(num_classes)
    return [np.asarray(labels) == c for c in ids]


def _box(mask, margin: int) -> tuple[slice, ...]:
    where = [np.flatnonzero(mask.any(tuple(a for a in range(mask.ndim) if a != axis))) for axis in range(mask.ndim)]
    return tuple(slice(max(w[0] - margin, 0), w[-1] + margin + 1) for w in where)


def _check_distances(name: str, distances: Real[Array | np.ndarray, "..."], logits) -> None:
    if distances.shape != logits.shape:
        raise ValueError(f"{name} {distances.shape} must have the shape of the logits {logits.shape}")
