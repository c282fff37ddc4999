"""Convolutions with large kernels as one product with the stacked windows, for GPUs.

FCN's fc6 has a kernel of 103 M numbers for a few positions. As a product it is read where it lies; cuDNN wants it transposed,
and its gradient is transposed back.
"""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from fcn.kernels.padding import Pads, pad_images
from fcn.kernels.windows import output_size, stack_windows


def convolve_wide(
    x: Float[Array, "n h2 w2 c"], kernel: Float[Array, "kh kw c o"], strides: tuple, pads: Pads, dilation: tuple
) -> Float[Array, "n h w o"]:
    """A convolution whose factors and results are of the type of `x`; accelerators sum in float32."""
    size = output_size(x.shape[1:3], kernel.shape[:2], strides, pads, dilation)
    columns = stack_windows(pad_images(x, pads), size, kernel.shape[:2], strides, dilation)
    return (columns @ kernel.reshape(-1, kernel.shape[-1])).reshape(x.shape[0], *size, kernel.shape[-1])


def wide_input_gradient(
    dy: Float[Array, "n h w o"], kernel: Float[Array, "kh kw c o"], shape: tuple, strides: tuple, pads: Pads, dilation: tuple
) -> Float[Array, "n h2 w2 c"]:
    """The gradient with respect to images of this shape; what the windows share is summed in float32 at least."""
    sums = jnp.promote_types(dy.dtype, jnp.float32)
    by_windows = (dy.reshape(-1, dy.shape[-1]) @ kernel.reshape(-1, kernel.shape[-1]).T).astype(sums)

    def stack(x):
        return stack_windows(pad_images(x, pads), dy.shape[1:3], kernel.shape[:2], strides, dilation)

    return jax.linear_transpose(stack, jax.ShapeDtypeStruct(shape, sums))(by_windows)[0].astype(dy.dtype)


def wide_kernel_gradient(
    x: Float[Array, "n h2 w2 c"], dy: Float[Array, "n h w o"], shape: tuple, strides: tuple, pads: Pads, dilation: tuple
) -> Float[Array, "kh kw c o"]:
    """The gradient with respect to a kernel of this shape."""
    columns = stack_windows(pad_images(x, pads), dy.shape[1:3], shape[:2], strides, dilation)
    return (columns.T @ dy.reshape(-1, dy.shape[-1])).reshape(shape)
