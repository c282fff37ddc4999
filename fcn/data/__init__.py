"""Data: sources of labelled images, checks, batches, and augmentation on the device."""

from fcn.data.augment import AugmentConfig, Pipeline, augment, augment_batch
from fcn.data.check import check_source, without_faults
from fcn.data.depth import WHOLE_RANGE
from fcn.data.images import read_image, read_label, resize_image, resize_label
from fcn.data.loader import TrainLoader, eval_batches, eval_plan
from fcn.data.opening import open_source
from fcn.data.samples import Prepared
from fcn.data.source import IGNORE, LabelKind, Sample, Source
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
