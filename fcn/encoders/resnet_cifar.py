"""The small ResNets for 32x32 images.

He, Zhang, Ren, Sun, "Deep Residual Learning for Image Recognition", CVPR 2016, section 4.2.
"""

from functools import partial
from typing import ClassVar

import flax.linen as nn
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from fcn.encoders.entry import Encoder, check_depth
from fcn.layers import BatchNorm, Conv, ImageNetwork, NormLayer, materialize


class ResNetCifar(ImageNetwork):
    """A 3x3 convolution and three stages of residual blocks with 16, 32 and 64 channels; shortcuts have no parameters.

    Where a stage halves the map, the shortcut takes every second pixel and adds channels of zeros on both sides (option A).

    Attributes (more in `Network`):
        blocks: number of blocks of each stage: 3 in ResNet-20, 9 in ResNet-56.
        depth: 3 to 5, without effect: the network halves its images twice.
        output_stride: 32 only.
    """

    blocks: int = 3
    depth: int = 5
    output_stride: int = 32

    references: ClassVar = {"cifar": ()}
    unused: ClassVar = ("linear.",)

    @nn.compact
    def __call__(self, x: Float[Array | np.ndarray, "b h w c"], *, train: bool = False) -> tuple[Float[Array, "b _ _ _"], ...]:
        """Feature maps at strides 1, 2 and 4 of images [B, H, W, C] of any size.

        Raises:
            ValueError: `depth` is not 3, 4 or 5, or `output_stride` not 32.
        """
        check_depth(self.depth, self.output_stride, dilates=False)
        x = Conv(16, 3, padding=1, use_bias=False, **self.types, name="conv1")(x)
        x = nn.relu(BatchNorm(**self.norm_types, name="bn1")(x, train=train))
        maps = []
        for stage in range(3):
            for i in range(self.blocks):
                strides = 2 if i == 0 < stage else 1
                block = _Block(16 * 2**stage, strides, **self.norm_types, name=f"layer{stage + 1}_{i}")
                x = block(x, train=train)
            maps.append(x)
        return tuple(maps)


class _Block(NormLayer):
    """Two 3x3 convolutions and the shortcut."""

    features: int
    strides: int

    @nn.compact
    def __call__(self, x, *, train):
        conv = partial(Conv, self.features, 3, padding=1, use_bias=False, **self.types)
        norm = partial(BatchNorm, **self.norm_types)
        y = nn.relu(norm(name="bn1")(conv(strides=self.strides, name="conv1")(x), train=train))
        y = norm(name="bn2")(conv(name="conv2")(y), train=train)
        new = self.features - x.shape[-1]
        shortcut = jnp.pad(x[:, :: self.strides, :: self.strides], ((0, 0), (0, 0), (0, 0), (new // 2, new - new // 2)))
        return materialize(nn.relu(shortcut + y))


_PAPER = "He et al., Deep Residual Learning for Image Recognition, CVPR 2016"
RESNETS_CIFAR = {
    name: Encoder(
        partial(ResNetCifar, blocks), _PAPER, "a published network's outputs on CIFAR-10", count, (16, 32, 64), (1, 2, 4)
    )
    for name, blocks, count in (("resnet20_cifar", 3, 269_072), ("resnet56_cifar", 9, 852_368))
}
