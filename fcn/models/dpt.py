"""DPT, the Dense Prediction Transformer.

Ranftl, Bochkovskiy, Koltun, "Vision Transformers for Dense Prediction", ICCV 2021, figure 1 (reassemble and fusion), equations
4 and 5 (read-out), in the form of segmentation_models_pytorch.
"""

from functools import partial
from typing import Any, ClassVar

import flax.linen as nn
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from fcn.encoders.padding import extend_to_multiple
from fcn.encoders.vit import PATCH, VISION_TRANSFORMERS, VisionTransformer, evenly_spaced
from fcn.errors import unknown
from fcn.layers import BatchNorm, Conv, ConvTranspose, Dense, Layer, NormLayer, PointwiseConv, gelu, he_uniform, resize_bilinear
from fcn.models.parts.encoder_decoder import EncoderDecoder
from fcn.models.parts.heads import activate
from fcn.models.parts.with_encoder import AnyEncoder

READOUTS = ("cat", "add", "ignore")


class DPT(EncoderDecoder):
    """Maps of a Vision Transformer, brought to strides 4, 8, 16 and 32, fused from coarse to fine, scored and enlarged.

    Departs from the paper: BatchNorm in the residual blocks by default; one convolution less in front of the fusion. Images of
    any size: the positions of the encoder are resized (see `VisionTransformer`; smp takes `dynamic_img_size` for that). Where
    sides do not divide by 32 (16 if `encoder_depth` is below 4), images are extended by repeating the last row and column, and
    the logits are cropped.

    Attributes (more in `EncoderDecoder`):
        encoder: a Vision Transformer.
        encoder_depth: number of maps taken from the encoder; the first is brought to stride 4, the next to 8, and so on.
        encoder_output_indices: the blocks of the encoder after which maps are taken, one for each; later ones are left out.
            None spaces them evenly.
        decoder_readout: what is done with the class token: "cat" (with each pixel, and a dense layer), "add" or "ignore".
        decoder_intermediate_channels: channels of each map while its size changes.
        decoder_fusion_channels: channels of the maps that are fused.
        img_size: height and width of the images for which the encoder's positions are learned.
        dropout_rate: dropout in the head in training; takes the rng "dropout".
    """

    encoder: AnyEncoder = "vit_base_patch16"
    encoder_depth: int = 4
    encoder_output_indices: tuple[int, ...] | None = None
    decoder_readout: str = "cat"
    decoder_intermediate_channels: tuple[int, ...] = (256, 512, 1024, 1024)
    decoder_fusion_channels: int = 256
    img_size: int = 224
    dropout_rate: float = 0.1

    @nn.compact
    def __call__(self, x: Float[Array | np.ndarray, "b h w c"], *, train: bool = False) -> Float[Array, "b h w k"]:
        """Logits [B, H, W, num_classes], float32, of images [B, H, W, C] of any size.

        Raises:
            ValueError: for an encoder that is no Vision Transformer, an unknown value of an option, or a number of channels or
                blocks that is not `encoder_depth`.
        """
        self._check()
        _, height, width, _ = x.shape
        x = extend_to_multiple(x, max(PATCH, 2 ** (self.encoder_depth + 1)))
        maps = self.own_encoder.with_tokens(x, train=train)
        if len(maps) != self.encoder_depth:
            raise ValueError(f"the encoder gives {len(maps)} maps, but encoder_depth is {self.encoder_depth}")
        if self.aux_params is not None:
            self._classify(self.aux_params, maps[-1][0], train)
        decoder = _Decoder(
            self.decoder_readout,
            self.decoder_intermediate_channels,
            self.decoder_fusion_channels,
            **self.norm_types,
            name="decoder",
        )
        x = decoder(maps, train=train)
        head = _Head(self.num_classes, self.dropout_rate, **self.norm_types, name="segmentation_head")
        return activate(self.activation, head(x, train=train)[:, :height, :width])

    @nn.nowrap
    def make_encoder(self) -> nn.Module:
        """The encoder, not yet bound.

        Raises:
            ValueError: for what is no Vision Transformer.
        """
        if self.encoder_family() is not VisionTransformer:
            raise ValueError(f"encoder {self.encoder_text()} has no class token; DPT takes {', '.join(VISION_TRANSFORMERS)}")
        return super().make_encoder()

    @nn.nowrap
    def encoder_options(self) -> dict[str, Any]:
        """What an encoder that is no module yet is made with."""
        indices = self.encoder_output_indices or evenly_spaced(self.encoder_depth, 12)
        return {"indices": tuple(indices), "img_size": self.img_size, **self.norm_types}

    def _check(self) -> None:
        if self.decoder_readout not in READOUTS:
            raise unknown("decoder_readout", self.decoder_readout, READOUTS)
        for name in ("encoder_output_indices", "decoder_intermediate_channels"):
            values = getattr(self, name)
            if values is not None and len(values) != self.encoder_depth:
                raise ValueError(f"{name}={tuple(values)} has {len(values)} entries, but encoder_depth is {self.encoder_depth}")


class _Decoder(NormLayer):
    """The maps, finest first, read out and reassembled; then fused from the coarsest to the finest, of stride 2."""

    readout: str
    intermediate_channels: tuple[int, ...]
    features: int

    references: ClassVar = {"smp": ((r"^(projection_blocks\.\d+)$", r"\1.project.0"),)}

    @nn.compact
    def __call__(self, maps, *, train):
        reassembled = []
        for i, (x, token) in enumerate(maps):
            token = token[:, None, None, :]
            if self.readout == "cat":
                x = jnp.concatenate([x, jnp.broadcast_to(token, x.shape)], axis=-1)
                x = Dense(token.shape[-1], **self.types, name=f"projection_blocks_{i}")(x)
                x = gelu(x)
            elif self.readout == "add":
                x = x + token
            channels = self.intermediate_channels[i], self.features
            reassembled.append(_Reassemble(*channels, 2 ** (i + 2), **self.types, name=f"reassemble_blocks_{i}")(x))
        fuse = partial(_Fusion, self.features, **self.norm_types)
        *finer, coarsest = reassembled
        fused = fuse(name="fusion_blocks_0")(coarsest, None, train=train)
        for i, x in enumerate(reversed(finer), start=1):
            fused = fuse(name=f"fusion_blocks_{i}")(x, fused, train=train)
        return fused


class _Reassemble(Layer):
    """A map of stride 16 at another stride."""

    intermediate: int
    features: int
    stride: int

    @nn.compact
    def __call__(self, x):
        types = {**self.types, "kernel_init": he_uniform}
        x = PointwiseConv(self.intermediate, **types, name="project_to_out_channel")(x)
        if self.stride < PATCH:
            factor = PATCH // self.stride
            x = ConvTranspose(self.intermediate, factor, factor, **types, name="upsample")(x)
        elif self.stride > PATCH:
            x = Conv(self.intermediate, 3, self.stride // PATCH, padding=1, **types, name="upsample")(x)
        return Conv(self.features, 3, padding=1, use_bias=False, **types, name="project_to_feature_dim")(x)


class _Fusion(NormLayer):
    """A residual block, what the coarser maps gave, one more residual block, twice the size, a 1x1 convolution."""

    features: int

    @nn.compact
    def __call__(self, x, coarser, *, train):
        block = partial(_Residual, self.features, **self.norm_types)
        x = block(name="residual_conv_block1")(x, train=train)
        if coarser is not None:
            x = x + coarser
        x = block(name="residual_conv_block2")(x, train=train)
        x = resize_bilinear(x, (2 * x.shape[1], 2 * x.shape[2]), align_corners=True)
        return PointwiseConv(self.features, kernel_init=he_uniform, **self.types, name="project")(x)


class _Residual(NormLayer):
    """Twice ReLU, a 3x3 convolution and BatchNorm, added to the input."""

    features: int

    references: ClassVar = {"smp": ((r"^(conv|batch_norm)\.", r"\1_"),)}

    @nn.compact
    def __call__(self, x, *, train):
        y = x
        for i in (1, 2):
            options = {"padding": 1, "use_bias": False, "kernel_init": he_uniform}
            y = Conv(self.features, 3, **options, **self.types, name=f"conv_{i}")(nn.relu(y))
            y = BatchNorm(**self.norm_types, name=f"batch_norm_{i}")(y, train=train)
        return x + y


class _Head(NormLayer):
    """A convolution with BatchNorm and ReLU, dropout, a 1x1 convolution to the classes, twice the size."""

    num_classes: int
    dropout_rate: float

    references: ClassVar = {"smp": (("^conv$", "head.0"), ("^norm$", "head.1"), ("^score$", "head.4"))}

    @nn.compact
    def __call__(self, x, *, train):
        x = Conv(x.shape[-1], 3, padding=1, use_bias=False, **self.types, name="conv")(x)
        x = nn.relu(BatchNorm(**self.norm_types, name="norm")(x, train=train))
        x = nn.Dropout(self.dropout_rate, deterministic=not train)(x)
        x = PointwiseConv(self.num_classes, **self.types, name="score")(x).astype(jnp.float32)
        return resize_bilinear(x, (2 * x.shape[1], 2 * x.shape[2]), align_corners=True)
