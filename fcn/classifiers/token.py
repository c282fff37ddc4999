"""The image classifier of ViT, as in timm. Dosovitskiy et al., ICLR 2021, equation 4."""

from typing import Any, ClassVar

import flax.linen as nn
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from fcn.encoders.vit import VisionTransformer
from fcn.layers import Dense, ImageNetwork


class TokenClassifier(ImageNetwork):
    """The last class token of a Vision Transformer, LayerNorm, and a dense layer.

    Attributes (more in `Network`):
        encoder: a Vision Transformer.
        num_classes: channels of the logits.
        dropout_rate: dropout before the dense layer in training; takes the rng "dropout".
        axis_name: no effect here (there is no BatchNorm).
    """

    encoder: VisionTransformer
    num_classes: int
    dropout_rate: float = 0.0

    references: ClassVar = {"timm": ((r"^encoder\.?", ""),)}
    heads: ClassVar = ("head",)

    @nn.compact
    def __call__(self, x: Float[Array | np.ndarray, "b h w c"], *, train: bool = False) -> Float[Array, "b k"]:
        """Logits [B, num_classes], float32, of images [B, H, W, C] of any size."""
        _, token = self.encoder.with_tokens(x, train=train)[-1]
        token = nn.LayerNorm(epsilon=1e-6, **self.types, name="norm")(token)
        token = nn.Dropout(self.dropout_rate, deterministic=not train)(token)
        return Dense(self.num_classes, **self.types, name="head")(token).astype(jnp.float32)


def token_classifier(
    constructor: Any,
    *,
    num_classes: int,
    img_size: int = 224,
    dropout_rate: float = 0.0,
    dtype: Any = None,
    param_dtype: Any = jnp.float32,
    axis_name: str | None = None,
) -> TokenClassifier:
    """A `TokenClassifier` on a new encoder.

    Args:
        constructor: of the encoder.
        num_classes: channels of the logits.
        img_size: height and width of the images for which positions are learned.
        dropout_rate: dropout before the dense layer.
        dtype: type of the computation.
        param_dtype: type of the parameters.
        axis_name: no effect here (there is no BatchNorm).
    """
    types = {"dtype": dtype, "param_dtype": param_dtype, "axis_name": axis_name}
    return TokenClassifier(constructor(img_size=img_size, **types), num_classes, dropout_rate, **types)
