"""SqueezeNet's image classifier: fully convolutional, as the paper's table 1 has it."""

from typing import Any, ClassVar

import flax.linen as nn
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from fcn.encoders.squeezenet import SqueezeNet
from fcn.layers import ImageNetwork, PointwiseConv


class SqueezeNetClassifier(ImageNetwork):
    """Dropout, a 1x1 convolution to the classes and ReLU on the last map, averaged over all pixels.

    Attributes (more in `Network`):
        encoder: a `SqueezeNet`.
        num_classes: channels of the logits.
        head_padding: zeros around the last map before the 1x1 convolution, whose border then consists of biases: 1 in the
            authors' Caffe network, 0 in torchvision's. (The former takes values 0..255 in the order blue, green, red, minus
            (104, 117, 123).)
        dropout_rate: dropout before the convolution in training; takes the rng "dropout".
        axis_name: no effect (there is no BatchNorm).
    """

    encoder: SqueezeNet
    num_classes: int
    head_padding: int = 0
    dropout_rate: float = 0.5

    references: ClassVar = {
        "torchvision": ((r"^encoder\.", ""), ("^score$", "classifier.1")),
        "caffe": ((r"^encoder\.", ""), ("^score$", "conv_final")),
    }
    needs: ClassVar = {
        "torchvision": ("head_padding", 0, "torchvision's SqueezeNet does not pad its head"),
        "caffe": ("head_padding", 1, "Caffe's SqueezeNet pads its head"),
    }
    heads: ClassVar = ("score",)

    @nn.compact
    def __call__(self, x: Float[Array | np.ndarray, "b h w c"], *, train: bool = False) -> Float[Array, "b k"]:
        """Logits [B, num_classes], float32 and not negative, of images [B, H, W, C] of any size."""
        x = nn.Dropout(self.dropout_rate, deterministic=not train)(self.encoder(x, train=train)[-1])
        around = (self.head_padding, self.head_padding)
        x = jnp.pad(x, ((0, 0), around, around, (0, 0)))
        x = nn.relu(PointwiseConv(self.num_classes, **self.types, name="score")(x))
        return jnp.mean(x.astype(jnp.float32), axis=(1, 2))


def squeezenet_classifier(
    constructor: Any,
    *,
    num_classes: int,
    head_padding: int = 0,
    dropout_rate: float = 0.5,
    dtype: Any = None,
    param_dtype: Any = jnp.float32,
    axis_name: str | None = None,
) -> SqueezeNetClassifier:
    """A `SqueezeNetClassifier` on a new encoder.

    Args:
        constructor: of the encoder.
        num_classes: channels of the logits.
        head_padding: zeros around the last map.
        dropout_rate: dropout before the last convolution.
        dtype: type of the computation.
        param_dtype: type of the parameters.
        axis_name: no effect (there is no BatchNorm).
    """
    types = {"dtype": dtype, "param_dtype": param_dtype, "axis_name": axis_name}
    return SqueezeNetClassifier(constructor(**types), num_classes, head_padding, dropout_rate, **types)
