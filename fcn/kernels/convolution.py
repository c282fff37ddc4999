"""Convolutions of images, by what their kernels are.

Kernels of size 1 are matrix products (`fcn.kernels.pointwise`), one-channel groups are shifted multiplications
(`fcn.kernels.depthwise`), other groups are taken in blocks (`fcn.kernels.grouped`), and what has no groups takes the form that
suits its shape (`fcn.kernels.dense_convolution`).
"""

from jaxtyping import Array, Float

from fcn.kernels.dense_convolution import convolve_dense
from fcn.kernels.depthwise import convolve_depthwise
from fcn.kernels.fusion import unfused_on_gpus
from fcn.kernels.grouped import convolve_grouped
from fcn.kernels.mode import is_xla
from fcn.kernels.padding import NO_PADS, Pads, pad_images
from fcn.kernels.pointwise import convolve_pointwise
from fcn.kernels.xla import native_convolution


def convolve(
    x: Float[Array, "b h w c"],
    kernel: Float[Array, "kh kw i o"],
    strides: tuple[int, int],
    pads: Pads,
    dilation: tuple[int, int],
    groups: int,
) -> Float[Array, "b h2 w2 o"]:
    """A convolution with explicit padding, in the form that suits its shape."""
    if is_xla():
        return native_convolution(x, kernel, strides, pads, dilation, groups)
    if kernel.shape[:2] == (1, 1) and groups == 1:
        if pads != NO_PADS:
            x = pad_images(x, pads)
        if strides != (1, 1):
            x = unfused_on_gpus(x[:, :: strides[0], :: strides[1]])
        return convolve_pointwise(x, kernel)
    if groups == x.shape[-1] > 1:
        return convolve_depthwise(x, kernel, strides, pads, dilation)
    if groups > 1:
        return convolve_grouped(x, kernel, strides, pads, dilation, groups)
    return convolve_dense(x, kernel, strides, pads, dilation)
