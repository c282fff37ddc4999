"""FPN for segmentation.

Lin et al., "Feature Pyramid Networks for Object Detection", CVPR 2017, figure 3, with the segmentation branch of Kirillov,
Girshick, He, Dollar, "Panoptic Feature Pyramid Networks", CVPR 2019, figure 3, in the form of segmentation_models_pytorch.
"""

import functools
import operator
from functools import partial
from typing import ClassVar

import flax.linen as nn
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from fcn.encoders.padding import extend_to_multiple
from fcn.errors import unknown
from fcn.layers import Conv, Layer, PointwiseConv, he_uniform, resize, resize_bilinear
from fcn.models.parts.encoder_decoder import EncoderDecoder
from fcn.models.parts.heads import SegmentationHead


class FPN(EncoderDecoder):
    """A pyramid of the encoder's four coarsest maps, each brought to the finest of them, added, scored and enlarged.

    Departs from the papers: the maps of the pyramid are not convolved before the segmentation branch; bilinear interpolation
    keeps the centres of the corner pixels in place. With `encoder_depth` 3 the finest map is the image itself (with a VGG, its
    map of stride 1). Images whose sides do not divide by 2**encoder_depth are extended by repeating the last row and column,
    and the logits are cropped.

    Attributes (more in `EncoderDecoder`):
        decoder_pyramid_channels: channels of the pyramid.
        decoder_segmentation_channels: channels of the segmentation branch, a multiple of 32.
        decoder_merge_policy: "add" or "cat", how the four maps become one.
        decoder_dropout: rate at which whole channels are dropped before the head in training; takes the rng "dropout".
        decoder_interpolation: a method of `fcn.layers.resize`: "nearest", "nearest-exact", "bilinear", "bicubic" or "area".
        upsampling: factor by which the logits are enlarged. None: 2**(encoder_depth - 3), 4 at full depth, so that they have
            the image's size; with another number they have a fraction (rounded up) or a multiple of it.
    """

    decoder_pyramid_channels: int = 256
    decoder_segmentation_channels: int = 128
    decoder_merge_policy: str = "add"
    decoder_dropout: float = 0.2
    decoder_interpolation: str = "nearest"
    upsampling: int | None = None

    @nn.compact
    def __call__(self, x: Float[Array | np.ndarray, "b h w c"], *, train: bool = False) -> Float[Array, "b h2 w2 k"]:
        """Logits [B, H, W, num_classes], float32, of images [B, H, W, C] of any size.

        Raises:
            ValueError: for an unknown encoder or value of an option, or an encoder that lacks a map.
        """
        _, height, width, _ = x.shape
        x = extend_to_multiple(jnp.asarray(x), 2**self.encoder_depth)
        features = self.encode(x, train)
        features = [x if features[0] is None else features[0], *features[1:]][-4:]
        if any(feature is None for feature in features):
            stride = 2 ** (self.encoder_depth - 3)
            raise ValueError(
                f"encoder {self.encoder_text()} has no map of stride {stride}, which an FPN takes; use encoder_depth=5"
            )
        decoder = _Decoder(
            self.decoder_pyramid_channels,
            self.decoder_segmentation_channels,
            policy=self.decoder_merge_policy,
            interpolation=self.decoder_interpolation,
            **self.types,
            name="decoder",
        )
        x = decoder(features)
        x = nn.Dropout(self.decoder_dropout, broadcast_dims=(1, 2), deterministic=not train)(x)
        stride = 2 ** (self.encoder_depth - 3)
        factor = stride if self.upsampling is None else self.upsampling
        x = SegmentationHead(self.num_classes, 1, factor, **self.head, name="segmentation_head")(x)
        return x[:, : -(-height * factor // stride), : -(-width * factor // stride)]


class _Decoder(Layer):
    pyramid_channels: int
    segmentation_channels: int
    policy: str
    interpolation: str

    references: ClassVar = {"smp": ((r"^(p[234])$", r"\1.skip_conv"),)}

    @nn.compact
    def __call__(self, features):
        if self.policy not in ("add", "cat"):
            raise unknown("decoder_merge_policy", self.policy, ("add", "cat"))
        lateral = partial(PointwiseConv, self.pyramid_channels, kernel_init=he_uniform, **self.types)
        branch = partial(_Branch, self.segmentation_channels, **self.types)
        c2, c3, c4, c5 = features
        p = lateral(name="p5")(c5)
        merged = [branch(3, name="seg_blocks_0")(p)]
        for i, (name, c) in enumerate((("p4", c4), ("p3", c3), ("p2", c2)), start=1):
            p = resize(p, (2 * p.shape[1], 2 * p.shape[2]), self.interpolation) + lateral(name=name)(c)
            merged.append(branch(3 - i, name=f"seg_blocks_{i}")(p))
        return functools.reduce(operator.add, merged) if self.policy == "add" else jnp.concatenate(merged, axis=-1)


class _Branch(Layer):
    """Convolution, group norm, ReLU and bilinear doubling as often as asked for; once without doubling if not at all."""

    features: int
    doublings: int

    references: ClassVar = {"smp": ((r"^conv\.(\d)$", r"block.\1.block.0"), (r"^norm\.(\d)$", r"block.\1.block.1"))}

    @nn.compact
    def __call__(self, x):
        for i in range(max(1, self.doublings)):
            x = Conv(self.features, 3, padding=1, use_bias=False, kernel_init=he_uniform, **self.types, name=f"conv_{i}")(x)
            x = nn.GroupNorm(32, epsilon=1e-5, use_fast_variance=False, **self.types, name=f"norm_{i}")(x)
            x = nn.relu(x)
            if self.doublings:
                x = resize_bilinear(x, (2 * x.shape[1], 2 * x.shape[2]), align_corners=True)
        return x
