"""nnU-Net's networks.

Isensee, Jaeger, Kohl, Petersen, Maier-Hein, "nnU-Net: a self-configuring method for deep learning-based biomedical image
segmentation", Nature Methods 18, 2021, figure 2 and online methods; Isensee et al., "nnU-Net Revisited: A Call for Rigorous
Validation in 3D Medical Image Segmentation", MICCAI 2024 (residual encoders).
"""

import math
from collections.abc import Sequence
from functools import partial
from typing import ClassVar

import flax.linen as nn
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from fcn.encoders.padding import crop, extend
from fcn.layers import Conv, ConvTranspose, Network, NormLayer, PointwiseConv, average_pool
from fcn.layers.network import INPUTS
from fcn.layers.normalisation import instance_norm
from fcn.models.parts.supervision import sow_enlarged

Sizes = int | tuple[int, ...]
"""One number for all dimensions, or one for each."""


class PlainConvUNet(Network):
    """nnU-Net's U-Net: strided convolutions, instance norm, LeakyReLU, transposed convolutions, heads on all levels.

    Options, layers and numbers of parameters are those of `dynamic_network_architectures` (31,195,594 for volumes of one
    channel and two classes with the default options): numbers from nnU-Net's `plans.json` can be handed on. As there, the
    finest head gives the logits; training sees the coarser ones, too (`fcn.models.parts.supervision`).

    Departs from nnU-Net: inputs whose sides do not divide by the product of the strides are extended at their ends by repeating
    the last slices, and the logits are cropped back.

    Attributes (more in `Network`):
        num_classes: channels of the logits.
        features_per_stage: channels of each stage, finest first; of two stages or more.
        kernel_sizes: of all convolutions, or a size for each stage; odd.
        strides: of each stage; None: 1, then 2. An entry is a number, or one for each dimension. The first is 1.
        n_conv_per_stage: convolutions of each stage on the way down, or one number for all.
        n_conv_per_stage_decoder: the same on the way up, coarsest first.
        deep_supervision: whether coarser maps of the decoder have heads. nnU-Net's always have: `fcn.to_torch` adds them.
    """

    num_classes: int
    features_per_stage: tuple[int, ...] = (32, 64, 128, 256, 320, 320)
    kernel_sizes: int | tuple[Sizes, ...] = 3
    strides: tuple[Sizes, ...] | None = None
    n_conv_per_stage: Sizes = 2
    n_conv_per_stage_decoder: Sizes = 2
    deep_supervision: bool = True

    dimensions: ClassVar = tuple(INPUTS)
    references: ClassVar = {"nnunet": ()}
    kept: ClassVar = {"nnunet": ("deep_supervision", True)}
    old_names: ClassVar = (
        (r"^decoder\.encoder\.", "encoder."),
        (r"\.all_modules\.0\.(?=weight|bias)", ".conv."),
        (r"\.all_modules\.1\.(?=weight|bias)", ".norm."),
    )
    doubled: ClassVar = (
        (r"^encoder\.", "decoder.encoder."),
        (r"\.conv\.(?=weight|bias)", ".all_modules.0."),
        (r"\.norm\.(?=weight|bias)", ".all_modules.1."),
    )
    """A state dict has the same tensors under these names, too."""

    @property
    def heads(self) -> tuple[str, ...]:
        """All that give one channel a class."""
        return tuple(f"decoder/seg_layers_{i}" for i in range(len(self.features_per_stage) - 1))

    @nn.compact
    def __call__(self, x: Float[Array | np.ndarray, "b *spatial c"], *, train: bool = False) -> Float[Array, "b *spatial k"]:
        """Logits [B, D, H, W, num_classes], float32, of volumes [B, D, H, W, C], images or signals of any size.

        Raises:
            ValueError: options for another number of stages than there are, or fewer than two, strides for other dimensions
                or before the first stage, or an even kernel size.
        """
        size, stages = x.shape[1:-1], len(self.features_per_stage)
        if stages < 2:
            raise ValueError(f"features_per_stage={self.features_per_stage} has {stages} stages; give two numbers or more")
        strides = _for_each("strides", self.strides or (1,) + (2,) * (stages - 1), stages)
        strides = _along_sides(strides, len(size))
        kernels = _odd(_for_each("kernel_sizes", self.kernel_sizes, stages))
        counts = _for_each("n_conv_per_stage_decoder", self.n_conv_per_stage_decoder, stages - 1)

        multiples = [math.prod(along) for along in zip(*strides)]
        x = extend(x, *(side + -side % multiple for side, multiple in zip(size, multiples)))
        maps = self.encode(x, kernels, strides)
        shapes = self.features_per_stage, kernels, strides, counts
        coarse = self.deep_supervision and (self.is_initializing() or self.is_mutable_collection("aux_logits"))
        *others, logits = _Decoder(self.num_classes, *shapes, coarse, **self.norm_types, name="decoder")(maps)
        for number, other in enumerate(others[:0:-1], 1):  # that of the coarsest map weighs nothing
            sow_enlarged(self, number, other, x.shape[1:-1], size)
        return crop(logits, size)

    @nn.nowrap
    def encode(self, x, kernels, strides):
        """The maps of all stages, finest first."""
        counts = _for_each("n_conv_per_stage", self.n_conv_per_stage, len(strides))
        return _PlainEncoder(self.features_per_stage, kernels, strides, counts, **self.norm_types, name="encoder")(x)


class ResidualEncoderUNet(PlainConvUNet):
    """nnU-Net's U-Net with residual blocks on the way down (its presets "ResEnc M", "L" and "XL").

    A block is two convolutions, whose result is added to what came in, averaged over the stride and mapped to as many channels
    where these change. With the default options there are 102,349,770 parameters for volumes of one channel and two classes.

    Attributes (more in `PlainConvUNet`):
        n_blocks_per_stage: blocks of each stage, in place of `n_conv_per_stage`.
    """

    n_blocks_per_stage: Sizes = (1, 3, 4, 6, 6, 6)
    n_conv_per_stage_decoder: Sizes = 1

    @nn.nowrap
    def encode(self, x, kernels, strides):
        """The maps of all stages, finest first."""
        counts = _for_each("n_blocks_per_stage", self.n_blocks_per_stage, len(strides))
        return _ResidualEncoder(self.features_per_stage, kernels, strides, counts, **self.norm_types, name="encoder")(x)


def _for_each(option, value, count):
    """A setting for each stage, that may be one for all.

    Raises:
        ValueError: there are more or fewer.
    """
    values = (value,) * count if isinstance(value, int) else tuple(value)
    if len(values) != count:
        raise ValueError(f"{option}={values} has {len(values)} entries for {count} stages; give one for each")
    return values


def _along_sides(strides, dimensions):
    """A stride for each side, for each stage.

    Raises:
        ValueError: one has numbers for other dimensions, or that of the first stage is not 1.
    """
    along = [(stride,) * dimensions if isinstance(stride, int) else stride for stride in strides]
    if others := [stride for stride in along if len(stride) != dimensions]:
        raise ValueError(f"strides has {others[0]} for {INPUTS[dimensions]}; give one number, or {dimensions}")
    if set(along[0]) != {1}:
        raise ValueError(f"strides begins with {strides[0]}, which would leave logits smaller than the input; begin with 1")
    return along


def _odd(kernel_sizes):
    """Kernel sizes, each of which has a middle.

    Raises:
        ValueError: one is even.
    """
    for size in kernel_sizes:
        if any(side % 2 == 0 for side in ((size,) if isinstance(size, int) else size)):
            raise ValueError(f"kernel_sizes has {size}; give odd sizes, such as 3: maps keep their sides")
    return kernel_sizes


class _ConvNorm(NormLayer):
    """Convolution, instance normalisation and, unless a sum comes first, LeakyReLU."""

    features: int
    kernel_size: Sizes
    strides: Sizes = 1
    use_bias: bool = True
    activates: bool = True

    @nn.compact
    def __call__(self, x):
        k = self.kernel_size
        padding = k // 2 if isinstance(k, int) else tuple((side // 2, side // 2) for side in k)
        options = {"padding": padding, "use_bias": self.use_bias, **self.types}
        x = Conv(self.features, k, self.strides, **options, name="conv")(x)
        x = instance_norm(**self.types, name="norm")(x)
        return nn.leaky_relu(x) if self.activates else x


class _Stack(NormLayer):
    """Convolutions, the first of which has the stride."""

    features: int
    kernel_size: Sizes
    strides: Sizes
    count: int

    @nn.compact
    def __call__(self, x):
        for i in range(self.count):
            strides = self.strides if i == 0 else 1
            x = _ConvNorm(self.features, self.kernel_size, strides, **self.norm_types, name=f"convs_{i}")(x)
        return x


class _PlainEncoder(NormLayer):
    features: Sequence[int]
    kernel_sizes: Sequence[Sizes]
    strides: Sequence[tuple[int, ...]]
    counts: Sequence[int]

    @nn.compact
    def __call__(self, x):
        maps = []
        for i, stage in enumerate(zip(self.features, self.kernel_sizes, self.strides, self.counts)):
            x = _Stack(*stage, **self.norm_types, name=f"stages_{i}_0")(x)
            maps.append(x)
        return maps


class _ResidualEncoder(_PlainEncoder):
    @nn.compact
    def __call__(self, x):
        x, maps = _Stack(self.features[0], self.kernel_sizes[0], 1, 1, **self.norm_types, name="stem")(x), []
        for i, (features, kernel_size, strides, count) in enumerate(
            zip(self.features, self.kernel_sizes, self.strides, self.counts)
        ):
            x = _ResidualStage(features, kernel_size, strides, count, **self.norm_types, name=f"stages_{i}")(x)
            maps.append(x)
        return maps


class _ResidualStage(NormLayer):
    """Blocks, the first of which has the stride."""

    features: int
    kernel_size: Sizes
    strides: tuple[int, ...]
    count: int

    @nn.compact
    def __call__(self, x):
        for i in range(self.count):
            strides = self.strides if i == 0 else (1,) * len(self.strides)
            x = _Block(self.features, self.kernel_size, strides, **self.norm_types, name=f"blocks_{i}")(x)
        return x


class _Block(NormLayer):
    features: int
    kernel_size: Sizes
    strides: tuple[int, ...]

    @nn.compact
    def __call__(self, x):
        conv = partial(_ConvNorm, self.features, **self.norm_types)
        y = conv(self.kernel_size, self.strides, name="conv1")(x)
        y = conv(self.kernel_size, activates=False, name="conv2")(y)
        strided = set(self.strides) != {1}
        if strided:
            x = average_pool(x, self.strides)
        if x.shape[-1] != self.features:
            x = conv(1, use_bias=False, activates=False, name=f"skip_{int(strided)}")(x)
        return nn.leaky_relu(x + y)


class _Decoder(NormLayer):
    """The logits of all maps on the way up, coarsest first; without `coarse`, of the last alone."""

    num_classes: int
    features: Sequence[int]
    kernel_sizes: Sequence[Sizes]
    strides: Sequence[Sizes]
    counts: Sequence[int]
    coarse: bool

    @nn.compact
    def __call__(self, maps):
        *skips, x = maps
        logits = []
        for i, skip in enumerate(reversed(skips)):
            level = len(skips) - 1 - i
            features, strides = self.features[level], self.strides[level + 1]
            x = ConvTranspose(features, strides, strides, **self.types, name=f"transpconvs_{i}")(x)
            stack = _Stack(features, self.kernel_sizes[level], 1, self.counts[i], **self.norm_types, name=f"stages_{i}")
            x = stack(jnp.concatenate([x, skip], axis=-1))
            if self.coarse or level == 0:
                logits.append(PointwiseConv(self.num_classes, **self.types, name=f"seg_layers_{i}")(x).astype(jnp.float32))
        return logits
