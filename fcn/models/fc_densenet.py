"""FC-DenseNet, the One Hundred Layers Tiramisu.

Jégou, Drozdzal, Vazquez, Romero, Bengio, "The One Hundred Layers Tiramisu: Fully Convolutional DenseNets for Semantic
Segmentation", CVPR Workshops 2017, figure 1 and tables 1 and 2.
"""

from functools import partial
from typing import ClassVar

import flax.linen as nn
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from fcn.encoders.padding import crop, extend_to_least
from fcn.layers import BatchNorm, Conv, ConvTranspose, Network, NormLayer, he_uniform, materialize, max_pool
from fcn.layers.network import INPUTS


class FCDenseNet(Network):
    """FC-DenseNet103: a U-Net of dense blocks, whose way up carries only what the block below has added.

    Details are those of the authors' code: every convolution has a bias, kernels are drawn uniformly (He et al., ICCV 2015),
    BatchNorm adds 1e-4 to variances. With 11 classes there are 9,322,091 parameters. Departs from the paper: at evaluation
    BatchNorm takes the running statistics, where the paper takes those of the batch (here: `train=True`, `dropout_rate=0`).

    Max-pools leave out the last row or column of odd sides; the step up gives one row and one column more than twice as many
    as it takes, cropped to the skip. So any image of 32x32 or larger fits; smaller ones are extended at the bottom and the
    right by repeating the last row and column, and the logits are cropped back.

    Attributes (more in `Network`):
        num_classes: channels of the logits.
        layers: number of layers of each dense block: down, bottleneck, up; an odd number of blocks.
        growth_rate: channels that a layer adds.
        stem_features: channels of the first convolution.
        dropout_rate: dropout after each convolution of a block or a step down in training; takes the rng "dropout".
    """

    num_classes: int
    layers: tuple[int, ...] = (4, 5, 7, 10, 12, 15, 12, 10, 7, 5, 4)
    growth_rate: int = 16
    stem_features: int = 48
    dropout_rate: float = 0.2

    dimensions: ClassVar = tuple(INPUTS)
    heads: ClassVar = ("head",)

    @nn.compact
    def __call__(self, x: Float[Array | np.ndarray, "b *spatial c"], *, train: bool = False) -> Float[Array, "b *spatial k"]:
        """Logits [B, H, W, num_classes], float32, of images [B, H, W, C], signals [B, L, C] or volumes [B, D, H, W, C].

        Raises:
            ValueError: for an even number of blocks.
        """
        if len(self.layers) % 2 == 0:
            raise ValueError(
                f"layers={tuple(self.layers)} are {len(self.layers)} blocks; give as many up as down and one between"
            )
        types = {**self.types, "kernel_init": he_uniform}
        options = {"dropout_rate": self.dropout_rate, **self.norm_types}
        block = partial(_DenseBlock, growth_rate=self.growth_rate, **options)
        *down, bottleneck = self.layers[: len(self.layers) // 2 + 1]
        up = self.layers[len(down) + 1 :]
        size = x.shape[1:-1]

        x = extend_to_least(x, 2 ** len(down))
        x = Conv(self.stem_features, 3, padding=1, **types, name="stem")(x)
        skips = []
        for i, layers in enumerate(down):
            x = jnp.concatenate([x, block(layers, name=f"down{i}")(x, train=train)], axis=-1)
            skips.append(x)
            x = max_pool(_Layer(x.shape[-1], 1, **options, name=f"transition_down{i}")(x, train=train), 2)
        new = block(bottleneck, name="bottleneck")(x, train=train)
        for i, layers in enumerate(up):
            new = ConvTranspose(new.shape[-1], 3, 2, **types, name=f"transition_up{i}")(new)
            skip = skips.pop()
            # At the centre of one row more than wanted lie the first rows.
            x = jnp.concatenate([crop(new, skip.shape[1:-1]), skip], axis=-1)
            new = block(layers, name=f"up{i}")(x, train=train)
        x = jnp.concatenate([x, new], axis=-1)
        return crop(Conv(self.num_classes, 1, **types, name="head")(x).astype(jnp.float32), size)


class FCDenseNet67(FCDenseNet):
    """FC-DenseNet67: blocks of 5 layers. 3,463,243 parameters with 11 classes.

    Attributes: as those of `FCDenseNet`.
    """

    layers: tuple[int, ...] = (5,) * 11


class FCDenseNet56(FCDenseNet):
    """FC-DenseNet56: blocks of 4 layers, of 12 channels each. 1,376,795 parameters with 11 classes (the paper says 1.5 M).

    Attributes: as those of `FCDenseNet`.
    """

    layers: tuple[int, ...] = (4,) * 11
    growth_rate: int = 12


class _DenseBlock(NormLayer):
    """Layers each of which sees the input and all that came before it; the result is what they add."""

    layers: int
    growth_rate: int
    dropout_rate: float

    @nn.compact
    def __call__(self, x, *, train):
        layer = partial(_Layer, self.growth_rate, 3, dropout_rate=self.dropout_rate, **self.norm_types)
        added = []
        for i in range(self.layers):
            together = jnp.concatenate([x, *added], axis=-1)
            if train:
                together = materialize(together)  # for its gradient: all layers before take parts of that
            added.append(layer(name=f"layer{i}")(together, train=train))
        return jnp.concatenate(added, axis=-1)


class _Layer(NormLayer):
    """BatchNorm, ReLU, a convolution and dropout (table 1)."""

    features: int
    kernel_size: int
    dropout_rate: float

    @nn.compact
    def __call__(self, x, *, train):
        x = nn.relu(BatchNorm(epsilon=1e-4, **self.norm_types, name="bn")(x, train=train))
        padding = self.kernel_size // 2
        x = Conv(self.features, self.kernel_size, padding=padding, kernel_init=he_uniform, **self.types, name="conv")(x)
        return nn.Dropout(self.dropout_rate, deterministic=not train)(x)
