"""Vision Transformer (ViT).

Dosovitskiy, Beyer, Kolesnikov, Weissenborn, Zhai, Unterthiner, Dehghani, Minderer, Heigold, Gelly, Uszkoreit, Houlsby, "An
Image is Worth 16x16 Words: Transformers for Image Recognition at Scale", ICLR 2021, figure 1, equations 1 to 3, table 1; the
smaller network is that of Touvron et al., "Training data-efficient image transformers", ICML 2021, table 1.
"""

from functools import partial
from typing import ClassVar

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from fcn.encoders.entry import Encoder, check_depth
from fcn.encoders.padding import extend_to_multiple
from fcn.encoders.swin import Perceptron
from fcn.layers import Conv, Dense, ImageNetwork, Layer, attend, constant_deviation

PATCH = 16


class VisionTransformer(ImageNetwork):
    """Patches of 16x16 pixels and a class token, plus learned positions, then blocks of attention of all to all.

    All maps have stride 16. Images whose sides do not divide by 16 are extended by repeating the last row and column. For
    images of another size than `img_size` the learned positions are resized (bicubic, averaging where they are shrunk), as in
    timm with `dynamic_img_size`.

    Attributes (more in `Network`):
        features: channels.
        heads: number of heads.
        blocks: number of blocks.
        indices: the blocks after which a map is taken, counted from 0, or from the end if negative; later ones are left out.
            None takes four, evenly spaced.
        img_size: height and width of the images for which positions are learned.
        depth: 4 or 5, which have no effect: the image is halved four times.
        output_stride: 16 or 32, which have no effect.
        axis_name: no effect here (there is no BatchNorm).
    """

    features: int = 768
    heads: int = 12
    blocks: int = 12
    indices: tuple[int, ...] | None = None
    img_size: int = 224
    depth: int = 5
    output_stride: int = 32

    references: ClassVar = {"timm": (), "smp": (("^(.+)$", r"model.\1"), ("^$", "model"))}
    kept: ClassVar = {"smp": ("indices", None)}

    @property
    def kept_variables(self) -> dict[str, tuple[int, ...]]:
        """The last LayerNorm, and the classifier, with the 21,843 classes of timm's networks "...augreg_in21k"."""
        norm = dict.fromkeys(("norm/scale", "norm/bias"), (self.features,))
        return {**norm, "head/kernel": (self.features, 21_843), "head/bias": (21_843,)}

    @property
    def unused(self) -> tuple[str, ...]:
        """The last LayerNorm, the classifier, and the blocks after the last map."""
        blocks = range(self.taken[-1] + 1, self.blocks)
        names = ("norm.", "head.", *(f"blocks.{i}." for i in blocks))
        return (*names, *(f"model.{name}" for name in names))

    @property
    def taken(self) -> tuple[int, ...]:
        """The blocks after which a map is taken, in order, counted from 0.

        Raises:
            ValueError: for `indices` that are not there.
        """
        indices = evenly_spaced(4, self.blocks) if self.indices is None else self.indices
        if not indices or any(not -self.blocks <= i < self.blocks for i in indices):
            raise ValueError(f"indices={indices} of maps; there are {self.blocks} blocks, from 0 to {self.blocks - 1}")
        return tuple(sorted({i % self.blocks for i in indices}))

    @nn.compact
    def with_tokens(
        self, x: Float[Array | np.ndarray, "b h w c"], *, train: bool = False
    ) -> tuple[tuple[Float[Array, "b h2 w2 d"], Float[Array, "b d"]], ...]:
        """Pairs of feature map and class token after each taken block.

        Raises:
            ValueError: `depth` is not 4 or 5, `output_stride` not 16 or 32, or `indices` are not there.
        """
        check_depth(self.depth, self.output_stride)
        if self.depth < 4 or self.output_stride < 16:
            raise ValueError(f"depth={self.depth}, output_stride={self.output_stride}, but all maps of a ViT have stride 16")
        x = _Patches(self.features, **self.types, name="patch_embed")(extend_to_multiple(x, PATCH))
        shape = x.shape
        positions, first = self._positions(*shape[1:3])
        x = x.reshape(shape[0], -1, self.features) + positions.astype(x.dtype)
        x = jnp.concatenate([jnp.broadcast_to(first.astype(x.dtype), (shape[0], 1, self.features)), x], axis=1)
        maps = []
        for i in range(self.taken[-1] + 1):
            x = _Block(self.heads, **self.types, name=f"blocks_{i}")(x)
            if i in self.taken:
                maps.append((x[:, 1:].reshape(shape), x[:, 0]))
        return tuple(maps)

    def __call__(self, x: Float[Array | np.ndarray, "b h w c"], *, train: bool = False) -> tuple[Float[Array, "b _ _ _"], ...]:
        """Feature maps, all at stride 16, of images [B, H, W, C] of any size.

        Raises:
            ValueError: `depth` is not 4 or 5, `output_stride` not 16 or 32, or `indices` are not there.
        """
        return tuple(feature for feature, _ in self.with_tokens(x, train=train))

    def _positions(self, height: int, width: int):
        """Positions [1, height * width, features] of the patches; class token plus its position [1, 1, features]."""
        side = self.img_size // PATCH
        shape = (1, 1 + side * side, self.features)
        token = self.param("cls_token", constant_deviation(1e-6), (1, 1, self.features), self.param_dtype)
        learned = self.param("pos_embed", constant_deviation(0.02), shape, self.param_dtype)
        positions = learned[:, 1:]
        if (height, width) != (side, side):
            wide = positions.reshape(1, side, side, -1).astype(jnp.promote_types(learned.dtype, jnp.float32))
            positions = jax.image.resize(wide, (1, height, width, self.features), "bicubic")
        return positions.reshape(1, -1, self.features), token + learned[:, :1]


def evenly_spaced(count: int, blocks: int) -> tuple[int, ...]:
    """The last of the blocks of each of `count` equal parts."""
    return tuple(int(blocks / count * i) - 1 for i in range(1, count + 1))


class _Patches(Layer):
    """A dense layer on patches of 16x16 pixels."""

    features: int

    @nn.compact
    def __call__(self, x):
        return Conv(self.features, PATCH, PATCH, padding="VALID", **self.types, name="proj")(x)


class _Block(Layer):
    """Attention and a multilayer perceptron, each added to its input (equations 2 and 3)."""

    heads: int

    @nn.compact
    def __call__(self, x):
        norm = partial(nn.LayerNorm, epsilon=1e-6, **self.types)
        x = x + _Attention(self.heads, **self.types, name="attn")(norm(name="norm1")(x))
        return x + Perceptron(**self.types, name="mlp")(norm(name="norm2")(x))


class _Attention(Layer):
    """Attention of all tokens to all."""

    heads: int

    @nn.compact
    def __call__(self, x):
        batch, tokens, features = x.shape
        split = (batch, tokens, 3, self.heads, features // self.heads)
        query, key, value = jnp.moveaxis(Dense(3 * features, **self.types, name="qkv")(x).reshape(split), 2, 0)
        y = attend(query, key, value)
        return Dense(features, **self.types, name="proj")(y.reshape(x.shape))


_VIT = "Dosovitskiy et al., An Image is Worth 16x16 Words, ICLR 2021"
_DEIT = "Touvron et al., Training data-efficient image transformers, ICML 2021"
_HALF = (0.5, 0.5, 0.5)
VISION_TRANSFORMERS = {
    name: Encoder(
        partial(VisionTransformer, features, heads), paper, f"timm {name}_224", count, 4 * (features,), 4 * (16,), _HALF, _HALF
    )
    for name, paper, features, heads, count in (
        ("vit_small_patch16", _DEIT, 384, 6, 21_664_896),
        ("vit_base_patch16", _VIT, 768, 12, 85_797_120),
    )
}
"""Table 1 of the papers."""
