"""Metrics of predictions: of class maps, of boundaries, of probabilities, of membranes, of picks and of instances.

Of a data set they are gathered as `Metric` says. Pixels that are ignored count nowhere; a class that occurs in neither labels
nor predictions is NaN and in no mean.
"""

from fcn.metrics.confusion import SegmentationMetrics, confusion_matrix, format_table, segmentation_metrics
from fcn.metrics.membranes import information_score, membrane_segments, rand_score
from fcn.metrics.picks import Pick, Picks, PickScores, PickState, picks_in
from fcn.metrics.probabilities import Calibration, Curve, PrecisionRecall, Reliability
from fcn.metrics.protocol import Metric, PerImage
from fcn.metrics.scores import SCORES, Counts, Score, cohen_kappa, counts_of, matthews_correlation, score
from fcn.metrics.segmentation import Multilabel, Segmentation, SegmentationState, image_scalars
from fcn.metrics.surfaces import (
    average_surface_distance,
    boundary_f1,
    boundary_iou,
    hausdorff_distance,
    of_each_class,
    surface_dice,
    surface_distances,
)
from fcn.metrics.values import ErrorMetrics, Errors, ErrorSums
from fcn.metrics.watershed import watershed

__all__ = [
    "SCORES",
    "Calibration",
    "Counts",
    "Curve",
    "ErrorMetrics",
    "ErrorSums",
    "Errors",
    "Metric",
    "Multilabel",
    "PerImage",
    "Pick",
    "PickScores",
    "PickState",
    "Picks",
    "PrecisionRecall",
    "Reliability",
    "Score",
    "Segmentation",
    "SegmentationMetrics",
    "SegmentationState",
    "average_surface_distance",
    "boundary_f1",
    "boundary_iou",
    "cohen_kappa",
    "confusion_matrix",
    "counts_of",
    "format_table",
    "hausdorff_distance",
    "image_scalars",
    "information_score",
    "matthews_correlation",
    "membrane_segments",
    "of_each_class",
    "picks_in",
    "rand_score",
    "score",
    "segmentation_metrics",
    "surface_dice",
    "surface_distances",
    "watershed",
]
