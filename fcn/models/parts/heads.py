"""Heads: a convolution to one channel per class, and a classifier of the whole image, both as in smp."""

from collections.abc import Callable
from typing import ClassVar

import flax.linen as nn
import jax.numpy as jnp
from jaxtyping import Array, Float

from fcn.errors import unknown
from fcn.layers import Conv, Dense, Layer, resize_bilinear, xavier_uniform

Activation = str | Callable[[Array], Array] | None
_ACTIVATIONS = {
    "identity": lambda x: x,
    "sigmoid": nn.sigmoid,
    "softmax": nn.softmax,
    "softmax2d": nn.softmax,
    "logsoftmax": nn.log_softmax,
    "tanh": nn.tanh,
}


def activate(activation: Activation, logits: Float[Array, "*b k"]) -> Float[Array, "*b k"]:
    """Applies what smp calls an activation: None and "identity" nothing, "sigmoid" and "tanh" to each number, "softmax" (also
    "softmax2d") and "logsoftmax" over the classes, or any function of the logits. Losses take logits: leave it out in training.

    Raises:
        ValueError: for another name.
    """
    if callable(activation):
        return activation(logits)
    name = "identity" if activation is None else activation
    if name not in _ACTIVATIONS:
        raise unknown("activation", name, _ACTIVATIONS)
    return _ACTIVATIONS[name](logits)


class SegmentationHead(Layer):
    """A convolution to the classes, then bilinear interpolation between the centres of the corner pixels.

    Attributes (more in `Layer`):
        num_classes: channels of the logits.
        kernel_size: of the convolution, zero-padded to keep the size.
        upsampling: factor of the interpolation.
        activation: applied to the result, see `activate`.
        dtype: type of the convolution.
    """

    num_classes: int
    kernel_size: int = 3
    upsampling: int = 1
    activation: Activation = None

    references: ClassVar = {"smp": (("^conv$", "0"),)}

    @nn.compact
    def __call__(self, x: Float[Array, "b h w c"]) -> Float[Array, "b h2 w2 k"]:
        """Logits, float32, `upsampling` times the size of `x`."""
        options = {"padding": self.kernel_size // 2, "kernel_init": xavier_uniform}
        x = Conv(self.num_classes, self.kernel_size, **options, **self.types, name="conv")(x).astype(jnp.float32)
        size = x.shape[1] * self.upsampling, x.shape[2] * self.upsampling
        return activate(self.activation, resize_bilinear(x, size, align_corners=True))


class ClassificationHead(Layer):
    """One vector of logits for the whole image: global pooling, dropout, a dense layer.

    Attributes (more in `Layer`):
        classes: length of the vector.
        pooling: "avg" or "max".
        dropout: rate of the dropout in training; takes the rng "dropout".
        activation: applied to the result, see `activate`.
        dtype: type of the dense layer; the logits are float32 in any case.
    """

    classes: int
    pooling: str = "avg"
    dropout: float = 0.2
    activation: Activation = None

    references: ClassVar = {"smp": (("^dense$", "3"),)}

    @nn.compact
    def __call__(self, x: Float[Array, "b h w c"], *, train: bool = False) -> Float[Array, "b k"]:
        """Logits [B, classes] of feature maps [B, H, W, C].

        Raises:
            ValueError: for another pooling.
        """
        if self.pooling not in ("avg", "max"):
            raise unknown("pooling", self.pooling, ("avg", "max"))
        x = (jnp.mean if self.pooling == "avg" else jnp.max)(x, axis=(1, 2))
        x = nn.Dropout(self.dropout, deterministic=not train)(x)
        logits = Dense(self.classes, kernel_init=xavier_uniform, **self.types, name="dense")(x).astype(jnp.float32)
        return activate(self.activation, logits)
