"""Building blocks. The only package of `fcn` that names `lax` or convolution primitives."""

from fcn.layers.convolution import Conv
from fcn.layers.initialisers import fan_in_scaling, he_normal, he_uniform, lecun_normal
from fcn.layers.normalisation import BatchNorm, ConvNormRelu
from fcn.layers.pointwise import PointwiseConv
from fcn.layers.pooling import max_pool
from fcn.layers.resizing import resize
from fcn.layers.transposed import ConvTranspose
from fcn.layers.upsampling import (
    LearnedBilinearUpsample,
    bilinear_kernel,
    resize_bilinear,
    resize_nearest,
    upsample_bilinear_fcn,
)

__all__ = [
    "BatchNorm",
    "Conv",
    "ConvNormRelu",
    "ConvTranspose",
    "LearnedBilinearUpsample",
    "PointwiseConv",
    "bilinear_kernel",
    "fan_in_scaling",
    "he_normal",
    "he_uniform",
    "lecun_normal",
    "max_pool",
    "resize",
    "resize_bilinear",
    "resize_nearest",
    "upsample_bilinear_fcn",
]
