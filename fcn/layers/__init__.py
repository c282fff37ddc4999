"""Building blocks. `fcn.kernels` computes them."""

from fcn.kernels.attention import attend
from fcn.kernels.convolution import convolve_pointwise
from fcn.kernels.fusion import materialize
from fcn.kernels.tuning import tune
from fcn.layers.activations import PReLU, gelu
from fcn.layers.convolution import Conv
from fcn.layers.dense import Dense
from fcn.layers.initialisers import (
    constant_deviation,
    fan_in_scaling,
    he_normal,
    he_uniform,
    lecun_normal,
    xavier_uniform,
)
from fcn.layers.layer import Layer, NormLayer
from fcn.layers.network import ImageNetwork, Network
from fcn.layers.normalisation import ActivationKind, BatchNorm, ConvNormRelu, NormKind, norm_relu
from fcn.layers.pointwise import PointwiseConv
from fcn.layers.pooling import average_pool, max_pool
from fcn.layers.resizing import (
    LearnedBilinearUpsample,
    bilinear_kernel,
    resize,
    resize_bilinear,
    resize_nearest,
    upsample_bilinear_fcn,
)
from fcn.layers.transposed import ConvTranspose
from fcn.layers.unpooling import max_pool_with_indices, max_unpool
from fcn.layers.upsampled import UpsampledConv

__all__ = [
    "ActivationKind",
    "BatchNorm",
    "Conv",
    "ConvNormRelu",
    "ConvTranspose",
    "Dense",
    "ImageNetwork",
    "Layer",
    "LearnedBilinearUpsample",
    "Network",
    "NormKind",
    "NormLayer",
    "PReLU",
    "PointwiseConv",
    "UpsampledConv",
    "attend",
    "average_pool",
    "bilinear_kernel",
    "constant_deviation",
    "convolve_pointwise",
    "fan_in_scaling",
    "gelu",
    "he_normal",
    "he_uniform",
    "lecun_normal",
    "materialize",
    "max_pool",
    "max_pool_with_indices",
    "max_unpool",
    "norm_relu",
    "resize",
    "resize_bilinear",
    "resize_nearest",
    "tune",
    "upsample_bilinear_fcn",
    "xavier_uniform",
]
