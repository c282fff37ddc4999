"""Transposed convolution, learned upsampling.

With stride s, the output falls into s x s phases, each of which is an ordinary convolution of the input with every s-th tap of
the kernel. All phases together are one matrix product of [positions, m m C] and [m m C, s s O], where m = ceil(k / s), and a
shuffle of pixels. For a 2x2 kernel with stride 2 (U-Net) m is 1 and nothing is gathered at all.

Largest error against float64, relative to the largest result (2x2, stride 2, 128 to 64 channels | 16x16, stride 8, 21 to 21):
0.6e-6 | 0.4e-6 in float32, 3.4e-3 | 2.7e-3 in bfloat16.

On a CPU, XLA's transposed convolution has a gradient by the kernel of 1.2 GF/s (2x2, stride 2, 128 to 64 channels, 128x128,
batch 4; forward 76, gradient by input 65); the product has 100 / 80 / 79 GF/s (forward, by input, by kernel). FCN's 64x64
kernel with stride 32 takes 11 / 18 / 8 ms instead of 153 / 22 / 84.
"""

from collections.abc import Callable
from typing import Any

import flax.linen as nn
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from fcn.layers.convolution import check_channels, convolve
from fcn.layers.initialisers import he_normal
from fcn.layers.padding import pair
from fcn.layers.products import matmul


class ConvTranspose(nn.Module):
    """A transposed convolution of images: the gradient of a convolution by its input, as a layer.

    Output sides are (side - 1) * stride + kernel - 2 * padding, PyTorch's rule. Parameters: `kernel`
    [kh, kw, C / groups, features] and `bias` [features]; the values are those of `nn.ConvTranspose` with
    `transpose_kernel=False`, that is: PyTorch's kernel, turned by 180 degrees.

    Attributes:
        features: channels of the output.
        kernel_size: (kh, kw), or one number for both.
        strides: (rows, columns), or one number for both.
        padding: rows and columns cut from all sides of the output, (rows, columns), or one number for both.
        groups: number of groups that channels of input and output are split into.
        use_bias: add a bias.
        dtype: type of the computation; None takes the one that input and parameters promote to.
        param_dtype: type of the parameters.
        kernel_init: initialiser of the kernel (He et al., ICCV 2015, by default).
        bias_init: initialiser of the bias.
    """

    features: int
    kernel_size: int | tuple[int, int] = 2
    strides: int | tuple[int, int] = 2
    padding: int | tuple[int, int] = 0
    groups: int = 1
    use_bias: bool = True
    dtype: Any = None
    param_dtype: Any = jnp.float32
    kernel_init: Callable = he_normal
    bias_init: Callable = nn.initializers.zeros

    @nn.compact
    def __call__(self, x: Float[Array | np.ndarray, "b h w c"]) -> Float[Array, "b h2 w2 o"]:
        """Images [B, H, W, C] to [B, H', W', features].

        Raises:
            ValueError: the input is no batch of images, the groups do not divide the channels, or the padding leaves nothing.
        """
        channels = check_channels(x, self.features, self.groups)
        (kh, kw), strides, (top, left) = (pair(v) for v in (self.kernel_size, self.strides, self.padding))
        kernel = self.param("kernel", self.kernel_init, (kh, kw, channels // self.groups, self.features), self.param_dtype)
        bias = self.param("bias", self.bias_init, (self.features,), self.param_dtype) if self.use_bias else None
        x, kernel, bias = nn.dtypes.promote_dtype(x, kernel, bias, dtype=self.dtype)
        y = convolve_transposed(x, kernel, strides, self.groups)
        height, width = y.shape[1] - 2 * top, y.shape[2] - 2 * left
        if height < 1 or width < 1:
            raise ValueError(f"padding={self.padding} leaves nothing of an output of {y.shape[1]}x{y.shape[2]}")
        y = y[:, top : top + height, left : left + width]
        return y if bias is None else y + bias


def convolve_transposed(
    x: Float[Array, "b h w c"], kernel: Float[Array, "kh kw i o"], strides: tuple[int, int], groups: int = 1
) -> Float[Array, "b h2 w2 o"]:
    """The transposed convolution without padding: [B, H, W, C] to [B, (H - 1) * s + kh, (W - 1) * s + kw, O]."""
    (n, h, w, _), (kh, kw, _, features), (sh, sw) = x.shape, kernel.shape, strides
    if strides == (1, 1):
        return convolve(x, kernel, strides, ((kh - 1, kh - 1), (kw - 1, kw - 1)), (1, 1), groups)
    mh, mw = -(-kh // sh), -(-kw // sw)
    phases = _phases(kernel, mh, mw, strides, groups)
    if groups == 1:
        windows = _windows(x, mh, mw)
        y = matmul(windows.reshape(-1, windows.shape[-1]), phases.reshape(windows.shape[-1], -1))
    else:
        y = convolve(x, phases, (1, 1), ((mh - 1, mh - 1), (mw - 1, mw - 1)), (1, 1), groups)
    y = y.reshape(n, h + mh - 1, w + mw - 1, groups, sh, sw, features // groups).transpose(0, 1, 4, 2, 5, 3, 6)
    return y.reshape(n, (h + mh - 1) * sh, (w + mw - 1) * sw, features)[:, : (h - 1) * sh + kh, : (w - 1) * sw + kw]


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
