"""Volumes and signals: their files, what values of them are, folders of them as sources, and other spacings."""

from fcn.data.volumes.files import SUFFIXES, Volume, read_volume, write_label_volume
from fcn.data.volumes.layout import find_volumes
from fcn.data.volumes.resampling import resample, resample_label
from fcn.data.volumes.source import VolumeSource

__all__ = [
    "SUFFIXES",
    "Volume",
    "VolumeSource",
    "find_volumes",
    "read_volume",
    "resample",
    "resample_label",
    "write_label_volume",
]
