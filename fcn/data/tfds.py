"""Prepared TensorFlow Datasets sets as a `Source`, read without TensorFlow."""

import os
from pathlib import Path

import numpy as np
import tensorflow_datasets as tfds

from fcn.data.images import read_image, read_label
from fcn.data.source import IGNORE, Sample, default_palette, position


class TfdsSource:
    """One split of a prepared TFDS data set in ArrayRecord files."""

    ignore_index = IGNORE

    def __init__(self, folder, split, *, name, channels=None, classes=None, palette=None):
        builder = tfds.builder_from_directory(str(folder))
        decoders = {"image": tfds.decode.SkipDecoding(), "segmentation_mask": tfds.decode.SkipDecoding()}
        self._records = builder.as_data_source(split, decoders=decoders)
        self.name, self.classes, self.palette = name, tuple(classes), palette
        self.channels = channels

    def __len__(self) -> int:
        return len(self._records)

    def __getitem__(self, index: int) -> Sample:
        record = self._records[position(index, len(self))]
        return {
            "image": read_image(record["image"], channels=self.channels),
            "label": read_label(record["segmentation_mask"]),
            "name": record["name"].decode(),
        }
