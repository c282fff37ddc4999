"""SegResNet.

Myronenko, "3D MRI brain tumor segmentation using autoencoder regularization", BrainLes 2018 (arXiv:1810.11654), figure 1 and
table 1, in the form of MONAI.
"""

from functools import partial
from typing import ClassVar

import flax.linen as nn
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from fcn.encoders.padding import crop, extend_to_multiple
from fcn.layers import Conv, Network, NormLayer, PointwiseConv, resize_bilinear
from fcn.layers.network import INPUTS


class SegResNet(Network):
    """Residual blocks with group normalisation, and a decoder that enlarges by interpolation and adds the skips.

    MONAI's `SegResNet`, the network of the paper without the autoencoder that regularises it in training. With the default
    options it has 1,176,186 parameters for volumes of one channel and two classes.

    Departs from MONAI: inputs whose sides do not divide by the coarsest stride are extended at their ends by repeating the last
    slices, and the logits are cropped back.

    Attributes (more in `Network`):
        num_classes: channels of the logits.
        init_filters: channels of the finest level; each level below has twice as many.
        blocks_down: residual blocks of each level, finest first.
        blocks_up: those on the way up, coarsest first; one number less.
        num_groups: groups of channels that are normalised together.
        dropout_rate: dropout of whole channels after the first convolution in training; takes the rng "dropout".
    """

    num_classes: int
    init_filters: int = 8
    blocks_down: tuple[int, ...] = (1, 2, 2, 4)
    blocks_up: tuple[int, ...] = (1, 1, 1)
    num_groups: int = 8
    dropout_rate: float = 0.0

    dimensions: ClassVar = tuple(INPUTS)
    heads: ClassVar = ("conv_final_2",)
    references: ClassVar = {
        "monai": ((r"^(convInit|.*conv[12]|down_layers\.\d+\.0|up_samples\.\d+\.0|conv_final\.2)$", r"\1.conv"),)
    }

    @nn.compact
    def __call__(self, x: Float[Array | np.ndarray, "b *spatial c"], *, train: bool = False) -> Float[Array, "b *spatial k"]:
        """Logits [B, D, H, W, num_classes], float32, of volumes [B, D, H, W, C], images or signals of any size.

        Raises:
            ValueError: `blocks_up` has not one number less than `blocks_down`.
        """
        if len(self.blocks_up) != len(self.blocks_down) - 1:
            given = f"blocks_up={self.blocks_up} has {len(self.blocks_up)} numbers, blocks_down {len(self.blocks_down)}"
            raise ValueError(f"{given}; give one less")
        size = x.shape[1:-1]
        conv = partial(Conv, kernel_size=3, padding=1, use_bias=False, **self.types)
        block = partial(_ResBlock, self.num_groups, **self.norm_types)

        x = conv(self.init_filters, name="convInit")(extend_to_multiple(x, 2 ** len(self.blocks_up)))
        x = nn.Dropout(self.dropout_rate, broadcast_dims=range(1, x.ndim - 1), deterministic=not train)(x)
        maps = []
        for i, count in enumerate(self.blocks_down):
            x = conv(self.init_filters * 2**i, strides=2, name=f"down_layers_{i}_0")(x) if i else x
            for j in range(1, count + 1):
                x = block(name=f"down_layers_{i}_{j}")(x)
            maps.append(x)
        for i, (count, skip) in enumerate(zip(self.blocks_up, maps[-2::-1])):
            x = PointwiseConv(skip.shape[-1], use_bias=False, **self.types, name=f"up_samples_{i}_0")(x)
            x = resize_bilinear(x, skip.shape[1:-1]) + skip
            for j in range(count):
                x = block(name=f"up_layers_{i}_{j}")(x)
        x = nn.relu(group_norm(self.num_groups, **self.types, name="conv_final_0")(x))
        return crop(PointwiseConv(self.num_classes, **self.types, name="conv_final_2")(x).astype(jnp.float32), size)


group_norm = partial(nn.GroupNorm, epsilon=1e-5, use_fast_variance=False)


class _ResBlock(NormLayer):
    """Twice norm, ReLU and convolution, added to what comes in."""

    num_groups: int

    @nn.compact
    def __call__(self, x):
        y = x
        for i in (1, 2):
            y = nn.relu(group_norm(self.num_groups, **self.types, name=f"norm{i}")(y))
            y = Conv(x.shape[-1], 3, padding=1, use_bias=False, **self.types, name=f"conv{i}")(y)
        return x + y
