"""StarDist's network.

Schmidt, Weigert, Broaddus, Myers, "Cell Detection with Star-Convex Polygons", MICCAI 2018, section 2.
"""

import re
from functools import partial
from typing import ClassVar

import flax.linen as nn
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from fcn.encoders.padding import extend_to_multiple
from fcn.layers import Conv, ImageNetwork, PointwiseConv, UpsampledConv, max_pool, resize_nearest


def _grid_layer(match: re.Match) -> str:
    """Those of the grid have no names in `stardist`: two in each level, the finest first."""
    level, i = divmod(int(match[1]), 2)
    return f"grid_level_{level}_no_{i}/"


class StarDistUNet(ImageNetwork):
    """The U-Net of `stardist` (`StarDist2D` of version 0.9.2), for the task `stardist`.

    Without normalisation: every 3x3 convolution has a bias and ReLU. The second convolution of a level on the way up, and that
    of the middle, has half of the level's channels already; pixels are enlarged by repetition. Two heads see 128 features: the
    first logit says that an object is there, the others are distances. With one input channel and 33 logits it has 1,406,689
    parameters, and with `grid=2` 1,425,185. Layers have the names that they have there.

    Departs from `stardist` where the sides of an image do not divide by `grid * 2**depth`: its last row and column are
    repeated, where `stardist` mirrors. With a grid logits are repeated up to the size of the image: `logits[:, ::grid, ::grid]`
    are those of the network.

    Attributes (more in `Network`):
        num_classes: channels of the logits, one more than there are rays.
        base_features: channels of the finest level; each level below has twice as many.
        depth: number of 2x2 max-pools, without those of the grid.
        head_features: channels that the heads see.
        grid: 1, 2, 4 ...: at so many pixels' distance logits are computed, by convolutions and max-pools that come first.
        axis_name: no effect (there is no BatchNorm).
    """

    num_classes: int
    base_features: int = 32
    depth: int = 3
    head_features: int = 128
    grid: int = 1

    references: ClassVar = {"stardist": ()}
    old_names: ClassVar = ((r"^conv2d_(\d+)/", _grid_layer),)

    @nn.compact
    def __call__(self, x: Float[Array | np.ndarray, "b h w c"], *, train: bool = False) -> Float[Array, "b h w k"]:
        """Logits [B, H, W, num_classes], float32, of images [B, H, W, C] of any size.

        Raises:
            ValueError: the grid is no power of two.
        """
        if self.grid & (self.grid - 1):
            raise ValueError(f"grid is {self.grid}; it must be a power of two: 1, 2, 4 ...")
        conv, up = partial(Conv, kernel_size=3, **self.types), partial(UpsampledConv, kernel_size=3, **self.types)
        features = [self.base_features * 2**level for level in range(self.depth + 1)]
        _, height, width, _ = x.shape

        x = extend_to_multiple(x, self.grid * 2**self.depth)
        for pool in range(self.grid.bit_length() - 1):
            for i in range(2):
                x = nn.relu(conv(features[0], name=f"grid_level_{pool}_no_{i}")(x))
            x = max_pool(x, 2)
        skips = []
        for level in range(self.depth):
            for i in range(2):
                x = nn.relu(conv(features[level], name=f"down_level_{level}_no_{i}")(x))
            skips.append(x)
            x = max_pool(x, 2)
        x = nn.relu(conv(features[-1], name="middle_0")(x))
        x = nn.relu(conv(features[max(0, self.depth - 1)], name="middle_2")(x))
        for level in reversed(range(self.depth)):
            x = nn.relu(up(features[level], name=f"up_level_{level}_no_0")(x, (skips[level],)))
            x = nn.relu(conv(features[max(0, level - 1)], name=f"up_level_{level}_no_2")(x))
        x = nn.relu(conv(self.head_features, name="features")(x))

        heads = [PointwiseConv(1, **self.types, name="prob")(x)]
        if self.num_classes > 1:
            heads.append(PointwiseConv(self.num_classes - 1, **self.types, name="dist")(x))
        logits = jnp.concatenate(heads, -1).astype(jnp.float32)
        return (resize_nearest(logits, self.grid) if self.grid > 1 else logits)[:, :height, :width]
