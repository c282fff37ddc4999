"""Convolutions in groups of channels.

On a CPU, groups are put together to blocks of 16 channels, with zeros between them. Each block is a convolution of its own, by
the algorithm that suits its shape: XLA runs small ones side by side. Where positions are few, that saves little and takes a
second more to compile, and all blocks go through one stack of matrix products for each tap of the kernel. So does the gradient
with respect to the kernel: XLA's own takes seconds, and one for each block saves nothing that shows in a ResNeXt-50, for half a
minute more of compilation.
"""

import functools
import operator
from functools import partial

import jax.numpy as jnp
from jax import lax

from fcn.kernels import bilinear
from fcn.kernels.onednn import convolve_onednn
from fcn.kernels.padding import place
from fcn.kernels.windows import output_size, seen_by_taps
from fcn.kernels.xla import native_convolution

BLOCK = 16
"""Channels that a block has at least; in products, where all blocks are of one size, at most, or one group."""


def function(operation, algorithm, problem):
    """A function of the operands."""
    settings = problem.strides, problem.pads, problem.dilation, problem.groups
    if operation == "kernel_gradient" and algorithm == "block products":
        return partial(grouped_gradient, problem.kernel_shape, *settings)
    algorithms = {"onednn": convolve_onednn, "blocks": convolve_blocks, "block products": convolve_products}
    convolution = algorithms.get(algorithm, native_convolution)
    return bilinear.by_transposition(operation, lambda x, kernel: convolution(x, kernel, *settings), problem)


def convolve_blocks(x, kernel, strides, pads, dilation, groups):
    """A convolution for each block of channels; the last block may be smaller."""
    inputs, outputs = kernel.shape[2], kernel.shape[3] // groups
    together, ys = -(-BLOCK // max(inputs, outputs)), []
    for first in range(0, groups, together):
        last = min(first + together, groups)
        own = _on_diagonal(kernel[..., first * outputs : last * outputs], last - first)
        ys.append(bilinear.convolve((x[..., first * inputs : last * inputs],), own, strides, pads, dilation))
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
    """The gradient with respect to a kernel of this shape, [kh, kw, C / groups, O]: for each tap, products of blocks.

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
