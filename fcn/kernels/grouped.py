"""Convolutions in groups of channels.

Largest error against float64, relative to the largest result (32 groups; 128 channels at 56x56 in blocks | 256 at 7x7 as
products): 0.3e-6 | 0.2e-6 in float32, 2.0e-3 | 3.1e-3 in bfloat16.

On a CPU, groups are put together to blocks of 16 channels, with zeros between them. Each block is a convolution of its own in
the form that suits its shape (`fcn.kernels.dense_convolution`): XLA runs small ones side by side. Where positions are few, that
saves little and takes a second more to compile, and all blocks go through one stack of matrix products for each tap of the
kernel. So does the gradient by the kernel: XLA's own takes seconds, and one for each block saves nothing that shows in a
ResNeXt-50, for half a minute more of compilation. Accelerators keep XLA's. Milliseconds (float32, two processors of an AMD EPYC
Zen 4; 3x3; batch, height x width, channels in groups; convolution, gradient by input | by kernel, which no block takes):

    shape                        native    products          blocks           PyTorch
    2, 56x56,  128 in 32 groups  21.7      8.0, 11.0 | 10.7  5.1, 5.5 | 6.7   2.6, 2.6 | 2.4
    2, 56x56,   64 in 4           8.1      5.3,  5.6 |  5.5  1.7, 2.4 | 3.5   1.0, 1.2 | 1.4
    2, 28x28,  256 in 32          7.9      5.2,  7.0 |  6.4  2.3, 2.5 | 4.2   0.9, 0.8 | 0.8
    2, 14x14,  512 in 32          5.0      2.5,  3.6 |  2.7  2.1, 1.6 | 2.2   0.7, 0.7 | 0.8
    2, 14x14,  336 in 14          3.0      2.3,  2.4 |  2.5  1.4, 1.0 | 1.7   0.6, 0.6 | 0.6
    2,   7x7, 1024 in 32          3.1      2.4,  2.3 |  2.5  2.0, 2.2 | 6.1   0.7, 0.7 | 0.7
"""

import functools
import math
import operator
from functools import partial

import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Float

from fcn.kernels import bilinear
from fcn.kernels.dense_convolution import FEW, convolve_dense
from fcn.kernels.onednn import convolve_onednn, may_convolve
from fcn.kernels.padding import Pads, place
from fcn.kernels.windows import is_known, output_size, seen_by_taps
from fcn.kernels.xla import native_convolution

BLOCK = 16
"""Channels that a block has at least; in products, where all blocks are of one size, at most, or one group."""


def convolve_grouped(
    x: Float[Array, "n h2 w2 c"], kernel: Float[Array, "kh kw i o"], strides: tuple, pads: Pads, dilation: tuple, groups: int
) -> Float[Array, "n h w o"]:
    """A convolution whose output channels see the input channels of their own group."""
    return bilinear.convolve((x,), kernel, strides, pads, dilation, groups)


def _choose(operation, platform, problem):
    (shape,), settings = problem.shapes, (problem.strides, problem.pads, problem.dilation, problem.groups)
    on_cpu = platform == "cpu"
    if on_cpu and operation == "convolution" and may_convolve(shape, problem.pads):
        return lambda x, kernel: convolve_onednn(x, kernel, *settings, otherwise=_convolve_otherwise)
    if on_cpu and operation == "kernel_gradient":
        return partial(grouped_gradient, problem.kernel_shape, *settings)
    form = _form_on_cpu(shape, problem.kernel_shape, *settings[:3]) if on_cpu else native_convolution
    if operation == "convolution":
        return lambda x, kernel: form(x, kernel, *settings)
    if operation == "input_gradient":
        return lambda dy, kernel: _transpose(lambda x: form(x, kernel, *settings), shape, dy)
    return lambda x, dy: _transpose(lambda kernel: form(x, kernel, *settings), problem.kernel_shape, dy)


bilinear.CHOICES["grouped"] = _choose


def _transpose(function, shape, cotangent):
    return jax.linear_transpose(function, jax.ShapeDtypeStruct(shape, cotangent.dtype))(cotangent)[0]


def _convolve_otherwise(x, kernel, *settings):
    return _form_on_cpu(x.shape, kernel.shape, *settings[:3])(x, kernel, *settings)


def _form_on_cpu(shape, kernel_shape, strides, pads, dilation):
    """The form of the convolution, and of its gradient by the input."""
    if not is_known(shape):
        return convolve_blocks
    positions = shape[0] * math.prod(output_size(shape[1:3], kernel_shape[:2], strides, pads, dilation))
    return convolve_products if positions <= FEW else convolve_blocks


def convolve_blocks(x, kernel, strides, pads, dilation, groups):
    """A convolution for each block of channels; the last block may be smaller."""
    inputs, outputs = kernel.shape[2], kernel.shape[3] // groups
    together, ys = -(-BLOCK // max(inputs, outputs)), []
    for first in range(0, groups, together):
        last = min(first + together, groups)
        own = _on_diagonal(kernel[..., first * outputs : last * outputs], last - first)
        ys.append(convolve_dense(x[..., first * inputs : last * inputs], own, strides, pads, dilation))
    return jnp.concatenate(ys, axis=-1)


def _on_diagonal(kernel, groups):
    """Kernels [..., I, groups * O] as one of all their channels, [..., groups * I, groups * O], with zeros between groups."""
    *taps, inputs, features = kernel.shape
    kernel = kernel.reshape(*taps, 1, inputs, groups, features // groups)
    kernel = kernel * jnp.eye(groups, dtype=kernel.dtype)[:, None, :, None]
    return kernel.reshape(*taps, groups * inputs, features)


def convolve_products(x, kernel, strides, pads, dilation, groups):
    """A sum over the taps of products of blocks of channels, each with its groups' kernels on the diagonal of a matrix.

    Sums are at least float32.
    """
    (kh, kw, inputs, features), n = kernel.shape, x.shape[0]
    together, blocks = _blocks(inputs, features, groups)
    h, w = output_size(x.shape[1:3], (kh, kw), strides, pads, dilation)
    x, dtype = _blocked(_placed(x, (h, w), (kh, kw), strides, pads, dilation), blocks), x.dtype
    kernel = kernel.astype(x.dtype).reshape(kh * kw, inputs, blocks, features // blocks)
    kernel = _on_diagonal(kernel.transpose(0, 2, 1, 3), together)
    seen = seen_by_taps(x, (kh, kw), (h, w), strides, dilation)
    products = (lax.dot_general(pixels, tap, (((4,), (1,)), ((0,), (0,)))) for pixels, tap in zip(seen, kernel))
    y = functools.reduce(operator.add, products)
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
