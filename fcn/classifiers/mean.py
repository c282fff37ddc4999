"""Image classifiers that average the last map: RegNet, ConvNeXt and Swin, as in timm.

Radosavovic et al., CVPR 2020, figure 4; Liu et al., "A ConvNet for the 2020s", CVPR 2022, section 2; Liu et al., "Swin
Transformer", ICCV 2021, section 3.1.
"""

from typing import Any, ClassVar, Literal

import flax.linen as nn
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from fcn.layers import Dense, ImageNetwork

Norm = Literal["none", "pixels", "mean"]


class MeanClassifier(ImageNetwork):
    """The last map of an encoder, averaged over all pixels, and a dense layer, with LayerNorm before or after the average.

    Attributes (more in `Network`):
        encoder: any module from images to a tuple of feature maps.
        num_classes: channels of the logits.
        norm: what LayerNorm is applied to: nothing (RegNet), each pixel of the map (Swin), or the average (ConvNeXt).
        epsilon: of LayerNorm.
        dropout_rate: dropout before the dense layer in training; takes the rng "dropout".
        axis_name: no effect here (the encoder has its own).
    """

    encoder: nn.Module
    num_classes: int
    norm: Norm = "none"
    epsilon: float = 1e-6
    dropout_rate: float = 0.0

    heads: ClassVar = ("fc",)

    @property
    def references(self) -> dict[str, tuple[tuple[str, str], ...]]:
        """In timm, what follows the average is the head."""
        norm = (("^norm$", "head.norm"),) if self.norm == "mean" else ()
        return {"timm": (*norm, ("^fc$", "head.fc"), (r"^encoder\.", ""))}

    @nn.compact
    def __call__(self, x: Float[Array | np.ndarray, "b h w c"], *, train: bool = False) -> Float[Array, "b k"]:
        """Logits [B, num_classes], float32, of images [B, H, W, C] of any size."""
        x = self.encoder(x, train=train)[-1]
        if self.norm == "pixels":
            x = nn.LayerNorm(epsilon=self.epsilon, **self.types, name="norm")(x)
        x = jnp.mean(x, axis=(1, 2))
        if self.norm == "mean":
            x = nn.LayerNorm(epsilon=self.epsilon, **self.types, name="norm")(x)
        x = nn.Dropout(self.dropout_rate, deterministic=not train)(x)
        return Dense(self.num_classes, **self.types, name="fc")(x).astype(jnp.float32)


def mean_classifier(
    constructor: Any,
    norm: Norm = "none",
    epsilon: float = 1e-6,
    *,
    num_classes: int,
    dropout_rate: float = 0.0,
    dtype: Any = None,
    param_dtype: Any = jnp.float32,
    axis_name: str | None = None,
) -> MeanClassifier:
    """A `MeanClassifier` on a new encoder.

    Args:
        constructor: of the encoder.
        norm: what LayerNorm is applied to.
        epsilon: of LayerNorm.
        num_classes: channels of the logits.
        dropout_rate: dropout before the dense layer.
        dtype: type of the computation.
        param_dtype: type of the parameters.
        axis_name: the pmap axis over which BatchNorm takes its statistics.
    """
    types = {"dtype": dtype, "param_dtype": param_dtype, "axis_name": axis_name}
    return MeanClassifier(constructor(**types), num_classes, norm, epsilon, dropout_rate, **types)
