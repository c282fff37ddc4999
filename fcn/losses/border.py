"""U-Net's cross-entropy, in which pixels between near objects weigh more.

Ronneberger, Fischer, Brox, "U-Net: Convolutional Networks for Biomedical Image Segmentation", MICCAI 2015, equations 1 and 2.
"""

import jax.numpy as jnp
import numpy as np
import scipy  # which loads its parts when they are first used
from jaxtyping import Array, Float, Integer

from fcn.losses.distances import distances_inside
from fcn.losses.entropy import cross_entropy, weight_of_cross_entropy
from fcn.losses.inputs import Labels, Logits, Mode, PixelWeights, Weights

_REACH = 64
"""Pixels beyond which an object is not near, by default."""


def border_cross_entropy(
    logits: Logits,
    labels: Labels,
    mode: Mode = "multiclass",
    *,
    distances: Float[Array | np.ndarray, "..."],
    w0: float = 10.0,
    sigma: float = 5.0,
    ignore_index: int = 255,
    class_weights: Weights | None = None,
    pixel_weights: PixelWeights | None = None,
    axis_name: str | None = None,
) -> Float[Array, ""]:
    """Cross-entropy with the weights 1 + w0 exp(-(d1 + d2)² / (2 sigma²)) of pixels (equations 1 and 2).

    Departs from the paper: class weights are factors, as in `cross_entropy`, where equation 2 adds them.

    Args:
        logits, labels, mode, ignore_index, class_weights, pixel_weights: as in `cross_entropy`.
        distances: [B, H, W, 1], `border_distances` of the objects of each image, computed on the host.
        w0: the largest weight that is added; not negative.
        sigma: width in pixels; above 0.
        axis_name: the `pmap` axis over which sum and weight are summed.

    Returns:
        A float32 scalar.

    Raises:
        ValueError: for shapes or options that do not fit.
    """
    weights = _near(logits, distances, w0, sigma, pixel_weights)
    shared = {"ignore_index": ignore_index, "class_weights": class_weights, "axis_name": axis_name}
    return cross_entropy(logits, labels, mode, pixel_weights=weights, **shared)


def weight_of_border(
    logits: Logits,
    labels: Labels,
    mode: Mode = "multiclass",
    *,
    distances: Float[Array | np.ndarray, "..."],
    w0: float = 10.0,
    sigma: float = 5.0,
    pixel_weights: PixelWeights | None = None,
    **options,
) -> Float[Array, ""]:
    """The sum of the weights by which `border_cross_entropy` is divided; arguments as there."""
    return weight_of_cross_entropy(
        logits, labels, mode, pixel_weights=_near(logits, distances, w0, sigma, pixel_weights), **options
    )


def _near(logits, distances, w0, sigma, pixel_weights) -> Float[Array, "..."]:
    """The weights of the pixels of a batch."""
    _check_width(w0, sigma)
    if distances.shape != (*logits.shape[:-1], 1):
        raise ValueError(f"distances {distances.shape} must have the shape of the pixels, {(*logits.shape[:-1], 1)}")
    near = 1 + w0 * jnp.exp(-(jnp.asarray(distances, jnp.float32)[..., 0] ** 2) / (2 * sigma**2))
    return near if pixel_weights is None else near * jnp.asarray(pixel_weights, jnp.float32)


def border_weights(instances: Integer[np.ndarray, "..."], *, w0: float = 10.0, sigma: float = 5.0) -> Float[np.ndarray, "..."]:
    """The weights of pixels between near objects, on the host: 1 + w0 exp(-(d1 + d2)² / (2 sigma²)), equation 2.

    Its class weights are left out (`class_weights` of a loss).

    Args:
        instances: [H, W] (any rank), 0 for background, another integer for each object.
        w0: the largest weight that is added; not negative.
        sigma: width in pixels; above 0.

    Returns:
        float32 [H, W], exact within 1e-6; 1 everywhere where there are fewer than two objects.

    Raises:
        ValueError: for a negative w0 or sigma.
    """
    distances = border_distances(instances, reach=reach_of(w0, sigma))
    return (1 + w0 * np.exp(-(distances**2) / (2 * sigma**2))).astype(np.float32)


def border_distances(instances: Integer[np.ndarray, "..."], *, reach: int = _REACH) -> Float[np.ndarray, "..."]:
    """d1 + d2 of equation 2: the distances of each pixel to the nearest and the second nearest object, on the host.

    Args:
        instances: [H, W] (any rank), 0 for background, another integer for each object.
        reach: pixels beyond which an object may be overlooked; `reach_of(w0, sigma)` is as many as tell.

    Returns:
        float32 [H, W]; 0 distance inside of an object; infinity where there are no two objects within reach.
    """
    instances = np.asarray(instances)
    first, second = np.full((2, *instances.shape), np.inf)
    known, numbers = np.unique(instances, return_inverse=True)
    boxes = scipy.ndimage.find_objects(numbers.reshape(instances.shape) + 1) if len(known) else []
    for label, box in zip(known, boxes, strict=True):
        if label == 0:
            continue
        near = tuple(slice(max(side.start - reach, 0), side.stop + reach) for side in box)
        distance = distances_inside(instances[near] != label)
        second[near] = np.minimum(second[near], np.maximum(first[near], distance))
        first[near] = np.minimum(first[near], distance)
    return (first + second).astype(np.float32)


def reach_of(w0: float = 10.0, sigma: float = 5.0) -> int:
    """Pixels beyond which objects add less than 1e-7 to the weights: the `reach` of their distances.

    Raises:
        ValueError: for a negative w0 or sigma.
    """
    _check_width(w0, sigma)
    return int(np.ceil(sigma * np.sqrt(2 * np.log(max(w0, 1) / 1e-7))))


def _check_width(w0: float, sigma: float) -> None:
    if w0 < 0 or sigma <= 0:
        raise ValueError(f"w0 must not be negative and sigma be above 0; given are {w0} and {sigma}")
