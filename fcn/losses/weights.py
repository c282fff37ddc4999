"""Class weights from the frequencies of labels, on the host."""

from collections.abc import Iterable

import numpy as np
from jaxtyping import Float, Integer


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


def _per_image(counts) -> np.ndarray:
    counts = np.atleast_2d(np.asarray(counts, np.int64))
    if not counts.sum():
        raise ValueError("no pixel is counted: every label is ignored, or there are no labels")
    return counts
