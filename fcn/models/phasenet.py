"""PhaseNet.

Zhu, Beroza, "PhaseNet: a deep-neural-network-based seismic arrival-time picking method", Geophysical Journal International 216,
2019 (arXiv:1803.03211), figure 4.
"""

from typing import ClassVar

import flax.linen as nn
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from fcn.layers import BatchNorm, Conv, ConvTranspose, Network, NormLayer, PointwiseConv
from fcn.layers.network import INPUTS

TAPS, STRIDE = 7, 4


class PhaseNet(Network):
    """A U-Net for signals: convolutions of seven taps, steps of stride 4, BatchNorm.

    Made to find the arrivals of P and S waves in seismograms: signals [B, L, 3] of 100 Hz with the channels east, north and
    vertical, each minus its mean and divided by its deviation; the logits say noise, P and S. Details are those of the authors'
    code, which pads as TensorFlow does ("SAME"); layers have the names that they have there. With three channels and logits
    there are 268,443 parameters.

    Signals have any length: a step down gives ceil(L / 4) samples, a step up four times as many, of which the middle ones are
    kept. Images and volumes are taken likewise.

    Attributes (more in `Network`):
        num_classes: channels of the logits.
        base_features: channels of the finest level; each level below has twice as many.
        depth: number of steps down.
    """

    num_classes: int
    base_features: int = 8
    depth: int = 4

    dimensions: ClassVar = tuple(INPUTS)
    heads: ClassVar = ("Output",)
    references: ClassVar = {"phasenet": ()}

    @nn.compact
    def __call__(self, x: Float[Array | np.ndarray, "b *spatial c"], *, train: bool = False) -> Float[Array, "b *spatial k"]:
        """Logits [B, L, num_classes], float32, of signals [B, L, C]; of images and volumes likewise."""
        features = [self.base_features * 2**level for level in range(self.depth + 1)]
        skips = []
        x = _Input(features[0], **self.norm_types, name="Input")(x, train=train)
        for level, width in enumerate(features):
            last = level == self.depth
            x, skip = _Down(width, level + 1, last=last, **self.norm_types, name=f"DownConv_{level}")(x, train=train)
            skips.append(skip)
        for level in reversed(range(self.depth)):
            x = _Up(features[level], level + 1, **self.norm_types, name=f"UpConv_{level}")(x, skips[level], train=train)
        return _Output(self.num_classes, **self.norm_types, name="Output")(x).astype(jnp.float32)


class _Part(NormLayer):
    """Layers under one name, as in the authors' code."""

    features: int
    number: int = 0

    @nn.nowrap
    def convolved(self, x, name, train, strides=1, use_bias=False):
        """Convolution, BatchNorm and ReLU."""
        layer = Conv(self.features, TAPS, strides, use_bias=use_bias, **self.types, name=name.format("conv"))
        return self.normed(layer(x), name, train)

    @nn.nowrap
    def normed(self, x, name, train):
        """BatchNorm and ReLU."""
        norm = BatchNorm(epsilon=1e-3, **self.norm_types, name=name.format("bn"))
        return nn.relu(norm(x, train=train))


class _Input(_Part):
    @nn.compact
    def __call__(self, x, *, train):
        return self.convolved(x, "input_{}", train, use_bias=True)


class _Down(_Part):
    """One level: what the next one takes, and what the way up does."""

    last: bool = False

    @nn.compact
    def __call__(self, x, *, train):
        x = self.convolved(x, f"down_{{}}1_{self.number}", train)
        return x if self.last else self.convolved(x, f"down_{{}}3_{self.number}", train, STRIDE), x


class _Up(_Part):
    @nn.compact
    def __call__(self, x, skip, *, train):
        up = ConvTranspose(self.features, TAPS, STRIDE, use_bias=False, **self.types, name=f"up_conv0_{self.number}")
        sides = [(STRIDE * coarse, fine) for coarse, fine in zip(x.shape[1:-1], skip.shape[1:-1])]
        starts = [(TAPS - STRIDE) // 2 + (whole - fine) // 2 for whole, fine in sides]
        x = up(x)[:, *(slice(start, start + fine) for start, (_, fine) in zip(starts, sides))]
        x = self.normed(x, f"up_{{}}0_{self.number}", train)
        return self.convolved(jnp.concatenate([skip, x], -1), f"up_{{}}1_{self.number}", train)


class _Output(_Part):
    @nn.compact
    def __call__(self, x):
        return PointwiseConv(self.features, **self.types, name="output_conv")(x)
