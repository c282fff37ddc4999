"""Augmentation on the device: operations with probabilities and ranges, lists of them, and what they do to a batch.

    pipeline = Pipeline(operations=(Flip(), Rotate(degrees=30, probability=0.5), Gamma()), crop=(256, 256))
    batch = augment_batch(key, batch, pipeline, preprocessing)

An operation draws its numbers by the sample, the epoch and its own name: those of others do not depend on it.
"""

from fcn.data.augment.batch import augment, augment_batch
from fcn.data.augment.colour import Brightness, Contrast, Gamma, Hue, Saturation
from fcn.data.augment.config import AugmentConfig
from fcn.data.augment.filters import Blur, JpegBlocks, LowResolution, Sharpen
from fcn.data.augment.geometry import Elastic, Flip, Perspective, Rotate, Rotate90, Scale, Shear, Stretch, Translate
from fcn.data.augment.mixing import ClassMix, CopyPaste, CutMix
from fcn.data.augment.named import OPERATIONS, parse_operations
from fcn.data.augment.noise import CoarseDropout, GaussianNoise, ShotNoise
from fcn.data.augment.pipeline import Pipeline, transform
from fcn.data.augment.presets import PRESETS, light, nnunet, rand_augment, standard

__all__ = [
    "OPERATIONS",
    "PRESETS",
    "AugmentConfig",
    "Blur",
    "Brightness",
    "ClassMix",
    "CoarseDropout",
    "Contrast",
    "CopyPaste",
    "CutMix",
    "Elastic",
    "Flip",
    "Gamma",
    "GaussianNoise",
    "Hue",
    "JpegBlocks",
    "LowResolution",
    "Perspective",
    "Pipeline",
    "Rotate",
    "Rotate90",
    "Saturation",
    "Scale",
    "Sharpen",
    "Shear",
    "ShotNoise",
    "Stretch",
    "Translate",
    "augment",
    "augment_batch",
    "light",
    "nnunet",
    "parse_operations",
    "rand_augment",
    "standard",
    "transform",
]
