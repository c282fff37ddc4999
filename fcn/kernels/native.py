"""XLA's own convolution."""

from jax import lax


def native_convolution(x, kernel, strides, pads, dilation, groups=1):
    """XLA's convolution, images [B, H, W, C] with a kernel [kh, kw, C / groups, O]."""
    return lax.conv_general_dilated(
        x,
        kernel,
        strides,
        pads,
        rhs_dilation=dilation,
        feature_group_count=groups,
        dimension_numbers=("NHWC", "HWIO", "NHWC"),
    )
