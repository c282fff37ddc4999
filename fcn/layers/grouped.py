"""Convolutions in groups of channels.

On a CPU, blocks of 16 channels go through a matrix product for each tap of the kernel, forward and backward; XLA's own
gradient by the kernel takes seconds. Accelerators keep XLA's. Milliseconds (float32, two processors of an AMD EPYC with AVX2;
3x3; batch, height x width, channels in groups; convolution, gradient by input | by kernel):

    shape                        native           here
    2, 56x56,  128 in 32 groups  27, 29 | 4100    10, 17 | 11
    2, 28x28,  256 in 32          8,  8 | 2870     7,  9 |  6
    2, 14x14,  512 in 32          4,  4 | 1490     3,  4 |  3
    2,   7x7, 1024 in 32          3,  4 |  660     3,  3 |  3
    2, 56x56,   96 in 2          26, 26 | 1400    13, 11 | 11
"""

from functools import partial

import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Float

from fcn.layers.dense_convolution import native_convolution
from fcn.layers.padding import Pads, place
from fcn.layers.windows import output_size, seen_by_taps

BLOCK = 16
"""Groups are taken together up to so many channels: each of their products has a side of that length."""


@partial(jax.custom_vjp, nondiff_argnums=(2, 3, 4, 5))
def convolve_grouped(
    x: Float[Array, "n h2 w2 c"], kernel: Float[Array, "kh kw i o"], strides: tuple, pads: Pads, dilation: tuple, groups: int
) -> Float[Array, "n h w o"]:
    """A convolution whose output channels see the input channels of their own group; reverse-mode gradients only."""
    settings = (strides, pads, dilation, groups)

    def native(x, kernel):
        return native_convolution(x, kernel, *settings)

    return lax.platform_dependent(x, kernel, cpu=lambda x, kernel: grouped_convolution(x, kernel, *settings), default=native)


def _forward(x, kernel, *settings):
    return convolve_grouped(x, kernel, *settings), (x, kernel)


def _backward(strides, pads, dilation, groups, residuals, dy):
    (x, kernel), settings = residuals, (strides, pads, dilation, groups)

    def by_input(convolution, kernel, dy):
        return jax.linear_transpose(lambda x: convolution(x, kernel, *settings), jax.ShapeDtypeStruct(x.shape, dy.dtype))(dy)[0]

    def native_by_kernel(x, dy):
        unknown = jax.ShapeDtypeStruct(kernel.shape, x.dtype)
        return jax.linear_transpose(lambda kernel: native_convolution(x, kernel, *settings), unknown)(dy)[0]

    here, native = partial(by_input, grouped_convolution), partial(by_input, native_convolution)
    dx = lax.platform_dependent(kernel, dy, cpu=here, default=native)
    return dx, lax.platform_dependent(x, dy, cpu=partial(grouped_gradient, kernel.shape, *settings), default=native_by_kernel)


convolve_grouped.defvjp(_forward, _backward)


def grouped_convolution(x, kernel, strides, pads, dilation, groups):
    """A sum over the taps of products of blocks of channels, each with its groups' kernels on the diagonal of a matrix.

    Sums are at least float32.
    """
    (kh, kw, inputs, features), n = kernel.shape, x.shape[0]
    outputs, (together, blocks) = features // groups, _blocks(inputs, features, groups)
    h, w = output_size(x.shape[1:3], (kh, kw), strides, pads, dilation)
    x, dtype = _blocked(_placed(x, (h, w), (kh, kw), strides, pads, dilation), blocks), x.dtype
    kernel = kernel.astype(x.dtype).reshape(kh * kw, inputs, blocks, together, outputs)
    kernel = jnp.einsum("tibgo,gk->tbkigo", kernel, jnp.eye(together, dtype=x.dtype))
    kernel = kernel.reshape(kh * kw, blocks, together * inputs, together * outputs)
    seen = seen_by_taps(x, (kh, kw), (h, w), strides, dilation)
    y = sum(lax.dot_general(pixels, tap, (((4,), (1,)), ((0,), (0,)))) for pixels, tap in zip(seen, kernel))
    return y.transpose(1, 2, 3, 0, 4).reshape(n, h, w, features).astype(dtype)


def grouped_gradient(shape, strides, pads, dilation, groups, x, dy):
    """The gradient by a kernel of this shape, [kh, kw, C / groups, O]: for each tap, products of blocks of channels.

    The blocks on the diagonal of a product are those of its groups; the others are left. Sums are at least float32.
    """
    (kh, kw, inputs, features), (n, h, w, _), dtype = shape, dy.shape, x.dtype
    together, blocks = _blocks(inputs, features, groups)
    x, dy = (_blocked(a, blocks) for a in (_placed(x, (h, w), (kh, kw), strides, pads, dilation), dy))
    rows = [
        pixels.reshape(blocks, n * h * w, together * inputs) for pixels in seen_by_taps(x, (kh, kw), (h, w), strides, dilation)
    ]
    dy = dy.reshape(blocks, n * h * w, features // blocks)
    products = jnp.stack([lax.dot_general(pixels, dy, (((1,), (1,)), ((0,), (0,)))) for pixels in rows])
    products = products.reshape(kh, kw, blocks, together, inputs, together, features // groups)
    return jnp.einsum("hwbgigo->hwibgo", products).reshape(shape).astype(dtype)


def _blocks(inputs, features, groups):
    """How many groups are taken together, and how many such blocks there are."""
    channels = max(inputs, features // groups)
    together = max(d for d in range(1, groups + 1) if groups % d == 0 and (d == 1 or d * channels <= BLOCK))
    return together, groups // together


def _placed(x, size, kernel_size, strides, pads, dilation):
    """The padded images, without what no tap sees."""
    reach = ((n - 1) * s + (k - 1) * d + 1 for n, s, k, d in zip(size, strides, kernel_size, dilation))
    return place(x, pads, *reach)


def _blocked(x, blocks):
    """[N, H, W, C] to [blocks, N, H, W, C / blocks], in the type in which it is summed."""
    x = x.astype(jnp.promote_types(x.dtype, jnp.float32))
    return x.reshape(*x.shape[:3], blocks, x.shape[3] // blocks).transpose(3, 0, 1, 2, 4)
