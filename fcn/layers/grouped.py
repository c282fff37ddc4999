"""Convolutions in groups of channels.

XLA's own, but for the gradient by the kernel on a CPU, where XLA takes seconds. Milliseconds (float32, two processors of an AMD
EPYC with AVX2, with other work beside; 32 groups, 3x3; batch, height x width, channels):

    shape               native   here
    2, 56x56,  128      4100     11
    2, 28x28,  256      2870      6
    2, 14x14,  512      1490      3
    2,   7x7, 1024       660      3
"""

from functools import partial

import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Float

from fcn.layers.dense_convolution import native_convolution
from fcn.layers.padding import Pads, place
from fcn.layers.windows import seen_by_taps

BLOCK = 16
"""Groups are taken together up to so many channels: each of their products has a side of that length."""


@partial(jax.custom_vjp, nondiff_argnums=(2, 3, 4, 5))
def convolve_grouped(
    x: Float[Array, "n h2 w2 c"], kernel: Float[Array, "kh kw i o"], strides: tuple, pads: Pads, dilation: tuple, groups: int
) -> Float[Array, "n h w o"]:
    """A convolution whose output channels see the input channels of their own group; reverse-mode gradients only."""
    return native_convolution(x, kernel, strides, pads, dilation, groups)


def _forward(x, kernel, *settings):
    return convolve_grouped(x, kernel, *settings), (x, kernel)


def _backward(strides, pads, dilation, groups, residuals, dy):
    (x, kernel), settings = residuals, (strides, pads, dilation, groups)

    def native(x, dy):
        unknown = jax.ShapeDtypeStruct(kernel.shape, x.dtype)
        return jax.linear_transpose(lambda kernel: native_convolution(x, kernel, *settings), unknown)(dy)[0]

    (dx,) = jax.linear_transpose(lambda x: native_convolution(x, kernel, *settings), x)(dy)
    return dx, lax.platform_dependent(x, dy, cpu=partial(grouped_gradient, kernel.shape, *settings), default=native)


convolve_grouped.defvjp(_forward, _backward)


def grouped_gradient(shape, strides, pads, dilation, groups, x, dy):
    """The gradient by a kernel of this shape, [kh, kw, C / groups, O]: for each tap, products of blocks of channels.

    The blocks on the diagonal of a product are those of its groups; the others are left. Sums are at least float32.
    """
    (kh, kw, inputs, features), (n, h, w, _), dtype = shape, dy.shape, x.dtype
    outputs = features // groups
    together = max(d for d in range(1, groups + 1) if groups % d == 0 and (d == 1 or d * max(inputs, outputs) <= BLOCK))
    blocks = groups // together
    (sh, sw), (dh, dw) = strides, dilation
    x = place(x, pads, (h - 1) * sh + (kh - 1) * dh + 1, (w - 1) * sw + (kw - 1) * dw + 1)
    x, dy = (a.astype(jnp.promote_types(dtype, jnp.float32)).reshape(*a.shape[:3], blocks, -1) for a in (x, dy))
    x, dy = x.transpose(3, 0, 1, 2, 4), dy.transpose(3, 0, 1, 2, 4).reshape(blocks, n * h * w, -1)

    def product(seen):
        return lax.dot_general(seen.reshape(*dy.shape[:2], -1), dy, (((1,), (1,)), ((0,), (0,))))

    products = jnp.stack([product(seen) for seen in seen_by_taps(x, (kh, kw), (h, w), strides, dilation)])
    products = products.reshape(kh, kw, blocks, together, inputs, together, outputs)
    return jnp.einsum("hwbgigo->hwibgo", products).reshape(shape).astype(dtype)
