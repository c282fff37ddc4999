"""Data: sources of labelled images, checks, batches, and augmentation on the device."""

from fcn.data.augment import AugmentConfig, Pipeline, augment, augment_batch
from fcn.data.checks.check import check_source, without_faults
from fcn.data.loading.loader import TrainLoader, eval_batches, eval_plan
from fcn.data.loading.samples import Prepared
from fcn.data.reading.depth import WHOLE_RANGE
from fcn.data.reading.images import read_image, read_label, resize_image, resize_label
from fcn.data.source import IGNORE, LabelKind, Sample, Source
from fcn.data.sources.opening import open_source
from fcn.preprocessing import normalise

__all__ = [
    "IGNORE",
    "WHOLE_RANGE",
    "AugmentConfig",
    "LabelKind",
    "Pipeline",
    "Prepared",
    "Sample",
    "Source",
    "TrainLoader",
    "augment",
    "augment_batch",
    "check_source",
    "eval_batches",
    "eval_plan",
    "normalise",
    "open_source",
    "read_image",
    "read_label",
    "resize_image",
    "resize_label",
    "without_faults",
]
