"""Scores of an instance map as a whole, by the areas of its objects."""

import numpy as np

from fcn.metrics.instances.matching import assign
from fcn.metrics.instances.overlaps import Ids, overlaps


def aggregated_jaccard_index(true: Ids, predicted: Ids) -> float:
    """AJI: shared pixels over united ones, each true object with the predicted one that has the largest IoU with it.

    Kumar et al., "A Dataset and a Technique for Generalized Nuclear Segmentation for Computational Pathology", TMI 36, 2017,
    algorithm 1. True objects that meet none, and predicted ones that are nobody's, add to the denominator. Cellpose's score of
    the same name is `foreground_jaccard_index`.

    Args:
        true: [H, W] (any rank) of one image, as `match` takes it.
        predicted: the same shape.

    Returns:
        0 to 1; NaN without any object.

    Raises:
        ValueError: for maps of different shapes or predicted ids below 0.
    """
    found = overlaps(true, predicted)
    order = np.lexsort((-found.iou, found.rows))  # of each true object the best first
    best = order[np.unique(found.rows[order], return_index=True)[1]]
    met, used = np.zeros(len(found.true_ids), bool), np.zeros(len(found.predicted_ids), bool)
    met[found.rows[best]], used[found.columns[best]] = True, True
    shared = found.shared[best].sum()
    united = found.true_areas[found.rows[best]].sum() + found.predicted_areas[found.columns[best]].sum() - shared
    united += found.true_areas[~met].sum() + found.predicted_areas[~used].sum()
    return float(shared / united) if united else np.nan


def foreground_jaccard_index(true: Ids, predicted: Ids) -> float:
    """What Cellpose calls AJI: pixels shared by objects that are assigned one to one, over the union of both foregrounds.

    `cellpose.metrics.aggregated_jaccard_index`; as many pairs with an IoU of at least 0.5 as can be are assigned, then the
    largest sum of IoU. Arguments, values and errors as of `aggregated_jaccard_index`.
    """
    found = overlaps(true, predicted)
    united = found.true_areas.sum() + found.predicted_areas.sum() - found.shared.sum()
    chosen = assign(found.rows, found.columns, found.iou, 0.5)
    return float(found.shared[chosen].sum() / united) if united else np.nan


def seg_score(true: Ids, predicted: Ids) -> float:
    """SEG of the Cell Tracking Challenge: the mean over true objects of the IoU with what covers more than half, else 0.

    Maška et al., "A benchmark for comparison of cell tracking algorithms", Bioinformatics 30, 2014, section 3.2. Arguments and
    errors as of `aggregated_jaccard_index`.

    Returns:
        0 to 1; NaN without a true object.
    """
    found = overlaps(true, predicted)
    covered = 2 * found.shared > found.true_areas[found.rows]
    return float(found.iou[covered].sum() / len(found.true_ids)) if len(found.true_ids) else np.nan
