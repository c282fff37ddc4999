"""Swin Transformer.

Liu, Lin, Cao, Hu, Wei, Zhang, Lin, Guo, "Swin Transformer: Hierarchical Vision Transformer using Shifted Windows", ICCV 2021,
figure 3 (the stages and the blocks), section 3.2 (windows, their shift, equation 4) and section 3.3 (the sizes).
"""

import math
from functools import partial
from typing import ClassVar

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from fcn.encoders.entry import Encoder, check_depth
from fcn.encoders.padding import extend_to_least
from fcn.layers import Conv, Dense, ImageNetwork, Layer, constant_deviation, gelu

WINDOW = 7
"""Rows and columns of a window (M in the paper)."""
_SEPARATE = -100.0
"""What is added to the attention between pixels that only the shift made neighbours."""


class Swin(ImageNetwork):
    """Patches of 4x4 pixels and four stages of blocks of attention within windows; between stages, patches of 2x2.

    There is no map of stride 2. The first map has floor(H / 4) rows, each further one half of them, rounded up; images under 4
    pixels are extended. Any size of image gives what timm gives for a network built for that size: maps are filled up with
    zeros to whole windows, and along a side of at most 7 pixels a map is one window of this size, without shift. (There, timm
    builds smaller tables of position biases; here the table of 7x7 windows serves, of which the shorter distances are used.)

    Attributes (more in `Network`):
        features: channels of the first stage; each further one has twice as many.
        blocks: number of blocks of each stage.
        heads: number of heads of each stage.
        drop_path_rate: of the last block, in training; those before rise to it from 0. Takes the rng "dropout". The paper
            has 0.2 to 0.5.
        depth: 3 to 5; later stages are left out, there are `depth - 1` maps.
        output_stride: 32; there is no dilation.
        axis_name: no effect here (there is no BatchNorm).
    """

    features: int = 96
    blocks: tuple[int, ...] = (2, 2, 6, 2)
    heads: tuple[int, ...] = (3, 6, 12, 24)
    drop_path_rate: float = 0.0
    depth: int = 5
    output_stride: int = 32

    references: ClassVar = {"timm": (), "smp": ((r"^layers\.", "layers_"), ("^", "model."))}
    unused: ClassVar = ("norm.", "head.")
    kept: ClassVar = {"timm": ("depth", 5)}

    @nn.compact
    def __call__(self, x: Float[Array | np.ndarray, "b h w c"], *, train: bool = False) -> tuple[Float[Array, "b _ _ _"], ...]:
        """Feature maps at strides 4, 8, 16 and 32 of images [B, H, W, C] of any size.

        Raises:
            ValueError: `depth` is not 3, 4 or 5, or `output_stride` not 32.
        """
        check_depth(self.depth, self.output_stride, dilates=False)
        rates = np.linspace(0, self.drop_path_rate, sum(self.blocks))
        x = _Patches(self.features, **self.types, name="patch_embed")(extend_to_least(x, 4))
        maps = []
        for stage, count in enumerate(self.blocks[: self.depth - 1]):
            first = sum(self.blocks[:stage])
            drop_path = tuple(rates[first : first + count].tolist())
            x = _Stage(self.heads[stage], drop_path, stage > 0, **self.types, name=f"layers_{stage}")(x, train=train)
            maps.append(x)
        return tuple(maps)


class _Patches(Layer):
    """A dense layer on patches of 4x4 pixels, and LayerNorm."""

    features: int

    @nn.compact
    def __call__(self, x):
        x = Conv(self.features, 4, 4, padding="VALID", **self.types, name="proj")(x)
        return nn.LayerNorm(epsilon=1e-5, **self.types, name="norm")(x)


class _Merging(Layer):
    """2x2 pixels become one, with twice the channels; the map is filled up with zeros to even sides."""

    @nn.compact
    def __call__(self, x):
        channels = x.shape[-1]
        x = _divide(_fill(x, (2, 2)), (2, 2))
        x = jnp.swapaxes(x, 3, 4).reshape(*x.shape[:3], 4 * channels)
        x = nn.LayerNorm(epsilon=1e-5, **self.types, name="norm")(x)
        return Dense(2 * channels, use_bias=False, **self.types, name="reduction")(x)


class _Stage(Layer):
    """Merged patches, but not in the first stage, then one block for each rate; the windows of every second are shifted."""

    heads: int
    drop_path_rates: tuple[float, ...]
    merges: bool

    @nn.compact
    def __call__(self, x, *, train):
        if self.merges:
            x = _Merging(**self.types, name="downsample")(x)
        for i, rate in enumerate(self.drop_path_rates):
            x = _Block(self.heads, i % 2 == 1, rate, **self.types, name=f"blocks_{i}")(x, train=train)
        return x


class _Block(Layer):
    """Attention within windows and a multilayer perceptron, each added to its input (equation 3)."""

    heads: int
    shifted: bool
    drop_path_rate: float

    @nn.compact
    def __call__(self, x, *, train):
        drop_path = nn.Dropout(self.drop_path_rate, broadcast_dims=(1, 2, 3), deterministic=not train)
        norm = partial(nn.LayerNorm, epsilon=1e-5, **self.types)
        x = x + drop_path(_windowed(_Attention(self.heads, **self.types, name="attn"), norm(name="norm1")(x), self.shifted))
        return x + drop_path(Perceptron(**self.types, name="mlp")(norm(name="norm2")(x)))


def _windowed(attention, x, shifted: bool):
    """`attention` on each window of a map that may be shifted, cyclically, by half a window."""
    _, height, width, channels = x.shape
    window = min(WINDOW, height), min(WINDOW, width)
    shift = tuple(WINDOW // 2 if shifted and side > WINDOW else 0 for side in (height, width))
    y = _fill(jnp.roll(x, (-shift[0], -shift[1]), (1, 2)), window)
    rows, columns = y.shape[1] // window[0], y.shape[2] // window[1]
    regions = _regions(y.shape[1], window[0], shift[0])[:, None] * 3 + _regions(y.shape[2], window[1], shift[1])
    regions = _divide(regions[None, :, :, None], window).reshape(rows * columns, -1)
    y = _divide(y, window).reshape(-1, rows * columns, math.prod(window), channels)
    y = attention(y, window, regions[:, :, None] != regions[:, None, :])
    y = jnp.swapaxes(y.reshape(-1, rows, columns, *window, channels), 2, 3)
    y = y.reshape(-1, rows * window[0], columns * window[1], channels)[:, :height, :width]
    return jnp.roll(y, shift, (1, 2))


def _fill(x, window: tuple[int, int]):
    """Zeros at the end of rows and columns, up to whole windows."""
    return jnp.pad(x, ((0, 0), (0, -x.shape[1] % window[0]), (0, -x.shape[2] % window[1]), (0, 0)))


def _divide(x, window: tuple[int, int]):
    """[B, H, W, C] to [B, H / h, W / w, h, w, C]."""
    batch, height, width, channels = x.shape
    (h, w) = window
    return x.reshape(batch, height // h, h, width // w, w, channels).swapaxes(2, 3)


def _regions(side: int, window: int, shift: int) -> np.ndarray:
    """Which parts of a shifted map belong together: all before the last window, and the two parts of that."""
    places = np.arange(side)
    return np.where(shift > 0, (places >= side - window).astype(int) + (places >= side - shift), 0)


class _Attention(Layer):
    """Attention within windows, with a bias for each distance of two pixels (equation 4)."""

    heads: int

    @nn.compact
    def __call__(self, x, window, separate):
        """Windows [B, N, h w, C]; `separate` [N, h w, h w] says between which pixels there is none."""
        channels = x.shape[-1]
        shape = (2 * WINDOW - 1) ** 2, self.heads
        table = self.param("relative_position_bias_table", constant_deviation(0.02), shape, self.param_dtype)
        split = (*x.shape[:3], 3, self.heads, channels // self.heads)
        query, key, value = jnp.moveaxis(Dense(3 * channels, **self.types, name="qkv")(x).reshape(split), 3, 0)
        scores = jnp.einsum("bnqhc,bnkhc->bnhqk", query * (channels // self.heads) ** -0.5, key)
        wide = scores.astype(jnp.promote_types(scores.dtype, jnp.float32))
        bias = jnp.moveaxis(table[_distances(*window)], -1, 0)
        if separate.any():
            bias = bias + jnp.where(separate, _SEPARATE, 0.0).astype(bias.dtype)[:, None]
        weights = jax.nn.softmax(wide + bias.astype(wide.dtype), axis=-1).astype(scores.dtype)
        y = jnp.einsum("bnhqk,bnkhc->bnqhc", weights, value).reshape(x.shape)
        return Dense(channels, **self.types, name="proj")(y)


def _distances(height: int, width: int) -> np.ndarray:
    """For each pair of pixels of a window, the place of their distance in the table [h w, h w]."""
    rows, columns = (axis.ravel() for axis in np.indices((height, width)))
    down, right = (places[:, None] - places[None, :] + WINDOW - 1 for places in (rows, columns))
    return down * (2 * WINDOW - 1) + right


class Perceptron(Layer):
    """Two dense layers, the first with four times the channels."""

    @nn.compact
    def __call__(self, x: Float[Array, "*b c"]) -> Float[Array, "*b c"]:
        """Any axes, channels last."""
        y = gelu(Dense(4 * x.shape[-1], **self.types, name="fc1")(x))
        return Dense(x.shape[-1], **self.types, name="fc2")(y)


_PAPER = "Liu et al., Swin Transformer: Hierarchical Vision Transformer using Shifted Windows, ICCV 2021"
SWINS = {
    name: Encoder(
        partial(Swin, features, blocks, heads),
        _PAPER,
        f"timm {name}_patch4_window7_224",
        count,
        (features, 2 * features, 4 * features, 8 * features),
        (4, 8, 16, 32),
    )
    for name, features, blocks, heads, count in (
        ("swin_tiny", 96, (2, 2, 6, 2), (3, 6, 12, 24), 27_517_818),
        ("swin_small", 96, (2, 2, 18, 2), (3, 6, 12, 24), 48_835_722),
        ("swin_base", 128, (2, 2, 18, 2), (4, 8, 16, 32), 86_741_176),
    )
}
"""Section 3.3 of the paper."""
