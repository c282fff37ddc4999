"""Metrics of predictions."""

from fcn.metrics.confusion import SegmentationMetrics, confusion_matrix, format_table, segmentation_metrics

__all__ = ["SegmentationMetrics", "confusion_matrix", "format_table", "segmentation_metrics"]
