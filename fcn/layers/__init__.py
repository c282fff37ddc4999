"""Building blocks. The only package of `fcn` that names `lax` or convolution primitives."""

from fcn.layers.convolution import Conv
from fcn.layers.initialisers import fan_in_scaling, he_normal, he_uniform, lecun_normal
from fcn.layers.normalisation import BatchNorm, ConvNormRelu
from fcn.layers.pointwise import PointwiseConv
from fcn.layers.pooling import average_pool, max_pool
from fcn.layers.resizing import resize
from fcn.layers.transposed import ConvTranspose
from fcn.layers.unpooling import max_pool_with_places, max_unpool
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
    "average_pool",
    "bilinear_kernel",
    "fan_in_scaling",
    "he_normal",
    "he_uniform",
    "lecun_normal",
    "max_pool",
    "max_pool_with_places",
    "max_unpool",
    "resize",
    "resize_bilinear",
    "resize_nearest",
    "upsample_bilinear_fcn",
]
