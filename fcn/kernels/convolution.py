"""Convolutions: products where the kernel's size is 1, else primitives, for which `fcn.kernels.table` chooses.

A signal is an image of one row.
"""

import jax.numpy as jnp
from jaxtyping import Array, Float

from fcn.kernels import bilinear, dense_convolution, depthwise, grouped, volumes
from fcn.kernels.fusion import unfused_on_gpus
from fcn.kernels.mode import or_xla
from fcn.kernels.padding import Pads, pad_images
from fcn.kernels.products import multiply
from fcn.kernels.xla import native_convolution, native_pointwise

bilinear.ALGORITHMS |= {"dense": dense_convolution.function, "depthwise": depthwise.function, "grouped": grouped.function}
bilinear.ALGORITHMS["volume"] = volumes.function


@or_xla(native_convolution)
def convolve(
    x: Float[Array, "b *spatial c"],
    kernel: Float[Array, "*taps i o"],
    strides: tuple[int, ...],
    pads: Pads,
    dilation: tuple[int, ...],
    groups: int,
) -> Float[Array, "b *seen o"]:
    """A convolution with explicit padding, in the algorithm that suits its shape."""
    if set(kernel.shape[:-2]) == {1} and groups == 1:
        return convolve_pointwise(_seen(x, strides, pads), kernel)
    if x.ndim == 3:
        return convolve(x[:, None], kernel[None], (1, *strides), ((0, 0), *pads), (1, *dilation), groups)[:, 0]
    return bilinear.convolve((x,), kernel, strides, pads, dilation, groups)


def _seen(x, strides, pads):
    """The pixels that a kernel of size 1 sees."""
    x = pad_images(x, pads) if any(map(any, pads)) else x
    return x if set(strides) == {1} else unfused_on_gpus(x[:, *(slice(None, None, stride) for stride in strides)])


@or_xla(native_pointwise)
def convolve_pointwise(x: Float[Array, "*positions c"], kernel: Float[Array, "*ones c o"]) -> Float[Array, "*positions o"]:
    """The product of [positions, C] and [C, O]; `kernel` may have axes of length 1 in front."""
    channels, features = kernel.shape[-2:]
    positions = x.reshape(-1, channels) if x.size else jnp.zeros((0, channels), x.dtype)
    return multiply(positions, kernel.reshape(channels, features)).reshape(*x.shape[:-1], features)
