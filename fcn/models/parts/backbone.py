"""Encoders in the form that torchvision gives them for segmentation."""

from functools import partial

import flax.linen as nn

from fcn.encoders.mobilenet_v3 import MobileNetV3
from fcn.encoders.resnet import ResNet
from fcn.encoders.table import find_encoder

_FORMS = {ResNet: {"dilate_first": False}, MobileNetV3: {"stage_starts": True}}
"""Options with which torchvision builds these encoders for segmentation."""


def build_backbone(encoder: str, output_stride: int, **types) -> tuple[nn.Module, tuple[int, ...]]:
    """An encoder in torchvision's form, named "backbone", and the strides that its maps would have without dilation."""
    row = find_encoder(encoder)
    family = row.constructor.func if isinstance(row.constructor, partial) else row.constructor
    options = {"output_stride": output_stride, **_FORMS.get(family, {})}
    return row.constructor(**options, **types, name="backbone"), row.strides
