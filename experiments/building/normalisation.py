"""The statistics that images are normalised by, as a configuration asks for them."""

import dataclasses

import numpy as np

from experiments.configuration.config import DataConfig
from fcn.data import Prepared
from fcn.data.reading.stretch import DEVIATIONS
from fcn.preprocessing import Preprocessing, default_preprocessing


def configured(data: DataConfig, wanted: Preprocessing, train: Prepared) -> Preprocessing:
    """What a network is to expect of images; in each case in the order of the channels that the initial weights expect.

    Args:
      data: the configuration, which may ask for other statistics than
      wanted: those of the initial weights, or ImageNet's.
      train: the images to train on.

    Raises:
      ValueError: it gives means of another number of channels.
    """
    channels = train.shape[-1]
    if data.mean is not None and data.std is not None:
        if {len(data.mean), len(data.std)} != {channels}:
            raise ValueError(
                f"data.mean and data.std have {len(data.mean)} and {len(data.std)} numbers; images have {channels} channels"
            )
        return Preprocessing(data.mean, data.std, wanted.bgr)
    if data.normalise == "weights":
        return wanted
    found = _asked_for(data, train)
    return dataclasses.replace(found, mean=found.mean[::-1], std=found.std[::-1], bgr=True) if wanted.bgr else found


def _asked_for(data: DataConfig, train: Prepared) -> Preprocessing:
    """The statistics that `data.normalise` names, of images as they are given: red first."""
    channels = train.shape[-1]
    if data.normalise == "imagenet":
        return default_preprocessing(channels)
    if data.normalise == "dataset":
        return Preprocessing(*statistics(train))
    if data.normalise == "ct":
        if len(train.shape) != 4:
            raise ValueError("data.normalise ct is of volumes; of images take dataset")
        return Preprocessing(*statistics(train, foreground=True))
    if data.normalise == "percentiles":
        return Preprocessing((0.0,) * channels, (1.0,) * channels, per_image="percentiles")
    # z-score, which is what the stretched values of 0..1 are
    return Preprocessing((0.5,) * channels, (0.5 / DEVIATIONS,) * channels, per_image="z-score")


def statistics(images: Prepared, foreground: bool = False) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Mean and deviation of the values 0..1 of each channel over all pixels of all images, as the network is given them.

    Args:
      images: those to train on.
      foreground: takes the pixels of classes above 0 alone.
    """
    channels = images.shape[-1]
    count, total, squares = 0, np.zeros(channels), np.zeros(channels)
    for index in range(len(images)):
        sample = images[index]
        chosen = (sample["label"] > 0) & (sample["label"] != images.ignore_index) if foreground else ...
        sums = np.stack([_sums(sample["image"][..., c][chosen]) for c in range(channels)], -1)
        count, total, squares = count + sums[0, 0], total + sums[1], squares + sums[2]
    if not count:
        raise ValueError("data.normalise ct takes the values where a class above 0 is, and no label has one")
    mean = total / count
    deviation = np.sqrt(np.maximum(squares / count - mean**2, 0))
    return tuple(mean.tolist()), tuple(np.where(deviation > 0, deviation, 1).tolist())


def _sums(values: np.ndarray) -> np.ndarray:
    """The number of values, their sum and that of their squares, on the scale 0..1."""
    if values.dtype == np.uint8:
        counts, values = np.bincount(values.ravel(), minlength=256), np.arange(256) / 255
        return np.array([counts.sum(), counts @ values, counts @ values**2])
    values = values.astype(np.float64) / 255
    return np.array([values.size, values.sum(), (values**2).sum()])
