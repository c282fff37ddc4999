"""Depthwise convolution: one filter, or several, for each channel alone."""

from jax import lax


def convolve_depthwise(x, kernel, strides, pads, dilation):
    return lax.conv_general_dilated(
        x, kernel, strides, pads, rhs_dilation=dilation, feature_group_count=x.shape[-1], dimension_numbers=("NHWC", "HWIO", "NHWC")
    )
