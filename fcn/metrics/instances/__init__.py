"""Metrics of instance maps: matched objects, areas, panoptic quality; all on the host, exact, for any number of objects."""

from fcn.metrics.instances.coco import ScoredInstances, coco_average_precision
from fcn.metrics.instances.gathered import InstanceMetrics, Instances, InstanceState, Panoptic
from fcn.metrics.instances.matching import Matching, match, match_all
from fcn.metrics.instances.overlaps import Overlaps, overlaps
from fcn.metrics.instances.whole import aggregated_jaccard_index, foreground_jaccard_index, seg_score

__all__ = [
    "InstanceMetrics",
    "InstanceState",
    "Instances",
    "Matching",
    "Overlaps",
    "Panoptic",
    "ScoredInstances",
    "aggregated_jaccard_index",
    "coco_average_precision",
    "foreground_jaccard_index",
    "match",
    "match_all",
    "overlaps",
    "seg_score",
]
