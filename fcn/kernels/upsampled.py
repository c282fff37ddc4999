"""A convolution of images enlarged by repeating their pixels, and of maps beside them, without the enlarged images.

The f x f pixels that are copies of one see only a few different pixels. Each of these f x f phases is a convolution of the
small image with a smaller kernel whose taps are sums of the kernel's own: for 3x3 and f = 2 four kernels of 2x2, 4/9 of the
multiplications. All phases together are one convolution of the small image with f x f times the features, whose results are
put side by side. Maps that a decoder concatenates with the enlarged images are convolved on their own, and the two are added.
"""

from functools import partial

import jax.numpy as jnp
import numpy as np
from jax import lax
from jaxtyping import Array, Float

from fcn.kernels import bilinear
from fcn.kernels.convolution import convolve
from fcn.kernels.im2col import im2col_convolution
from fcn.kernels.mode import or_xla
from fcn.kernels.padding import Pads
from fcn.kernels.resizing import repeat_pixels
from fcn.kernels.xla import native_convolution

Maps = tuple[Float[Array, "b *_"], ...]
"""The images to enlarge, and maps of the size that these will have."""


def _convolve(x, *arguments):
    return bilinear.convolve((x,), *arguments)


def _enlarged(maps, kernel, factor, pads, convolution=_convolve):
    """By a convolution of the enlarged images, with the maps beside them as further channels."""
    (x, *beside), ones = maps, (1,) * len(pads)
    return convolution(jnp.concatenate([repeat_pixels(x, factor), *beside], -1), kernel, ones, pads, ones)


native_upsampled = partial(_enlarged, convolution=native_convolution)
"""`convolve_upsampled` by XLA's own convolution."""


@or_xla(native_upsampled)
def convolve_upsampled(maps: Maps, kernel: Float[Array, "*taps c o"], factor: int, pads: Pads) -> Float[Array, "b *sides o"]:
    """A convolution of images whose pixels are repeated `factor` times, with maps beside them.

    Args:
        maps: images [B, H, W, _], then maps [B, H factor, W factor, _].
        kernel: for the channels of all of them.
        factor: how often a pixel is repeated, in rows and columns.
        pads: zeros around the enlarged images.
    """
    if len(pads) != 2:
        return _enlarged(maps, kernel, factor, pads, partial(convolve, groups=1))
    if factor == 1:
        return _enlarged(maps, kernel, factor, pads)
    return bilinear.convolve(maps, kernel, (1, 1), pads, (1, 1), factor=factor)


def function(operation, algorithm, problem):
    """A function of the operands. The gradients of one product are faster than those of a convolution with even sides."""
    of_product = {} if operation == "convolution" else {"convolution": im2col_convolution}
    phases = partial(_phases, **of_product)
    convolve = partial(phases if algorithm == "phases" else _enlarged, factor=problem.factor, pads=problem.pads)
    return bilinear.by_transposition(operation, lambda *arrays: convolve(arrays[:-1], arrays[-1]), problem)


bilinear.ALGORITHMS["upsampled"] = function


def _phases(maps, kernel, factor, pads, convolution=_convolve):
    """Sums are at least float32."""
    (x, *beside), dtype, sums = maps, maps[0].dtype, jnp.promote_types(maps[0].dtype, jnp.float32)
    kernel = kernel.astype(sums)
    y = _convolve_phases(x.astype(sums), kernel[:, :, : x.shape[3]], factor, pads, convolution)
    if beside:
        others = jnp.concatenate(beside, -1).astype(sums)
        y += _convolve(others, kernel[:, :, x.shape[3] :], (1, 1), pads, (1, 1))
    return y.astype(dtype)


def _convolve_phases(x, kernel, factor, pads, convolution):
    (n, h, w, c), o = x.shape, kernel.shape[3]
    (rows, top, down), (columns, left, across) = (_windows(k, factor, pad[0]) for k, pad in zip(kernel.shape, pads))
    small = _added(_added(kernel, rows, 0), columns, 1).reshape(len(rows[0]), len(columns[0]), c, -1)
    y = convolution(x, small, (1, 1), (top, left), (1, 1))
    y = y.reshape(n, h + max(down), w + max(across), factor, factor, o)
    y = [[y[:, i : i + h, j : j + w, p, q] for q, j in enumerate(across)] for p, i in enumerate(down)]
    return jnp.stack([jnp.stack(row, 3) for row in y], 2).reshape(n, h * factor, w * factor, o)


def _added(kernel, members, axis):
    """The taps along an axis added up for the windows, with the phases as a new axis before the last."""
    taps = [lax.index_in_dim(kernel, i, axis, keepdims=False) for i in range(kernel.shape[axis])]
    zeros = jnp.zeros_like(taps[0])
    windows = [jnp.stack([sum((taps[i] for i in tap), zeros) for tap in phase], axis) for phase in members]
    return jnp.stack(windows, -2)


def _windows(size: int, factor: int, before: int) -> tuple[list[list[np.ndarray]], tuple[int, int], list[int]]:
    """The windows of the small image that the phases along an axis see.

    Args:
        size: of the kernel.
        factor: number of phases.
        before: zeros before the enlarged image.

    Returns:
        For each phase and tap of its window, which of the kernel's taps are added up; the zeros around the small image with
        which all windows are computed; where each phase's own windows begin among these.
    """
    seen = (np.arange(factor)[:, None] + np.arange(size) - before) // factor  # the small pixel, from the phase's own
    first = seen[:, 0]
    taps = np.arange((seen[:, -1] - first).max() + 1)
    members = [[np.flatnonzero(row == start + tap) for tap in taps] for row, start in zip(seen, first)]
    return members, (int(-first.min()), int(first.max() + taps[-1])), (first - first.min()).tolist()
