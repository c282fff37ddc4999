"""U-Net exactly as published: valid convolutions, 572 x 572 -> 388 x 388.

Ronneberger, Fischer, Brox, "U-Net: Convolutional Networks for Biomedical Image Segmentation", MICCAI 2015, section 2, figure 1.
"""

from functools import partial

import flax.linen as nn
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from fcn.layers import Conv, ConvTranspose, ImageNetwork, PointwiseConv, fan_in_scaling, max_pool
from fcn.models.parts.supervision import sow_coarse_logits

he_normal = fan_in_scaling(2.0, "normal")  # standard deviation sqrt(2 / N), section 3


class UNet2015(ImageNetwork):
    """The network of figure 1: 23 convolutions, 31,030,658 parameters with one input channel and two classes.

    Its output is smaller than its input: logit (i, j) belongs to pixel (i + m, j + m), where m is half the difference of the
    sizes (92 at depth 4). The paper covers large images by overlapping tiles, with mirrored borders.

    Attributes (more in `Network`):
        num_classes: channels of the logits.
        base_features: channels of the finest level; each level below has twice as many.
        depth: number of 2x2 max-pools.
        dropout_rate: dropout on the two coarsest levels of the contracting path in training; takes the rng "dropout". The paper
            says where but not how much; 0.5 is customary.
        deep_supervision: whether coarser maps of the decoder have heads, too, which training sees; see
            `fcn.models.parts.supervision`. The paper has none.
        axis_name: no effect (there is no BatchNorm).
    """

    num_classes: int
    base_features: int = 64
    depth: int = 4
    dropout_rate: float = 0.5
    deep_supervision: bool = False

    def input_margins(self, height: int, width: int) -> tuple[tuple[int, int], tuple[int, int]]:
        """Pixels that an image of this size lacks at ((top, bottom), (left, right)) for the logits to cover it.

        With them (mirrored, as the paper says in section 2) logit (i, j) belongs to pixel (i, j).
        """
        first, step, margin = _sizes(self.depth)

        def lacks(side):
            return margin // 2, max(first, side + margin + (first - side - margin) % step) - side - margin // 2

        return lacks(height), lacks(width)

    @nn.compact
    def __call__(self, x: Float[Array | np.ndarray, "b h w c"], *, train: bool = False) -> Float[Array, "b h2 w2 k"]:
        """Logits [B, output_size(H), output_size(W), num_classes], float32, of images [B, H, W, C].

        Raises:
            ValueError: where H or W is not a valid size; the message names the nearest ones.
        """
        types = {**self.types, "kernel_init": he_normal}
        conv = partial(Conv, kernel_size=3, padding="VALID", **types)
        dropout = partial(nn.Dropout, self.dropout_rate, deterministic=not train)
        for side in x.shape[1:3]:
            output_size(side, self.depth)

        def two_convolutions(x, features, name):
            x = nn.relu(conv(features, name=f"{name}_conv1")(x))
            return nn.relu(conv(features, name=f"{name}_conv2")(x))

        x = jnp.asarray(x)
        skips, maps = [], []
        for level in range(self.depth + 1):
            x = x if level == 0 else max_pool(x, 2)
            x = two_convolutions(x, self.base_features * 2**level, f"encoder{level}")
            x = x if level < self.depth - 1 else dropout()(x)
            skips.append(x)
        for level in reversed(range(self.depth)):
            x = ConvTranspose(self.base_features * 2**level, 2, 2, **types, name=f"up{level}")(x)
            x = jnp.concatenate([_crop(skips[level], x.shape), x], axis=-1)
            x = two_convolutions(x, self.base_features * 2**level, f"decoder{level}")
            maps.append(x)
        if self.deep_supervision:
            sow_coarse_logits(self, maps, self.num_classes, None, x.shape[1:3], **types)
        return PointwiseConv(self.num_classes, **types, name="head")(x).astype(jnp.float32)


def output_size(size: int, depth: int = 4) -> int:
    """The side of the logits for an image of side `size`: 388 for 572.

    Raises:
        ValueError: where `size` is not a valid size (some max-pool would see an odd side, or nothing would be left).
    """
    first, step, margin = _sizes(depth)
    if not isinstance(size, int):
        raise ValueError(f"a side of {size} pixels is not a number, and unet2015 takes but some: export it for one of them")
    below = size - (size - first) % step
    if size < first or below != size:
        nearest = f"{first}" if size < first else f"{below} or {below + step}"
        raise ValueError(f"a side of {size} pixels is not valid for unet2015 of depth {depth}; the nearest are {nearest}")
    return size - margin


def valid_sizes(low: int, high: int, depth: int = 4) -> list[int]:
    """All sides from `low` to `high`, both included, that the network takes: 188, 204, ... 572, ... for depth 4."""
    first, step, _ = _sizes(depth)
    return [size for size in range(first, high + 1, step) if size >= low]


def _sizes(depth: int) -> tuple[int, int, int]:
    """Smallest valid side, distance between valid sides, and what the output lacks.

    Going up from a coarsest level of side b, each level is twice the one below plus 4: 2^d b + 4 (2^d - 1). The output lacks 4
    cells per block of two convolutions: 4 at each level on the way down and up, at the coarsest once, counted in fine pixels.
    """
    step = 2**depth
    lost_below = 4 * (step - 1)
    margin = 2 * lost_below + 4 * step
    smallest = (margin - lost_below) // step + 1
    return step * smallest + lost_below, step, margin


def _crop(x: Array, shape: tuple[int, ...]) -> Array:
    """The centre of `x`, with the height and width of `shape`."""
    top, left = (x.shape[1] - shape[1]) // 2, (x.shape[2] - shape[2]) // 2
    return x[:, top : top + shape[1], left : left + shape[2]]
