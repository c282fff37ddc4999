"""Convolutions of volumes as convolutions of images, for CPUs.

What the layers of a kernel see of a volume lies beside each other, as channels of images: one convolution of as many images as
the output has slices computes all, by the algorithm that suits the shape of these. XLA's own takes 4 to 40 times as long.
"""

import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Float

from fcn.kernels import bilinear
from fcn.kernels.padding import Pads, pad_images
from fcn.kernels.windows import output_size
from fcn.kernels.xla import native_convolution


def function(operation, algorithm, problem):
    """A function of the operands."""
    settings = problem.strides, problem.pads, problem.dilation, problem.groups
    convolution = convolve_slices if algorithm == "slices" else native_convolution
    return bilinear.by_transposition(operation, lambda x, kernel: convolution(x, kernel, *settings), problem)


def convolve_slices(
    x: Float[Array, "n d h w c"],
    kernel: Float[Array, "kd kh kw i o"],
    strides: tuple[int, ...],
    pads: Pads,
    dilation: tuple[int, ...],
    groups: int,
) -> Float[Array, "n d2 h2 w2 o"]:
    """A convolution of volumes with zeros around, in groups of channels; there is at least one slice of the output."""
    (n, depth, *sides, channels), (layers, *taps, _, features) = x.shape, kernel.shape
    (count,) = output_size((depth,), (layers,), strides[:1], pads[:1], dilation[:1])
    x = pad_images(x, (pads[0], (0, 0), (0, 0)))
    starts = [layer * dilation[0] for layer in range(layers)]
    seen = [lax.slice_in_dim(x, start, start + (count - 1) * strides[0] + 1, strides[0], axis=1) for start in starts]
    apart = [part.reshape(n * count, *sides, groups, channels // groups) for part in seen]
    images = jnp.stack(apart, -2).reshape(n * count, *sides, layers * channels)
    kernel = jnp.moveaxis(kernel, 0, 2).reshape(*taps, -1, features)
    y = bilinear.convolve((images,), kernel, strides[1:], pads[1:], dilation[1:], groups)
    return y.reshape(n, count, *y.shape[1:])
