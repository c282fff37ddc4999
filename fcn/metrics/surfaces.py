"""Metrics of the outlines of masks, on the host: how far apart they are, and how much of them lies close. Any rank."""

from collections.abc import Callable, Sequence

import numpy as np
import scipy  # which loads its parts when they are first used
from jaxtyping import Bool, Float, Integer

Spacing = Sequence[int | float] | None
Mask = Bool[np.ndarray, "*pixels"]


def surface(mask: Mask) -> Mask:
    """The pixels of a mask that touch, along an axis, one outside of it or the border of the image."""
    return mask & ~scipy.ndimage.binary_erosion(mask)


def surface_distances(
    predicted: Mask, true: Mask, *, spacing: Spacing = None
) -> tuple[Float[np.ndarray, " p"], Float[np.ndarray, " t"]]:
    """How far each pixel of the predicted surface is from the true one, and each pixel of the true surface from the predicted.

    Args:
        predicted: bool [H, W] (any rank) of one image.
        true: the same shape.
        spacing: size of a pixel along each axis; None: 1.

    Returns:
        float64 of the predicted surface's pixels, and of the true one's; infinite where the other mask is empty.

    Raises:
        ValueError: for masks of different shapes, or a spacing that does not fit.
    """
    predicted, true = _checked(predicted, true, spacing)
    box = scipy.ndimage.find_objects((predicted | true).astype(np.uint8))
    predicted, true = (surface(mask[box[0]] if box else mask) for mask in (predicted, true))
    return _distances(predicted, true, spacing), _distances(true, predicted, spacing)


def hausdorff_distance(predicted: Mask, true: Mask, *, percentile: int | float = 95, spacing: Spacing = None) -> float:
    """The Hausdorff distance of two surfaces, or a percentile of it: the larger of the two directions.

    Huttenlocher, Klanderman, Rucklidge, "Comparing Images Using the Hausdorff Distance", PAMI 15, 1993, equations 1 and 5, with
    pixels of surfaces as points; MONAI's `compute_hausdorff_distance`.

    Args:
        predicted: bool [H, W] (any rank) of one image.
        true: the same shape.
        percentile: of the distances in each direction, 0 to 100; 100 is the distance itself, 95 forgives outliers.
        spacing: size of a pixel along each axis; None: 1.

    Returns:
        A distance in the unit of `spacing`; infinite where one mask is empty, NaN where both are.

    Raises:
        ValueError: for masks of different shapes, a spacing or a percentile that does not fit.
    """
    if not 0 <= percentile <= 100:
        raise ValueError(f"percentile is {percentile}; it must be 0 to 100 (100 is the largest distance)")
    distances = surface_distances(predicted, true, spacing=spacing)
    if not all(map(len, distances)):
        return np.inf if any(map(len, distances)) else np.nan
    return float(max(np.percentile(direction, percentile) for direction in distances))


def average_surface_distance(predicted: Mask, true: Mask, *, spacing: Spacing = None) -> float:
    """The mean distance of the pixels of each surface from the other one.

    Heimann et al., "Comparison and Evaluation of Methods for Liver Segmentation from CT Datasets", TMI 28, 2009, section II.C;
    MONAI's `compute_average_surface_distance(symmetric=True)`. Arguments and values as of `hausdorff_distance`.
    """
    distances = np.concatenate(surface_distances(predicted, true, spacing=spacing))
    return float(distances.mean()) if distances.size else np.nan


def surface_dice(predicted: Mask, true: Mask, *, tolerance: int | float, spacing: Spacing = None) -> float:
    """Surface Dice: the share of both surfaces that lies within a tolerance of the other one.

    Nikolov et al., "Clinically Applicable Segmentation of Head and Neck Anatomy for Radiotherapy", JMIR 23, 2021, with pixels
    of surfaces as their elements; MONAI's `compute_surface_dice`, and Boundary F1 with both directions pooled.

    Args:
        predicted: bool [H, W] (any rank) of one image.
        true: the same shape.
        tolerance: distance in the unit of `spacing` up to which surfaces agree, not negative.
        spacing: size of a pixel along each axis; None: 1.

    Returns:
        0 to 1; 0 where one mask is empty, NaN where both are.

    Raises:
        ValueError: for masks of different shapes, a spacing or a tolerance that does not fit.
    """
    _check_tolerance("tolerance", tolerance)
    distances = np.concatenate(surface_distances(predicted, true, spacing=spacing))
    return float(np.mean(distances <= tolerance)) if distances.size else np.nan


def boundary_f1(predicted: Mask, true: Mask, *, tolerance: int | float | None = None) -> float:
    """Boundary F1: how much of the predicted outline is right (precision) and of the true one is found (recall), as their F1.

    Csurka et al., "What is a good evaluation measure for semantic segmentation?", BMVC 2013, section 2.2.

    Args:
        predicted: bool [H, W] (any rank) of one image.
        true: the same shape.
        tolerance: pixels up to which outlines agree, not negative; None: 0.75 % of the image's diagonal, as in the paper.

    Returns:
        0 to 1; 0 where one mask is empty, NaN where both are.

    Raises:
        ValueError: for masks of different shapes or a negative tolerance.
    """
    tolerance = 0.0075 * _diagonal(true) if tolerance is None else tolerance
    _check_tolerance("tolerance", tolerance)
    close = [distances <= tolerance for distances in surface_distances(predicted, true)]
    if not all(map(len, close)):
        return 0.0 if any(map(len, close)) else np.nan
    precision, recall = map(np.mean, close)
    return float(2 * precision * recall / (precision + recall)) if precision + recall else 0.0


def boundary_iou(predicted: Mask, true: Mask, *, width: int | None = None) -> float:
    """Boundary IoU: the intersection over union of the parts of both masks that lie at their outlines.

    Cheng et al., "Boundary IoU: Improving Object-Centric Image Segmentation Evaluation", CVPR 2021, equation 4. As in the
    authors' code, such a part is what `width` erosions by 3x3 pixels take away; a frame of background is around the image.

    Args:
        predicted: bool [H, W] (any rank) of one image.
        true: the same shape.
        width: of the parts, pixels, at least 1; None: 2 % of the image's diagonal, as in the paper.

    Returns:
        0 to 1; NaN where both masks are empty.

    Raises:
        ValueError: for masks of different shapes or a width below 1.
    """
    width = max(1, round(0.02 * _diagonal(true))) if width is None else width
    if width < 1:
        raise ValueError(f"width is {width}; it must be at least 1 pixel")
    rims = [mask & (_depth(mask) <= width) for mask in _checked(predicted, true)]
    union = np.sum(rims[0] | rims[1])
    return float(np.sum(rims[0] & rims[1]) / union) if union else np.nan


def of_each_class(
    function: Callable[..., float], num_classes: int, *, ignore_index: int = 255, **options
) -> Callable[[Integer[np.ndarray, "*pixels"], Integer[np.ndarray, "*pixels"]], list[float]]:
    """A function of two masks as one of class maps: (prediction, label) of one image -> the value of each class.

        metric = PerImage(of_each_class(surface_dice, k, tolerance=2), k)

    Pixels whose label is `ignore_index` are in no mask.

    Args:
        function: (predicted, true, **options) -> number, such as `hausdorff_distance`.
        num_classes: K.
        ignore_index: the label of pixels that do not count.
        options: of the function.
    """

    def values(prediction, label):
        prediction, label = np.asarray(prediction), np.asarray(label)
        valid = label != ignore_index
        return [function((prediction == c) & valid, (label == c) & valid, **options) for c in range(num_classes)]

    return values


def _distances(points: Mask, others: Mask, spacing: Spacing) -> np.ndarray:
    if not others.any():
        return np.full(int(points.sum()), np.inf)
    return scipy.ndimage.distance_transform_edt(~others, sampling=spacing)[points]


def _depth(mask: Mask) -> np.ndarray:
    """How many steps, diagonal ones included, lead out of the mask; out of the image is out."""
    inside = scipy.ndimage.distance_transform_cdt(np.pad(mask, 1), "chessboard")
    return inside[(slice(1, -1),) * mask.ndim]


def _diagonal(mask: Mask) -> float:
    return float(np.sqrt(np.sum(np.square(np.shape(mask)))))


def _check_tolerance(name: str, value: int | float) -> None:
    if not value >= 0:
        raise ValueError(f"{name} is {value}; it must not be negative")


def _checked(predicted: Mask, true: Mask, spacing: Spacing = None) -> tuple[Mask, Mask]:
    if predicted.shape != true.shape:
        raise ValueError(f"the masks {predicted.shape} and {true.shape} must have the same shape, that of one image")
    if spacing is not None and (len(spacing) != true.ndim or not min(spacing) > 0):
        raise ValueError(f"spacing is {tuple(spacing)}; it must be {true.ndim} sizes above 0, one along each axis")
    return predicted, true
