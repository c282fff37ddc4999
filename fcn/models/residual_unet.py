"""A U-Net of residual units.

Kerfoot, Clough, Oksuz, Lee, King, Schnabel, "Left-Ventricle Quantification Using Residual U-Net", STACOM 2018, figure 2, in the
form of MONAI.
"""

import math
from functools import partial
from typing import ClassVar, get_args

import flax.linen as nn
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from fcn.encoders.padding import crop, extend_to_multiple
from fcn.errors import unknown
from fcn.layers import BatchNorm, Conv, ConvTranspose, Network, NormKind, NormLayer, PReLU
from fcn.layers.network import INPUTS
from fcn.layers.normalisation import instance_norm


class ResidualUNet(Network):
    """MONAI's `UNet` with residual units: strided convolutions down, transposed convolutions up, PReLU.

    With the default options it has 4,806,481 parameters for volumes of one channel and two classes, as MONAI's with
    `channels=(16, 32, 64, 128, 256), strides=(2, 2, 2, 2), num_res_units=2` and its usual norm.

    Departs from MONAI: inputs whose sides do not divide by the product of the strides are extended at their ends by repeating
    the last slices, and the logits are cropped back.

    Attributes (more in `Network`):
        num_classes: channels of the logits.
        channels: of each level, finest first; the last is the bottom.
        strides: of each level but the last.
        num_res_units: convolutions of a residual unit on the way down, at least 1; on the way up it has one.
        norm: "instance" (without scale and shift, as there), or "batch".
    """

    num_classes: int
    channels: tuple[int, ...] = (16, 32, 64, 128, 256)
    strides: tuple[int, ...] = (2, 2, 2, 2)
    num_res_units: int = 2
    norm: NormKind = "instance"

    dimensions: ClassVar = tuple(INPUTS)
    heads: ClassVar = ("up_0_0", "up_0_1")
    heads_take_classes: ClassVar = True

    @property
    def references(self) -> dict[str, tuple[tuple[str, str], ...]]:
        """In MONAI a level lies inside the one above it."""
        inside = ["model." + "1.submodule." * level for level in range(len(self.channels))]
        levels = [((rf"^down\.{i}\b", f"{start}0"), (rf"^up\.{i}\b", f"{start}2")) for i, start in enumerate(inside[:-1])]
        units = (r"\bconv_unit(\d)", r"conv.unit\1")
        return {"monai": (*(pair for level in levels for pair in level), (r"^bottom\b", inside[-1].rstrip(".")), units)}

    @nn.compact
    def __call__(self, x: Float[Array | np.ndarray, "b *spatial c"], *, train: bool = False) -> Float[Array, "b *spatial k"]:
        """Logits [B, D, H, W, num_classes], float32, of volumes [B, D, H, W, C], images or signals of any size.

        Raises:
            ValueError: fewer than two `channels`, `strides` has not one number less, or an unknown norm.
        """
        if self.norm not in get_args(NormKind):
            raise unknown("norm", self.norm, get_args(NormKind))
        if len(self.channels) < 2:
            raise ValueError(f"channels={self.channels} has no level above the bottom; give two numbers or more")
        if len(self.strides) != len(self.channels) - 1:
            given = f"strides={self.strides} has {len(self.strides)} numbers, channels {len(self.channels)}"
            raise ValueError(f"{given}; give one less")
        options = {"norm": self.norm, **self.norm_types}
        down = partial(_ResidualUnit, count=self.num_res_units, **options)
        size, skips = x.shape[1:-1], []

        x = extend_to_multiple(x, math.prod(self.strides))
        for i, stride in enumerate(self.strides):
            x = down(self.channels[i], strides=stride, name=f"down_{i}")(x, train=train)
            skips.append(x)
        x = down(self.channels[-1], name="bottom")(x, train=train)
        for i in reversed(range(len(skips))):
            features = self.channels[i - 1] if i else self.num_classes
            x = jnp.concatenate([skips[i], x], axis=-1)
            x = _Unit(features, self.strides[i], transposed=True, **options, name=f"up_{i}_0")(x, train=train)
            x = _ResidualUnit(features, activates=i > 0, **options, name=f"up_{i}_1")(x, train=train)
        return crop(x.astype(jnp.float32), size)


class _Unit(NormLayer):
    """A convolution, and norm and PReLU after it."""

    features: int
    strides: int = 1
    transposed: bool = False
    activates: bool = True
    norm: NormKind = "instance"

    @nn.compact
    def __call__(self, x, *, train):
        if self.transposed:
            sides = [side * self.strides for side in x.shape[1:-1]]
            if self.strides > 2:  # the last of so many samples see no value
                x = jnp.pad(x, ((0, 0), *((0, 1),) * len(sides), (0, 0)))
            x = ConvTranspose(self.features, 3, self.strides, **self.types, name="conv")(x)
            x = x[:, *(slice(1, side + 1) for side in sides)]
        else:
            x = Conv(self.features, 3, self.strides, padding=1, **self.types, name="conv")(x)
        return _NormPReLU(self.norm, **self.norm_types, name="adn")(x, train=train) if self.activates else x


class _NormPReLU(NormLayer):
    norm: NormKind

    @nn.compact
    def __call__(self, x, *, train):
        if self.norm == "batch":
            x = BatchNorm(**self.norm_types, name="N")(x, train=train)
        else:
            x = instance_norm(use_scale=False, use_bias=False, **self.types, name="N")(x)
        return PReLU(shared=True, **self.types, name="A")(x)


class _ResidualUnit(NormLayer):
    """Units, the first of which has the stride, added to a convolution of what comes in, or to that itself."""

    features: int
    strides: int = 1
    count: int = 1
    activates: bool = True
    norm: NormKind = "instance"

    @nn.compact
    def __call__(self, x, *, train):
        y = x
        for i in range(self.count):
            options = {"activates": self.activates or i < self.count - 1, "norm": self.norm, **self.norm_types}
            y = _Unit(self.features, self.strides if i == 0 else 1, **options, name=f"conv_unit{i}")(y, train=train)
        if self.strides > 1:
            x = Conv(self.features, 3, self.strides, padding=1, **self.types, name="residual")(x)
        elif x.shape[-1] != self.features:
            x = Conv(self.features, 1, **self.types, name="residual")(x)
        return x + y
