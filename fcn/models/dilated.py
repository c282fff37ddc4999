"""FCN and DeepLabV3 on dilated encoders, as in torchvision.

Long, Shelhamer, Darrell, "Fully Convolutional Networks for Semantic Segmentation", CVPR 2015; Chen, Papandreou, Schroff, Adam,
"Rethinking Atrous Convolution for Semantic Image Segmentation", arXiv:1706.05587. Neither is its paper's network: here FCN is a
head of two convolutions on an encoder of stride 8, as later papers call it.
"""

from typing import ClassVar

import flax.linen as nn
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from fcn.layers import ConvNormRelu, NormLayer, PointwiseConv, resize_bilinear
from fcn.models.parts.aspp import ASPP
from fcn.models.parts.backbone import WithBackbone
from fcn.models.parts.with_encoder import AnyEncoder


class FCN(WithBackbone):
    """A dilated encoder with a head on its last map, and one on an earlier map that helps to train it.

    The logits of both heads are enlarged bilinearly to the image's size. Those of the auxiliary head are no part of the result:
    `model.apply(..., mutable=["aux_logits"])` gives them in `"aux_logits"`.

    Attributes (more in `WithBackbone`):
        aux: build the auxiliary head. Without it, its tensors in a checkpoint are left aside.
        aux_stride: the auxiliary head takes the map that has this stride in the encoder that is not dilated.
        dropout: rate of the dropout in the head on the last map, in training; takes the rng "dropout".
        aux_dropout: the same of the auxiliary head.
    """

    encoder: AnyEncoder = "resnet50"
    encoder_output_stride: int = 8
    aux: bool = True
    aux_stride: int = 16
    dropout: float = 0.1
    aux_dropout: float = 0.1

    heads: ClassVar = ("classifier", "aux_classifier")

    @property
    def unused(self) -> tuple[str, ...]:
        """Tensors of a checkpoint with an auxiliary head, where this has none."""
        return () if self.aux else ("aux_classifier.",)

    @nn.compact
    def __call__(self, x: Float[Array | np.ndarray, "b h w c"], *, train: bool = False) -> Float[Array, "b h w k"]:
        """Logits [B, H, W, num_classes], float32, of images [B, H, W, C] of any size.

        Raises:
            ValueError: for an encoder that cannot be dilated, a module of another stride, or one that has no `aux_stride`.
        """
        strides = self.encoder_strides(x.shape[-1])
        if self.aux and self.aux_stride not in strides:
            raise ValueError(
                f"aux_stride is {self.aux_stride}; encoder {self.encoder_text()} has maps of the strides {strides}"
            )
        self.check_stride(min(self.encoder_output_stride, strides[-1]), x.shape[-1])
        maps, size = self.own_encoder(x, train=train), x.shape[1:3]
        if self.aux and (self.is_initializing() or self.is_mutable_collection("aux_logits")):
            head = FCNHead(self.num_classes, self.aux_dropout, **self.norm_types, name="aux_classifier")
            logits = resize_bilinear(head(maps[strides.index(self.aux_stride)], train=train), size, align_corners=False)
            if not self.is_initializing():
                self.sow("aux_logits", "stage", logits)
        return resize_bilinear(self.make_head()(maps[-1], train=train), size, align_corners=False)

    def make_head(self) -> nn.Module:
        """The head on the last map."""
        return FCNHead(self.num_classes, self.dropout, **self.norm_types, name="classifier")


class DeepLabV3Torchvision(FCN):
    """FCN with DeepLabV3's head: atrous spatial pyramid pooling, a 3x3 convolution, scores. Attributes: see `FCN`."""

    dropout: float = 0.5

    def make_head(self) -> nn.Module:
        """The head on the last map."""
        return DeepLabHead(self.num_classes, self.dropout, **self.norm_types, name="classifier")


class FCNHead(NormLayer):
    """A 3x3 convolution to a quarter of the channels, BatchNorm, ReLU, dropout, and scores.

    Attributes (more in `NormLayer`):
        num_classes: channels of the logits.
        dropout: rate of the dropout in training; takes the rng "dropout".
    """

    num_classes: int
    dropout: float = 0.1

    references: ClassVar = {"torchvision": ((r"^block\.conv$", "0"), (r"^block\.bn$", "1"), ("^score$", "4"))}

    @nn.compact
    def __call__(self, x: Float[Array, "b h w c"], *, train: bool = False) -> Float[Array, "b h w k"]:
        """Logits, float32, of maps [B, H, W, C]; in training takes the rng "dropout"."""
        x = ConvNormRelu(x.shape[-1] // 4, **self.norm_types, name="block")(x, train=train)
        x = nn.Dropout(self.dropout, deterministic=not train)(x)
        return PointwiseConv(self.num_classes, **self.types, name="score")(x).astype(jnp.float32)


class DeepLabHead(NormLayer):
    """Atrous spatial pyramid pooling, a 3x3 convolution, BatchNorm, ReLU, and scores.

    Attributes (more in `NormLayer`):
        num_classes: channels of the logits.
        dropout: rate of the dropout in training; takes the rng "dropout".
    """

    num_classes: int
    dropout: float = 0.5

    references: ClassVar = {
        "torchvision": ((r"^aspp\.", "0."), (r"^block\.conv$", "1"), (r"^block\.bn$", "2"), ("^score$", "4"))
    }

    @nn.compact
    def __call__(self, x: Float[Array, "b h w c"], *, train: bool = False) -> Float[Array, "b h w k"]:
        """Logits, float32, of maps [B, H, W, C]; in training takes the rng "dropout"."""
        x = ASPP(256, dropout=self.dropout, **self.norm_types, name="aspp")(x, train=train)
        x = ConvNormRelu(256, **self.norm_types, name="block")(x, train=train)
        return PointwiseConv(self.num_classes, **self.types, name="score")(x).astype(jnp.float32)
