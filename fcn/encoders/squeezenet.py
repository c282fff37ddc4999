"""SqueezeNet.

Iandola, Han, Moskewicz, Ashraf, Dally, Keutzer, "SqueezeNet: AlexNet-level accuracy with 50x fewer parameters and <0.5MB model
size", arXiv:1602.07360, table 1 and figure 1.
"""

from functools import partial
from typing import ClassVar

import flax.linen as nn
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from fcn.encoders.entry import Encoder, check_depth
from fcn.encoders.padding import extend_to_least
from fcn.layers import Conv, ImageNetwork, Layer, PointwiseConv, max_pool

FIRES = ((16, 64), (16, 64), (32, 128), (32, 128), (48, 192), (48, 192), (64, 256), (64, 256))
"""Channels of the squeezing convolution, and of each of the two expanding ones, of fire2 to fire9."""


class SqueezeNet(ImageNetwork):
    """A convolution of stride 2 without padding and eight fire modules, with three max-pools between them.

    Max-pools are 3x3 with stride 2 and take the last window even if it reaches over the border (Caffe's rule), and nothing is
    padded before them: the maps are smaller by a pixel or so than those of other encoders. Images smaller than the network can
    take (21 pixels, or 17 with a 3x3 kernel) are extended by repeating the last row and column.

    Attributes (more in `Network`):
        features: channels of the first convolution.
        kernel_size: of the first convolution.
        pools: numbers of the fire modules before which the second and the third max-pool stand.
        depth: 3 to 5; 4 and 5 are the same, as the network halves its images four times.
        output_stride: 32 only (nothing is dilated).
        axis_name: no effect (there is no BatchNorm).
    """

    features: int = 96
    kernel_size: int = 7
    pools: tuple[int, int] = (5, 9)
    depth: int = 5
    output_stride: int = 32

    unused: ClassVar = ("classifier.", "conv_final.")
    kept: ClassVar = dict.fromkeys(("torchvision", "caffe"), ("depth", 5))

    @property
    def references(self) -> dict[str, tuple[tuple[str, str], ...]]:
        """torchvision numbers the layers, ReLU and max-pools included; Caffe's names are those of the paper."""
        places = {"conv1": 0}
        place = 3  # after convolution, ReLU and max-pool
        for number in range(2, 10):
            place += number in self.pools
            places[f"fire{number}"] = place
            place += 1
        numbered = tuple((rf"^{name}(?=\.|$)", f"features.{place}") for name, place in places.items())
        layers = ((r"squeeze$", "conv1x1_1"), (r"expand1x1$", "conv1x1_2"), (r"expand3x3$", "conv3x3_2"))
        return {"torchvision": numbered, "caffe": ((r"^(fire\d)\.", r"\1/"), *layers)}

    @nn.compact
    def __call__(self, x: Float[Array | np.ndarray, "b h w c"], *, train: bool = False) -> tuple[Float[Array, "b _ _ _"], ...]:
        """Feature maps at strides 2, 4, 8 and 16 of images [B, H, W, C] of any size.

        Raises:
            ValueError: `depth` is not 3, 4 or 5, or `output_stride` not 32.
        """
        check_depth(self.depth, self.output_stride, dilates=False)
        x = extend_to_least(x, self.kernel_size + 14)
        x = nn.relu(Conv(self.features, self.kernel_size, 2, padding="VALID", **self.types, name="conv1")(x))
        maps = [x]
        for number, (squeezed, expanded) in enumerate(FIRES, start=2):
            if number in (2, *self.pools):
                if len(maps) == self.depth:
                    break
                x = max_pool(x, 3, 2, ceil_mode=True)
                maps.append(x)
            x = _Fire(squeezed, expanded, **self.types, name=f"fire{number}")(x)
            maps[-1] = x
        return tuple(maps)


class _Fire(Layer):
    """A 1x1 convolution to few channels, then a 1x1 and a 3x3 convolution side by side."""

    squeezed: int
    expanded: int

    @nn.compact
    def __call__(self, x):
        x = nn.relu(PointwiseConv(self.squeezed, **self.types, name="squeeze")(x))
        narrow = PointwiseConv(self.expanded, **self.types, name="expand1x1")(x)
        wide = Conv(self.expanded, 3, padding=1, **self.types, name="expand3x3")(x)
        # XLA does not fuse a ReLU with the biases across a concatenation: a training step of SqueezeNet 1.1 took 7 % longer.
        return jnp.concatenate([nn.relu(narrow), nn.relu(wide)], axis=-1)


_PAPER = "Iandola et al., SqueezeNet, arXiv:1602.07360"
SQUEEZENETS = {
    name: Encoder(partial(SqueezeNet, *fields), _PAPER, f"torchvision {name}", count, channels, (2, 4, 8, 16))
    for name, fields, count, channels in (
        ("squeezenet1_0", (96, 7, (5, 9)), 735_424, (96, 256, 512, 512)),
        ("squeezenet1_1", (64, 3, (4, 6)), 722_496, (64, 128, 256, 512)),
    )
}
"""Version 1.0 is the paper's; 1.1 takes less than half the operations."""
