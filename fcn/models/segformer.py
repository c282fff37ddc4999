"""SegFormer.

Xie, Wang, Yu, Anandkumar, Alvarez, Luo, "SegFormer: Simple and Efficient Design for Semantic Segmentation with Transformers",
NeurIPS 2021, figure 2 and section 3.2 (the decoder), in the form of segmentation_models_pytorch. The paper's encoders are
"mit_b0" to "mit_b5".
"""

import functools
import operator
from typing import ClassVar

import flax.linen as nn
import jax.numpy as jnp
import numpy as np
from flax.linen.dtypes import promote_dtype
from jaxtyping import Array, Float

from fcn.encoders.padding import extend_to_multiple
from fcn.layers import BatchNorm, Dense, Layer, NormLayer, convolve_pointwise, he_uniform, resize_bilinear, xavier_uniform
from fcn.models.parts.blocks import Conv2dReLU
from fcn.models.parts.encoder_decoder import EncoderDecoder
from fcn.models.parts.heads import SegmentationHead


class SegFormer(EncoderDecoder):
    """A dense layer on each map of the encoder, all brought to stride 4, one more layer over them, scored and enlarged.

    Departs from the paper: takes any encoder (and its map of stride 2, if there is one, shrunk), with ResNet-34 as default;
    BatchNorm and ReLU in the layer over all maps, as in the authors' code; no dropout before the head; the logits are enlarged.
    Images whose sides do not divide by 2**encoder_depth are extended by repeating the last row and column, and the logits are
    cropped.

    Attributes (more in `EncoderDecoder`):
        decoder_segmentation_channels: channels of all layers of the decoder.
        upsampling: factor by which the logits of stride 4 are enlarged; they have the image's size with 4, else a fraction
            (rounded up) or a multiple of it.
    """

    decoder_segmentation_channels: int = 256
    upsampling: int = 4

    @nn.compact
    def __call__(self, x: Float[Array | np.ndarray, "b h w c"], *, train: bool = False) -> Float[Array, "b h2 w2 k"]:
        """Logits [B, H, W, num_classes], float32, of images [B, H, W, C] of any size.

        Raises:
            ValueError: for an unknown encoder, or a depth that is not 3, 4 or 5.
        """
        _, height, width, _ = x.shape
        x = extend_to_multiple(x, 2**self.encoder_depth)
        size = x.shape[1] // 4, x.shape[2] // 4
        maps = [feature for feature in self.encode(x, train)[1:] if feature is not None]
        decoder = _Decoder(self.decoder_segmentation_channels, **self.norm_types, name="decoder")
        x = decoder(maps, size, train=train)
        x = SegmentationHead(self.num_classes, 1, self.upsampling, **self.head, name="segmentation_head")(x)
        return x[:, : -(-height * self.upsampling // 4), : -(-width * self.upsampling // 4)]


class _Decoder(NormLayer):
    """The coarsest map comes first."""

    features: int

    @nn.compact
    def __call__(self, maps, size, *, train):
        maps = [_Linear(self.features, **self.types, name=f"mlp_stage_{i}")(x) for i, x in enumerate(reversed(maps))]
        return _Fuse(self.features, **self.norm_types, name="fuse_stage")(maps, size, train=train)


class _Fuse(NormLayer):
    """All maps in one size and beside each other, a 1x1 convolution, BatchNorm and ReLU."""

    features: int

    references: ClassVar = Conv2dReLU.references

    @nn.compact
    def __call__(self, maps, size, *, train):
        x = _PointwiseOfResized(self.features, **self.types, name="conv")(maps, size)
        return nn.relu(BatchNorm(**self.norm_types, name="norm")(x, train=train))


class _PointwiseOfResized(Layer):
    """A 1x1 convolution of maps brought to one size and put beside each other, without a bias.

    Both are linear, one in the channels and one in the positions, so they can be exchanged: each map is multiplied by its part
    of the kernel while it is small.
    """

    features: int

    @nn.compact
    def __call__(self, maps, size):
        channels = [x.shape[-1] for x in maps]
        kernel = self.param("kernel", he_uniform, (1, 1, sum(channels), self.features), self.param_dtype)
        *maps, kernel = promote_dtype(*maps, kernel, dtype=self.dtype)
        kernels = jnp.split(kernel, np.cumsum(channels)[:-1], axis=2)

        def product(x, kernel):
            if x.shape[1] > size[0]:
                return convolve_pointwise(resize_bilinear(x, size), kernel)
            return resize_bilinear(convolve_pointwise(x, kernel), size)

        return functools.reduce(operator.add, map(product, maps, kernels))


class _Linear(Layer):
    features: int

    @nn.compact
    def __call__(self, x):
        return Dense(self.features, kernel_init=xavier_uniform, **self.types, name="linear")(x)
