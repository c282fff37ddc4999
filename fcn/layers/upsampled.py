"""A convolution of images enlarged by repeating their pixels, without the enlarged images.

The f x f pixels that are copies of one see only a few different pixels. Each of these f x f phases is a convolution of the
small image with a smaller kernel whose taps are sums of the kernel's own: for 3x3 and f = 2 four kernels of 2x2, 4/9 of the
multiplications.

On a CPU it pays for few features, where 3x3 kernels have no faster form (`fcn.layers.forms`). Milliseconds (float32, two
processors of an AMD EPYC Zen 4; 32 -> 16 channels):

    batch, side before     enlarged, then convolved     phases
    1, 128x128             11.3                         5.7
    2, 112x112             16.6                         7.1

Accelerators and wider kernels convolve the enlarged images.
"""

from functools import partial

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jaxtyping import Array, Float

from fcn.layers.convolution import Conv, convolve
from fcn.layers.padding import Pads
from fcn.layers.upsampling import resize_nearest

NARROW = 32
"""Kernels with fewer features on either side go by phases."""


class UpsampledConv(Conv):
    """A convolution of images that are first enlarged by repeating their pixels: `Conv` after `resize_nearest`.

    Attributes (more in `Conv`; strides, dilation and groups must be 1):
        factor: how often a pixel is repeated, in rows and columns.
    """

    factor: int = 2

    @nn.nowrap
    def convolve(self, x, kernel, strides, pads, dilation, groups):
        """The convolution of the enlarged images; initialising asks for shapes alone.

        Raises:
            ValueError: for strides, dilation or groups.
        """
        if (strides, dilation, groups) != ((1, 1), (1, 1), 1):
            raise ValueError(f"strides={strides}, dilation={dilation}, groups={groups}; an UpsampledConv has 1 for all of them")
        if self.is_initializing():
            return super().convolve(resize_nearest(x, self.factor), kernel, strides, pads, dilation, groups)
        return convolve_upsampled(x, kernel, self.factor, pads)


def convolve_upsampled(
    x: Float[Array, "b h w c"], kernel: Float[Array, "kh kw c o"], factor: int, pads: Pads
) -> Float[Array, "b h2 w2 o"]:
    """A convolution, with zeros around, of images whose pixels are repeated `factor` times; reverse-mode gradients only."""
    same = all(sum(pad) == k - 1 and min(pad) >= 0 for pad, k in zip(pads, kernel.shape))
    narrow = min(kernel.shape[2:]) < NARROW
    return (_by_platform if same and narrow and factor > 1 else _enlarged)(x, kernel, factor, pads)


@partial(jax.custom_vjp, nondiff_argnums=(2, 3))
def _by_platform(x, kernel, factor, pads):
    settings = {"factor": factor, "pads": pads}
    return lax.platform_dependent(x, kernel, cpu=partial(_phases, **settings), default=partial(_enlarged, **settings))


def _forward(x, kernel, factor, pads):
    return _by_platform(x, kernel, factor, pads), (x, kernel)


def _backward(factor, pads, residuals, dy):
    def gradients(convolution):
        return lambda x, kernel, dy: jax.vjp(partial(convolution, factor=factor, pads=pads), x, kernel)[1](dy)

    return lax.platform_dependent(*residuals, dy, cpu=gradients(_phases), default=gradients(_enlarged))


_by_platform.defvjp(_forward, _backward)


def _enlarged(x, kernel, factor, pads):
    return convolve(resize_nearest(x, factor), kernel, (1, 1), pads, (1, 1), 1)


def _phases(x, kernel, factor, pads):
    """Sums are at least float32."""
    (n, h, w, _), dtype, sums = x.shape, x.dtype, jnp.promote_types(x.dtype, jnp.float32)
    rows, columns = (_small_taps(k, factor, pad[0]) for k, pad in zip(kernel.shape, pads))

    def phase(row, column):
        (down, vertical), (across, horizontal) = row, column
        small = jnp.einsum("pt,qu,tuio->pqio", jnp.asarray(down, sums), jnp.asarray(across, sums), kernel.astype(sums))
        return convolve(x.astype(sums), small, (1, 1), (vertical, horizontal), (1, 1), 1)

    y = jnp.stack([jnp.stack([phase(row, column) for column in columns], 3) for row in rows], 2)
    return y.reshape(n, h * factor, w * factor, kernel.shape[3]).astype(dtype)


def _small_taps(size: int, factor: int, before: int) -> list[tuple[np.ndarray, tuple[int, int]]]:
    """For each phase along an axis: which of the kernel's taps are added up for a tap of the small one, and the padding."""
    phases = []
    for phase in range(factor):
        seen = (phase + np.arange(size) - before) // factor  # the pixel of the small image, from the phase's own
        matrix = (np.arange(seen[0], seen[-1] + 1)[:, None] == seen).astype(np.float32)
        phases.append((matrix, (-int(seen[0]), int(seen[-1]))))
    return phases
