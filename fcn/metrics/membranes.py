"""Scores of cells that are told apart by membranes, on the host: of the ISBI 2012 challenge."""

import numpy as np
import scipy  # which loads its parts when they are first used
from jaxtyping import Float, Int32, Integer

from fcn.metrics.scores import divide
from fcn.metrics.watershed import watershed

Ids = Integer[np.ndarray, "*pixels"]


def membrane_segments(
    probabilities: Float[np.ndarray, "*pixels"], threshold: float = 0.5, *, thin: bool = True
) -> Int32[np.ndarray, "*pixels"]:
    """The cells between membranes: what hangs together along the axes where the probability of membrane is below a threshold.

    Args:
        probabilities: of membrane, [H, W] (any rank) of one image.
        threshold: from which on a pixel is membrane.
        thin: whether cells then grow over the membranes, the least probable pixels first, until they touch, as the challenge
            asks: otherwise it counts for much how wide membranes are drawn.

    Returns:
        int32 ids from 1 on; without `thin` 0 is membrane.

    Raises:
        ValueError: for probabilities that are not finite.
    """
    seeds = scipy.ndimage.label(probabilities < threshold)[0].astype(np.int32)
    return watershed(probabilities, seeds) if thin else seeds


def rand_score(predicted: Ids, true: Ids) -> float:
    """V_rand: how alike two images' pairs of pixels are joined: sum p_ij² / (½ sum s_i² + ½ sum t_j²).

    Arganda-Carreras et al., "Crowdsourcing the creation of image segmentation algorithms for connectomics", Frontiers in
    Neuroanatomy 9, 2015, equation 2 with alpha = 0.5. (scikit-image's `adapted_rand_error` is 1 less this, without
    pairs of a pixel with itself.)

    Args:
        predicted: ids [H, W] (any rank) of one image; `membrane_segments` gives them. 0 is an id like others.
        true: ids, and 0 where pixels do not count (membrane).

    Returns:
        0 to 1, better if larger; NaN where no pixel counts.

    Raises:
        ValueError: for arrays of different shapes.
    """
    joint, rows, columns = _shares(predicted, true)
    return float(divide(2 * np.sum(joint**2), np.sum(rows**2) + np.sum(columns**2)))


def information_score(predicted: Ids, true: Ids) -> float:
    """V_info: what two segmentations tell of each other: 2 I(S, T) / (H(S) + H(T)).

    Arganda-Carreras et al., 2015, equation 4 with alpha = 0.5. Arguments and values as of `rand_score`; 1 where each is one
    segment.
    """
    joint, rows, columns = _shares(predicted, true)
    both, apart = _entropy(joint), _entropy(rows) + _entropy(columns)
    if not joint.size:
        return np.nan
    return float(2 * (apart - both) / apart) if apart > 0 else 1.0


def _shares(predicted: Ids, true: Ids) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The shares of all pixels that count: of the pairs of ids that occur, of predicted ids, and of true ones."""
    if predicted.shape != true.shape:
        raise ValueError(f"predicted {predicted.shape} and true {true.shape} ids must have the same shape")
    pairs = np.stack([predicted[true != 0], true[true != 0]], -1)
    found = [np.unique(part, axis=0, return_counts=True)[1] for part in (pairs, pairs[:, 0], pairs[:, 1])]
    joint, rows, columns = (counts / max(len(pairs), 1) for counts in found)
    return joint, rows, columns


def _entropy(shares) -> float:
    return float(-np.sum(shares * np.log(shares)))
