"""How the objects of two instance maps overlap: sparse, so that ten thousand objects take a second."""

from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Int64, Integer

Ids = Integer[np.ndarray, "*pixels"]


class Overlaps(NamedTuple):
    """The objects of two instance maps of an image, and the pairs of them that share pixels.

    Attributes:
        true_ids: int64 [n], rising.
        predicted_ids: int64 [m], rising.
        true_areas: int64 [n], pixels of each.
        predicted_areas: int64 [m].
        rows: int64 [pairs], the number (not the id) of the true object of each pair.
        columns: int64 [pairs], the number of the predicted object.
        shared: int64 [pairs], the pixels that both have.
    """

    true_ids: Int64[np.ndarray, " n"]
    predicted_ids: Int64[np.ndarray, " m"]
    true_areas: Int64[np.ndarray, " n"]
    predicted_areas: Int64[np.ndarray, " m"]
    rows: Int64[np.ndarray, " pairs"]
    columns: Int64[np.ndarray, " pairs"]
    shared: Int64[np.ndarray, " pairs"]

    @property
    def iou(self) -> Float[np.ndarray, " pairs"]:
        """Intersection over union of each pair."""
        return self.shared / (self.true_areas[self.rows] + self.predicted_areas[self.columns] - self.shared)


def overlaps(true: Ids, predicted: Ids) -> Overlaps:
    """The overlaps of the objects of two instance maps.

    Args:
        true: [H, W] (any rank) of one image: 0 for background, a number above 0 for each object, below 0 for pixels that
            count nowhere. An object may lie in several parts; ids need not follow each other.
        predicted: the same shape, 0 and numbers above. An object that lies for more than half in pixels that do not count is
            left out (Kirillov et al., "Panoptic Segmentation", CVPR 2019, section 4.1).

    Raises:
        ValueError: for maps of different shapes or predicted ids below 0.
    """
    if true.shape != predicted.shape:
        raise ValueError(f"true {true.shape} and predicted {predicted.shape} instance maps must have the same shape")
    if predicted.size and predicted.min() < 0:
        raise ValueError(f"predicted ids are 0 (background) and above; {predicted.min()} is among them")
    true, predicted = true.ravel(), predicted.ravel()
    if (true < 0).any():
        true, predicted = _counting(true, predicted)
    (rows, true_ids, true_areas), (columns, predicted_ids, predicted_areas) = _numbered(true), _numbered(predicted)
    both = (rows > 0) & (columns > 0)
    codes, shared = np.unique((rows[both] - 1) * max(len(predicted_ids), 1) + columns[both] - 1, return_counts=True)
    rows, columns = np.divmod(codes, max(len(predicted_ids), 1))
    return Overlaps(true_ids, predicted_ids, true_areas, predicted_areas, rows, columns, shared)


def _counting(true, predicted) -> tuple[np.ndarray, np.ndarray]:
    """The pixels that count, without objects that lie elsewhere for the most part."""
    counts = true >= 0
    numbers, ids, areas = _numbered(predicted)
    inside = np.bincount(numbers[counts], minlength=len(ids) + 1)[1:]
    elsewhere = np.concatenate([[False], 2 * inside < areas])
    return true[counts], np.where(elsewhere[numbers], 0, predicted)[counts]


def _numbered(ids) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Objects numbered 1, 2, ... in the order of their ids (0: background), the ids, and the objects' areas."""
    if not ids.size or ids.max() > ids.size + 2**20:  # no table of all ids up to the largest
        known, numbers, areas = np.unique(ids, return_inverse=True, return_counts=True)
        background = int(known[:1].tolist() == [0])
        return numbers + 1 - background, known[background:].astype(np.int64), areas[background:]
    areas = np.bincount(ids)
    areas[0] = 0
    known = np.flatnonzero(areas)
    table = np.zeros(len(areas), np.int64)
    table[known] = np.arange(1, len(known) + 1)
    return table[ids], known, areas[known]
