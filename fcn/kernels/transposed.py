"""Transposed convolutions.

With stride s, the output falls into s x s phases, each of which is an ordinary convolution of the input with every s-th tap of
the kernel. All phases together are one matrix product of [positions, m m C] and [m m C, s s O], where m = ceil(k / s), and a
shuffle of pixels. For a 2x2 kernel with stride 2 (U-Net) m is 1 and nothing is gathered at all.
"""

import jax.numpy as jnp
from jaxtyping import Array, Float

from fcn.kernels.call import Call
from fcn.kernels.convolution import convolve
from fcn.kernels.mode import or_xla
from fcn.kernels.products import matmul
from fcn.kernels.table import choose
from fcn.kernels.xla import native_transposed


@or_xla(native_transposed)
def convolve_transposed(
    x: Float[Array, "b h w c"], kernel: Float[Array, "kh kw i o"], strides: tuple[int, int], groups: int = 1
) -> Float[Array, "b h2 w2 o"]:
    """The transposed convolution without padding: [B, H, W, C] to [B, (H - 1) * s + kh, (W - 1) * s + kw, O]."""
    (n, h, w, _), (kh, kw, _, features), (sh, sw) = x.shape, kernel.shape, strides
    size = (h - 1) * sh + kh, (w - 1) * sw + kw
    shapes = x.shape, kernel.shape, (n, *size, features)
    algorithm = choose(Call("transposed", "convolution", "other", *shapes, x.dtype, strides, groups=groups)).algorithm
    if algorithm == "convolution":
        return convolve(x, kernel, strides, ((kh - 1, kh - 1), (kw - 1, kw - 1)), (1, 1), groups)
    mh, mw = -(-kh // sh), -(-kw // sw)
    phases = _phases(kernel, mh, mw, strides, groups)
    if algorithm == "product":
        windows = _windows(x, mh, mw)
        y = matmul(windows.reshape(-1, windows.shape[-1]), phases.reshape(windows.shape[-1], -1))
    else:
        y = convolve(x, phases, (1, 1), ((mh - 1, mh - 1), (mw - 1, mw - 1)), (1, 1), groups)
    y = y.reshape(n, h + mh - 1, w + mw - 1, groups, sh, sw, features // groups).transpose(0, 1, 4, 2, 5, 3, 6)
    return y.reshape(n, (h + mh - 1) * sh, (w + mw - 1) * sw, features)[:, : size[0], : size[1]]


def _phases(kernel, mh, mw, strides, groups):
    """[kh, kw, C / g, O] to the kernel of all phases at once, [mh, mw, C / g, g * sh * sw * (O / g)]."""
    (kh, kw, channels, features), (sh, sw) = kernel.shape, strides
    kernel = jnp.pad(kernel, ((mh * sh - kh, 0), (mw * sw - kw, 0), (0, 0), (0, 0)))
    kernel = kernel.reshape(mh, sh, mw, sw, channels, groups, features // groups)[:, ::-1, :, ::-1]
    return kernel.transpose(0, 2, 4, 5, 1, 3, 6).reshape(mh, mw, channels, features * sh * sw)


def _windows(x, mh, mw):
    """All windows of mh x mw pixels that touch the image: [B, H + mh - 1, W + mw - 1, mh mw C]."""
    if mh == mw == 1:
        return x
    _, h, w, _ = x.shape
    x = jnp.pad(x, ((0, 0), (mh - 1, mh - 1), (mw - 1, mw - 1), (0, 0)))
    shifts = [x[:, i : i + h + mh - 1, j : j + w + mw - 1] for i in range(mh) for j in range(mw)]
    return jnp.concatenate(shifts, -1)
