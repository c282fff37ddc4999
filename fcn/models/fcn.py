"""FCN-32s, FCN-16s and FCN-8s on VGG.

Long, Shelhamer, Darrell, "Fully Convolutional Networks for Semantic Segmentation", CVPR 2015, figure 3 and section 4; the
authors' Caffe nets for what the paper leaves open (padding, crops, "at once" scales).
"""

from typing import Any, ClassVar, NamedTuple

import flax.linen as nn
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from fcn.encoders.padding import extend_to_multiple
from fcn.layers import (
    Conv,
    LearnedBilinearUpsample,
    PointwiseConv,
    bilinear_kernel,
    he_normal,
    max_pool,
    upsample_bilinear_fcn,
)
from fcn.models.parts.with_encoder import AnyEncoder, WithVGG


class _Map(NamedTuple):
    """A feature map that knows its place: the centre of cell (i, j) lies over pixel `offset + stride * (i, j)` of the image."""

    x: Array
    stride: int
    offset: float


class _FCN(WithVGG):
    """What FCN-32s, FCN-16s and FCN-8s share: their fields, and the parts they are made of.

    Attributes (more in `Network`):
        num_classes: channels of the logits.
        encoder: a VGG, such as "vgg16" (the paper's) or "vgg11_bn".
        fc_features: channels of fc6 and fc7.
        width_multiplier: factor on the numbers of channels of the encoder.
        input_padding: zero padding around the image; 100 in the authors' nets, at least 81, so that the logits cover the image.
            None is a modern variant that spends no work outside the image: all convolutions, fc6 too, keep the size, the image
            is extended to a multiple of 32 by repeating the last row and column, and score maps are extended in the same manner
            before they are upsampled.
        learned_upsampling: transposed convolutions that start bilinear and are trained, instead of fixed bilinear ones.
        dropout_rate: dropout after fc6 and fc7 in training; takes the rng "dropout".
        dtype: type of the computation up to the scores; these are float32, as are the logits.
    """

    encoder: AnyEncoder = "vgg16"
    fc_features: int = 4096
    width_multiplier: float = 1.0
    input_padding: int | None = 100
    learned_upsampling: bool = False
    dropout_rate: float = 0.5

    heads: ClassVar = ("score_fr", "score_pool4", "score_pool3")
    references: ClassVar = {"torchfcn": ((r"^encoder\.", ""),)}
    upsampling: ClassVar[dict[str, int]] = {}
    """Name and factor of each upsampling."""

    def constant_tensors(self) -> dict[str, np.ndarray]:
        """The tensors of a torchfcn checkpoint that are fixed here: transposed convolutions that interpolate bilinearly."""
        if self.learned_upsampling:
            return {}
        diagonal = np.eye(self.num_classes, dtype=np.float32)[:, :, None, None]
        return {f"{name}.weight": diagonal * bilinear_kernel(2 * factor) for name, factor in self.upsampling.items()}

    @nn.nowrap
    def encoder_options(self) -> dict[str, Any]:
        """What the VGG is made with."""
        padding = 1 if self.input_padding is None else self.input_padding
        return {"width_multiplier": self.width_multiplier, "input_padding": padding, "ceil_mode": True, **self.norm_types}

    def _backbone(self, x: Array, train: bool) -> tuple[_Map, _Map, _Map]:
        """pool3, pool4 and fc7: VGG with its dense layers as convolutions."""
        x = extend_to_multiple(x, 32) if self.input_padding is None else _pad_small(x, self.input_padding)
        _, _, conv3, conv4, _, pool5 = self.own_encoder(x, train=train)

        x = Conv(self.fc_features, 7, padding=3 if self.input_padding is None else 0, **self.types, name="fc6")(pool5)
        x = nn.Dropout(self.dropout_rate, deterministic=not train)(nn.relu(x))
        x = PointwiseConv(self.fc_features, kernel_init=he_normal, **self.types, name="fc7")(x)
        x = nn.Dropout(self.dropout_rate, deterministic=not train)(nn.relu(x))

        # The first convolution puts cell 0 over pixel 1 - padding; a pool moves it by half a cell, an unpadded fc6 by three.
        first = 0.0 if self.input_padding is None else 1.0 - self.input_padding
        fc6 = 0.0 if self.input_padding is None else 3.0 * 32
        return (
            _Map(max_pool(conv3, 2, ceil_mode=True), 8, first + 3.5),
            _Map(max_pool(conv4, 2, ceil_mode=True), 16, first + 7.5),
            _Map(x, 32, first + 15.5 + fc6),
        )

    def _score(self, features: _Map, name: str, scale: float = 1.0) -> _Map:
        zeros = nn.initializers.zeros
        score = PointwiseConv(self.num_classes, **self.types, kernel_init=zeros, bias_init=zeros, name=name)
        return features._replace(x=score(features.x * scale).astype(jnp.float32))

    def _upscore(self, scores: _Map, factor: int, name: str) -> _Map:
        """Transposed convolution with a 2f x 2f kernel and stride f: cell 0 moves up and left by f - 1/2 fine cells."""
        x, stride, offset = scores
        if self.input_padding is None:
            x, offset = jnp.pad(x, ((0, 0), (1, 1), (1, 1), (0, 0)), mode="edge"), offset - stride
        if self.learned_upsampling:
            x = LearnedBilinearUpsample(factor, self.num_classes, param_dtype=self.param_dtype, name=name)(x)
        else:
            x = upsample_bilinear_fcn(x, factor)
        fine = stride // factor
        return _Map(x, fine, offset - fine * (factor - 0.5))


class FCN32s(_FCN):
    """FCN-32s: the scores of fc7, upsampled by 32. Fields: see `_FCN`."""

    upsampling: ClassVar = {"upscore": 32}

    @nn.compact
    def __call__(self, x: Float[Array | np.ndarray, "b h w c"], *, train: bool = False) -> Float[Array, "b h w k"]:
        """Logits [B, H, W, num_classes], float32, of images [B, H, W, C] of any size."""
        _, _, fc7 = self._backbone(jnp.asarray(x), train)
        scores = self._score(fc7, "score_fr")
        return _crop(self._upscore(scores, 32, "upscore"), *x.shape[1:3])


class FCN16s(_FCN):
    """FCN-16s: the scores of fc7 upsampled by 2, plus those of pool4, upsampled by 16. Fields: see `_FCN`."""

    upsampling: ClassVar = {"upscore2": 2, "upscore16": 16}

    @nn.compact
    def __call__(self, x: Float[Array | np.ndarray, "b h w c"], *, train: bool = False) -> Float[Array, "b h w k"]:
        """Logits [B, H, W, num_classes], float32, of images [B, H, W, C] of any size."""
        _, pool4, fc7 = self._backbone(jnp.asarray(x), train)
        scores = self._score(fc7, "score_fr")
        scores = _add(self._upscore(scores, 2, "upscore2"), self._score(pool4, "score_pool4"))
        return _crop(self._upscore(scores, 16, "upscore16"), *x.shape[1:3])


class FCN8s(_FCN):
    """FCN-8s: as FCN-16s, with the scores of pool3 added before the last upsampling, by 8.

    Attributes (more in `_FCN`):
        at_once: scale pool4 by 0.01 and pool3 by 0.0001 before they are scored, as the authors' net does that is trained in one
            stage instead of being built from FCN-16s.
    """

    at_once: bool = False

    upsampling: ClassVar = {"upscore2": 2, "upscore_pool4": 2, "upscore8": 8}

    @nn.compact
    def __call__(self, x: Float[Array | np.ndarray, "b h w c"], *, train: bool = False) -> Float[Array, "b h w k"]:
        """Logits [B, H, W, num_classes], float32, of images [B, H, W, C] of any size."""
        pool3, pool4, fc7 = self._backbone(jnp.asarray(x), train)
        scale4, scale3 = (0.01, 0.0001) if self.at_once else (1.0, 1.0)
        scores = self._score(fc7, "score_fr")
        scores = _add(self._upscore(scores, 2, "upscore2"), self._score(pool4, "score_pool4", scale4))
        scores = _add(self._upscore(scores, 2, "upscore_pool4"), self._score(pool3, "score_pool3", scale3))
        return _crop(self._upscore(scores, 8, "upscore8"), *x.shape[1:3])


def _pad_small(x: Array, padding: int) -> Array:
    """Zeros below and to the right of a small image, so that fc6 finds a 7x7 map: 195 pixels with the padding."""
    if padding < 81:
        raise ValueError(f"input_padding={padding} is too small for the logits to cover the image; give at least 81, or None")
    below, right = (max(0, 195 - 2 * padding - side) for side in x.shape[1:3])
    return jnp.pad(x, ((0, 0), (0, below), (0, right), (0, 0))) if below or right else x


def _add(a: _Map, b: _Map) -> _Map:
    """The sum over the cells that both maps have, aligned by their places in the image."""
    shift = round((a.offset - b.offset) / a.stride)
    x, y = a.x[:, max(-shift, 0) :, max(-shift, 0) :], b.x[:, max(shift, 0) :, max(shift, 0) :]
    height, width = min(x.shape[1], y.shape[1]), min(x.shape[2], y.shape[2])
    return _Map(x[:, :height, :width] + y[:, :height, :width], a.stride, max(a.offset, b.offset))


def _crop(scores: _Map, height: int, width: int) -> Array:
    """The scores of the image's own pixels."""
    start = round(-scores.offset)
    return scores.x[:, start : start + height, start : start + width]
