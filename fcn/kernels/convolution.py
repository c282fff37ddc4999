"""Convolutions of images: products where the kernel's size is 1, else primitives, for which `fcn.kernels.table` chooses."""

import jax.numpy as jnp
from jaxtyping import Array, Float

from fcn.kernels import bilinear, dense_convolution, depthwise, grouped
from fcn.kernels.fusion import unfused_on_gpus
from fcn.kernels.mode import or_xla
from fcn.kernels.padding import NO_PADS, Pads, pad_images
from fcn.kernels.products import multiply
from fcn.kernels.xla import native_convolution, native_pointwise

bilinear.ALGORITHMS |= {"dense": dense_convolution.function, "depthwise": depthwise.function, "grouped": grouped.function}


@or_xla(native_convolution)
def convolve(
    x: Float[Array, "b h w c"],
    kernel: Float[Array, "kh kw i o"],
    strides: tuple[int, int],
    pads: Pads,
    dilation: tuple[int, int],
    groups: int,
) -> Float[Array, "b h2 w2 o"]:
    """A convolution with explicit padding, in the algorithm that suits its shape."""
    if kernel.shape[:2] == (1, 1) and groups == 1:
        return convolve_pointwise(_seen(x, strides, pads), kernel)
    return bilinear.convolve((x,), kernel, strides, pads, dilation, groups)


def _seen(x, strides, pads):
    """The pixels that a kernel of size 1 sees."""
    x = x if pads == NO_PADS else pad_images(x, pads)
    return x if strides == (1, 1) else unfused_on_gpus(x[:, :: strides[0], :: strides[1]])


@or_xla(native_pointwise)
def convolve_pointwise(x: Float[Array, "*positions c"], kernel: Float[Array, "*ones c o"]) -> Float[Array, "*positions o"]:
    """The product of [positions, C] and [C, O]; `kernel` may have axes of length 1 in front."""
    channels, features = kernel.shape[-2:]
    positions = x.reshape(-1, channels) if x.size else jnp.zeros((0, channels), x.dtype)
    return multiply(positions, kernel.reshape(channels, features)).reshape(*x.shape[:-1], features)
