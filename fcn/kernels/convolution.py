"""Convolutions of images: products where the kernel's size is 1, else primitives, for which `fcn.kernels.table` chooses."""

from jaxtyping import Array, Float

from fcn.kernels import bilinear, dense_convolution, depthwise, grouped
from fcn.kernels.fusion import unfused_on_gpus
from fcn.kernels.mode import is_xla
from fcn.kernels.padding import NO_PADS, Pads, pad_images
from fcn.kernels.pointwise import convolve_pointwise
from fcn.kernels.xla import native_convolution

bilinear.ALGORITHMS |= {"dense": dense_convolution.function, "depthwise": depthwise.function, "grouped": grouped.function}


def convolve(
    x: Float[Array, "b h w c"],
    kernel: Float[Array, "kh kw i o"],
    strides: tuple[int, int],
    pads: Pads,
    dilation: tuple[int, int],
    groups: int,
) -> Float[Array, "b h2 w2 o"]:
    """A convolution with explicit padding, in the algorithm that suits its shape."""
    if is_xla():
        return native_convolution(x, kernel, strides, pads, dilation, groups)
    if kernel.shape[:2] == (1, 1) and groups == 1:
        return convolve_pointwise(_seen(x, strides, pads), kernel)
    return bilinear.convolve((x,), kernel, strides, pads, dilation, groups)


def _seen(x, strides, pads):
    """The pixels that a kernel of size 1 sees."""
    x = x if pads == NO_PADS else pad_images(x, pads)
    return x if strides == (1, 1) else unfused_on_gpus(x[:, :: strides[0], :: strides[1]])
