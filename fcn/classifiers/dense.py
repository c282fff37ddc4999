"""Image classifiers: a feature map, flattened and passed through dense layers, and the same as a convolution.

Simonyan, Zisserman, ICLR 2015, section 2 (the dense layers of VGG); Long et al., CVPR 2015, section 3.1 and figure 2 (dense
layers as convolutions).
"""

from typing import Any, ClassVar

import flax.linen as nn
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from fcn.encoders.vgg import VGGS
from fcn.layers import Conv, ImageNetwork, PointwiseConv, he_normal, resize


class FlattenClassifier(ImageNetwork):
    """The last map of an encoder, flattened (rows, columns, channels), then dense layers `fc6`, `fc7` ..., as in VGG.

    `fcn.surgery.convolutionalize` turns it into a `ConvolutionalClassifier`.

    Attributes (more in `Network`):
        encoder: any module from images to a feature map or a tuple of them.
        num_classes: channels of the logits.
        hidden: channels of the dense layers before the last.
        window: (height, width) of the flattened map; maps of another size are first averaged to it (adaptive average pooling,
            as in torchvision), so that images of any size may be given.
        dropout_rate: dropout after each hidden layer in training; takes the rng "dropout".
        axis_name: no effect here (the encoder has its own).
    """

    encoder: nn.Module
    num_classes: int
    hidden: tuple[int, ...] = (4096, 4096)
    window: tuple[int, int] = (7, 7)
    dropout_rate: float = 0.5

    references: ClassVar = {
        "torchvision": ((r"^encoder\.", ""), ("^fc6$", "classifier.0"), ("^fc7$", "classifier.3"), ("^fc8$", "classifier.6"))
    }

    @property
    def heads(self) -> tuple[str, ...]:
        """The layer that gives one channel a class."""
        return (f"fc{6 + len(self.hidden)}",)

    @nn.compact
    def __call__(self, x: Float[Array | np.ndarray, "b h w c"], *, train: bool = False) -> Float[Array, "b k"]:
        """Logits [B, num_classes], float32, of images [B, H, W, C] of any size."""
        types = {**self.types, "kernel_init": he_normal}
        x = resize(_last_map(self.encoder, x, train), self.window, "area")
        x = x.reshape(x.shape[0], -1)
        for i, features in enumerate(self.hidden):
            x = nn.relu(PointwiseConv(features, **types, name=f"fc{6 + i}")(x))
            x = nn.Dropout(self.dropout_rate, deterministic=not train)(x)
        return PointwiseConv(self.num_classes, **types, name=f"fc{6 + len(self.hidden)}")(x).astype(jnp.float32)


class PooledClassifier(ImageNetwork):
    """The last map of an encoder, averaged over all pixels, dropout, and one dense layer, as in ResNet.

    Attributes (more in `Network`):
        encoder: any module from images to a feature map or a tuple of them.
        num_classes: channels of the logits.
        head: name of the dense layer.
        dropout_rate: dropout before it in training; takes the rng "dropout".
        relu: whether ReLU is applied to the map, for an encoder whose last layer is BatchNorm (DenseNet).
        axis_name: no effect here (the encoder has its own).
    """

    encoder: nn.Module
    num_classes: int
    head: str = "fc"
    dropout_rate: float = 0.0
    relu: bool = False

    @property
    def references(self) -> dict[str, tuple[tuple[str, str], ...]]:
        """As the encoder's, without a prefix."""
        return dict.fromkeys(getattr(self.encoder, "references", {}), ((r"^encoder\.", ""),))

    @property
    def heads(self) -> tuple[str, ...]:
        """The layer that gives one channel a class."""
        return (self.head,)

    @nn.compact
    def __call__(self, x: Float[Array | np.ndarray, "b h w c"], *, train: bool = False) -> Float[Array, "b k"]:
        """Logits [B, num_classes], float32, of images [B, H, W, C] of any size."""
        x = _last_map(self.encoder, x, train)
        x = jnp.mean(nn.relu(x) if self.relu else x, axis=(1, 2))
        x = nn.Dropout(self.dropout_rate, deterministic=not train)(x)
        return PointwiseConv(self.num_classes, **self.types, name=self.head)(x).astype(jnp.float32)


def pooled_classifier(
    constructor: Any,
    *,
    num_classes: int,
    head: str = "fc",
    dropout_rate: float = 0.0,
    relu: bool = False,
    dtype: Any = None,
    param_dtype: Any = jnp.float32,
    axis_name: str | None = None,
) -> PooledClassifier:
    """A `PooledClassifier` on a new encoder.

    Args:
        constructor: of the encoder.
        num_classes: channels of the logits.
        head: name of the dense layer.
        dropout_rate: dropout before the dense layer.
        relu: whether ReLU is applied to the encoder's last map.
        dtype: type of the computation.
        param_dtype: type of the parameters.
        axis_name: the pmap axis over which BatchNorm takes its statistics.
    """
    types = {"dtype": dtype, "param_dtype": param_dtype, "axis_name": axis_name}
    return PooledClassifier(constructor(**types), num_classes, head, dropout_rate, relu, **types)


class ConvolutionalClassifier(ImageNetwork):
    """A `FlattenClassifier` whose dense layers are convolutions: a map of scores, one for each place of its window.

    The first dense layer is a convolution with a kernel of the window's size, the others are 1x1 convolutions.

    Attributes: as those of `FlattenClassifier`.
    """

    encoder: nn.Module
    num_classes: int
    hidden: tuple[int, ...] = (4096, 4096)
    window: tuple[int, int] = (7, 7)
    dropout_rate: float = 0.5

    @nn.compact
    def __call__(self, x: Float[Array | np.ndarray, "b h w c"], *, train: bool = False) -> Float[Array, "b h2 w2 k"]:
        """Logits [B, H2, W2, num_classes], float32; with VGG, H2 = H // 32 - 6 of images [B, H, W, C].

        Raises:
            ValueError: where the feature map is smaller than the window.
        """
        types = {**self.types, "kernel_init": he_normal}
        height, width = x.shape[1:3]
        x = _last_map(self.encoder, x, train)
        if x.shape[1] < self.window[0] or x.shape[2] < self.window[1]:
            raise ValueError(
                f"an image of {height} x {width} has a feature map of {x.shape[1]} x {x.shape[2]}; "
                f"the window of this classifier needs at least {self.window[0]} x {self.window[1]}"
            )
        sizes = [*self.hidden, self.num_classes]
        for i, features in enumerate(sizes):
            name = f"fc{6 + i}"
            if i == 0:
                x = Conv(features, self.window, padding="VALID", **types, name=name)(x)
            else:
                x = PointwiseConv(features, **types, name=name)(x)
            if i < len(self.hidden):
                x = nn.Dropout(self.dropout_rate, deterministic=not train)(nn.relu(x))
        return x.astype(jnp.float32)


def vgg_classifier(
    vgg: str,
    *,
    num_classes: int,
    width_multiplier: float = 1.0,
    fc_features: int = 4096,
    dropout_rate: float = 0.5,
    dtype: Any = None,
    param_dtype: Any = jnp.float32,
    axis_name: str | None = None,
) -> FlattenClassifier:
    """VGG with its dense layers.

    Args:
        vgg: a name such as "vgg16" or "vgg11_bn".
        num_classes: channels of the logits.
        width_multiplier: factor on the numbers of channels of the convolutions.
        fc_features: channels of the two hidden dense layers.
        dropout_rate: dropout after them.
        dtype: type of the computation.
        param_dtype: type of the parameters.
        axis_name: the pmap axis over which BatchNorm takes its statistics.
    """
    types = {"dtype": dtype, "param_dtype": param_dtype, "axis_name": axis_name}
    encoder = VGGS[vgg](width_multiplier=width_multiplier, **types)
    return FlattenClassifier(encoder, num_classes, (fc_features, fc_features), dropout_rate=dropout_rate, **types)


def _last_map(encoder: nn.Module, x: Array | np.ndarray, train: bool) -> Array:
    maps = encoder(x, train=train)
    return maps[-1] if isinstance(maps, tuple) else maps
