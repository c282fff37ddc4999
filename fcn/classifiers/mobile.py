"""Image classifiers of the mobile networks, as in torchvision and in EfficientNet's PyTorch form.

Howard et al., "Searching for MobileNetV3", ICCV 2019, tables 1 and 2 (the last rows); Tan, Le, "EfficientNet", ICML 2019,
table 1 (stage 9).
"""

from typing import Any, ClassVar, cast

import flax.linen as nn
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from fcn.classifiers.dense import PooledClassifier
from fcn.encoders.blocks import round_channels
from fcn.encoders.efficientnet import CLASSIFIER_DROPOUT, EFFICIENTNETS, EfficientNet
from fcn.encoders.mobilenet_v2 import MobileNetV2
from fcn.layers import BatchNorm, Dense, ImageNetwork, PointwiseConv


class HiddenClassifier(ImageNetwork):
    """The last map of an encoder, averaged over all pixels, a dense layer with hard swish, dropout, and a dense layer.

    Attributes (more in `Network`):
        encoder: any module from images to a tuple of feature maps.
        num_classes: channels of the logits.
        hidden: channels of the first dense layer.
        dropout_rate: dropout before the last one in training; takes the rng "dropout".
        axis_name: no effect here (the encoder has its own).
    """

    encoder: nn.Module
    num_classes: int
    hidden: int
    dropout_rate: float = 0.2

    references: ClassVar = {"torchvision": ((r"^encoder\.", ""),)}
    heads: ClassVar = ("classifier_3",)

    @nn.compact
    def __call__(self, x: Float[Array | np.ndarray, "b h w c"], *, train: bool = False) -> Float[Array, "b k"]:
        """Logits [B, num_classes], float32, of images [B, H, W, C] of any size."""
        x = jnp.mean(self.encoder(x, train=train)[-1], axis=(1, 2))
        x = nn.hard_swish(Dense(self.hidden, **self.types, name="classifier_0")(x))
        x = nn.Dropout(self.dropout_rate, deterministic=not train)(x)
        return Dense(self.num_classes, **self.types, name="classifier_3")(x).astype(jnp.float32)


def mobilenet_v3_classifier(
    constructor: Any,
    hidden: int,
    *,
    num_classes: int,
    dropout_rate: float = 0.2,
    dtype: Any = None,
    param_dtype: Any = jnp.float32,
    axis_name: str | None = None,
) -> HiddenClassifier:
    """MobileNetV3 with its dense layers.

    Args:
        constructor: of the encoder.
        hidden: channels of the hidden layer.
        num_classes: channels of the logits.
        dropout_rate: dropout after the hidden layer.
        dtype: type of the computation.
        param_dtype: type of the parameters.
        axis_name: the pmap axis over which BatchNorm takes its statistics.
    """
    types = {"dtype": dtype, "param_dtype": param_dtype, "axis_name": axis_name}
    return HiddenClassifier(constructor(**types), num_classes, hidden, dropout_rate, **types)


def mobilenet_v2_classifier(
    *,
    num_classes: int,
    width: float = 1.0,
    dropout_rate: float = 0.2,
    dtype: Any = None,
    param_dtype: Any = jnp.float32,
    axis_name: str | None = None,
) -> PooledClassifier:
    """MobileNetV2 with its dense layer.

    Args:
        num_classes: channels of the logits.
        width: factor on the numbers of channels of the convolutions.
        dropout_rate: dropout before the dense layer.
        dtype: type of the computation.
        param_dtype: type of the parameters.
        axis_name: the pmap axis over which BatchNorm takes its statistics.
    """
    types = {"dtype": dtype, "param_dtype": param_dtype, "axis_name": axis_name}
    return PooledClassifier(MobileNetV2(width, **types), num_classes, "classifier_1", dropout_rate, **types)


class EfficientNetClassifier(ImageNetwork):
    """The last map of an EfficientNet, a 1x1 convolution to 1280 channels (times the width), average, dropout, dense layer.

    Attributes (more in `Network`):
        encoder: an EfficientNet.
        num_classes: channels of the logits.
        dropout_rate: dropout before the last layer in training; takes the rng "dropout".
    """

    encoder: EfficientNet
    num_classes: int
    dropout_rate: float = 0.2

    references: ClassVar = {"smp": ((r"^encoder\.", ""), ("^(conv_head|bn1|fc)$", r"_\1"))}
    heads: ClassVar = ("fc",)

    @nn.compact
    def __call__(self, x: Float[Array | np.ndarray, "b h w c"], *, train: bool = False) -> Float[Array, "b k"]:
        """Logits [B, num_classes], float32, of images [B, H, W, C] of any size."""
        features = round_channels(1280 * self.encoder.width)
        x = PointwiseConv(features, use_bias=False, **self.types, name="conv_head")(self.encoder(x, train=train)[-1])
        x = nn.silu(BatchNorm(0.99, 1e-3, **self.norm_types, name="bn1")(x, train=train))
        x = nn.Dropout(self.dropout_rate, deterministic=not train)(jnp.mean(x, axis=(1, 2)))
        return Dense(self.num_classes, **self.types, name="fc")(x).astype(jnp.float32)


def efficientnet_classifier(
    efficientnet: str,
    *,
    num_classes: int,
    dropout_rate: float | None = None,
    drop_path_rate: float = 0.0,
    dtype: Any = None,
    param_dtype: Any = jnp.float32,
    axis_name: str | None = None,
) -> EfficientNetClassifier:
    """EfficientNet with its last layers.

    Args:
        efficientnet: a name such as "efficientnet-b0".
        num_classes: channels of the logits.
        dropout_rate: dropout before the last layer; None takes the published one, 0.2 to 0.5.
        drop_path_rate: of the encoder.
        dtype: type of the computation.
        param_dtype: type of the parameters.
        axis_name: the pmap axis over which BatchNorm takes its statistics.
    """
    types = {"dtype": dtype, "param_dtype": param_dtype, "axis_name": axis_name}
    encoder = cast("EfficientNet", EFFICIENTNETS[efficientnet].constructor(drop_path_rate=drop_path_rate, **types))
    rate = CLASSIFIER_DROPOUT[efficientnet] if dropout_rate is None else dropout_rate
    return EfficientNetClassifier(encoder, num_classes, rate, **types)
