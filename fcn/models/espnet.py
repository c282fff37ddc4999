"""ESPNet, and its encoder alone, ESPNet-C.

Mehta, Rastegari, Caspi, Shapiro, Hajishirzi, "ESPNet: Efficient Spatial Pyramid of Dilated Convolutions for Semantic
Segmentation", ECCV 2018 (arXiv:1803.06815), figures 1, 4 and 5.
"""

from functools import partial
from typing import ClassVar

import flax.linen as nn
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from fcn.encoders.padding import extend_to_multiple
from fcn.layers import (
    BatchNorm,
    Conv,
    ConvTranspose,
    ImageNetwork,
    NormLayer,
    PointwiseConv,
    PReLU,
    average_pool,
    resize_bilinear,
)

_EPSILON = 1e-3


class ESPNet(ImageNetwork):
    """ESPNet-C, whose scores are enlarged step by step and joined with finer maps.

    Parameters bear the names of the authors' code (source "espnet"). The paper trains ESPNet-C first: what stands under
    "encoder" in the variables of `espnet_c` fits here, for the same number of classes, `p` and `q`. With 20 classes there are
    364,569 parameters without the image in the skip, and 365,109 with it.

    Images whose sides do not divide by 8 are extended at the bottom and the right by repeating the last row and column, and the
    logits are cropped back; the authors' code takes multiples of 8 only. Under 5 classes, where that code fails, the last
    pyramid has as many branches as there are classes.

    Attributes (more in `Network`):
        num_classes: channels of the logits.
        p: number of ESP modules at stride 4 (alpha_2 in the paper).
        q: number of ESP modules at stride 8 (alpha_3 in the paper): 3, 5 or 8 there.
        skip_image: the map of stride 2 that joins the decoder also carries the image, as in the authors' network for CamVid and
            their code for training. Their published networks for Cityscapes take the map alone: False.
    """

    num_classes: int
    p: int = 2
    q: int = 8
    skip_image: bool = True

    references: ClassVar = {"espnet": (("^level3_C$", "level3_C.conv"),)}
    heads: ClassVar = (
        *("encoder/classifier", "br", "up_l3_0", "level3_C", "combine_l2_l3_0", "combine_l2_l3_1"),
        *("up_l2_0", "up_l2_1", "conv", "classifier"),
    )
    heads_take_classes: ClassVar = True

    @nn.compact
    def __call__(self, x: Float[Array | np.ndarray, "b h w c"], *, train: bool = False) -> Float[Array, "b h w k"]:
        """Logits [B, H, W, num_classes], float32, of images [B, H, W, C] of any size."""
        double = partial(ConvTranspose, self.num_classes, 2, 2, use_bias=False, **self.types)
        _, height, width, _ = x.shape

        encoder = ESPNetEncoder(self.num_classes, self.p, self.q, **self.norm_types, name="encoder")
        level1, with_image, level2, x = encoder(extend_to_multiple(x, 8), train=train)
        x = BatchNorm(epsilon=_EPSILON, **self.norm_types, name="br")(x, train=train)
        x = double(name="up_l3_0")(x)
        scores = PointwiseConv(self.num_classes, use_bias=False, **self.types, name="level3_C")(level2)
        x = _NormAct(**self.norm_types, name="combine_l2_l3_0")(jnp.concatenate([scores, x], axis=-1), train=train)
        x = _ESP(self.num_classes, residual=False, **self.norm_types, name="combine_l2_l3_1")(x, train=train)
        x = _NormAct(**self.norm_types, name="up_l2_1")(double(name="up_l2_0")(x), train=train)
        x = jnp.concatenate([x, with_image if self.skip_image else level1], axis=-1)
        x = _ConvNormAct(self.num_classes, **self.norm_types, name="conv")(x, train=train)
        return double(name="classifier")(x).astype(jnp.float32)[:, :height, :width]


class ESPNetC(ImageNetwork):
    """The encoder of ESPNet: scores at stride 8, enlarged bilinearly.

    Images of any size: the network gives ceil(H / 8) rows, and 8 times as many after enlargement are cropped to H. With 20
    classes there are 349,449 parameters.

    Attributes (more in `Network`):
        num_classes: channels of the logits.
        p: number of ESP modules at stride 4.
        q: number of ESP modules at stride 8.
        align_corners: how scores are enlarged: the centres of the corner pixels stay in place. The authors' code says neither;
            PyTorch took True before version 0.4 and takes False since.
    """

    num_classes: int
    p: int = 2
    q: int = 8
    align_corners: bool = False

    references: ClassVar = {"espnet": ((r"^encoder\.", ""),)}
    heads: ClassVar = ("encoder/classifier",)

    @nn.compact
    def __call__(self, x: Float[Array | np.ndarray, "b h w c"], *, train: bool = False) -> Float[Array, "b h w k"]:
        """Logits [B, H, W, num_classes], float32, of images [B, H, W, C] of any size."""
        _, height, width, _ = x.shape
        *_, x = ESPNetEncoder(self.num_classes, self.p, self.q, **self.norm_types, name="encoder")(x, train=train)
        x = resize_bilinear(x.astype(jnp.float32), (8 * x.shape[1], 8 * x.shape[2]), align_corners=self.align_corners)
        return x[:, :height, :width]


class ESPNetEncoder(ImageNetwork):
    """Three levels, of strides 2, 4 and 8; each but the first is a strided pyramid and some more with residuals.

    Attributes (more in `Network`):
        num_classes: channels of the scores.
        p: number of ESP modules at stride 4.
        q: number of ESP modules at stride 8.
    """

    num_classes: int
    p: int = 2
    q: int = 8

    references: ClassVar = {"espnet": ((r"^down(\d)(\.bn)?", r"level\1_0"), ("^classifier$", "classifier.conv"))}

    @nn.compact
    def __call__(self, x: Float[Array | np.ndarray, "b h w c"], *, train: bool = False) -> tuple[Float[Array, "b _ _ _"], ...]:
        """Maps of images [B, H, W, C] of any size.

        Returns:
            Four maps: stride 2, 16 channels; the same beside the image, 16 + C channels; stride 4 beside the image, 128 + C
            channels; the scores, stride 8. Sides are H over the stride, rounded up.
        """
        half = average_pool(x, 3, 2, padding=1)
        quarter = average_pool(half, 3, 2, padding=1)

        level1 = _ConvNormAct(16, 2, **self.norm_types, name="level1")(x, train=train)
        with_image = _NormAct(**self.norm_types, name="b1")(jnp.concatenate([level1, half], axis=-1), train=train)

        x = first = _ESP(64, strides=2, **self.norm_types, name="down2")(with_image, train=train)
        for i in range(self.p):
            x = _ESP(64, **self.norm_types, name=f"level2_{i}")(x, train=train)
        level2 = _NormAct(**self.norm_types, name="b2")(jnp.concatenate([x, first, quarter], axis=-1), train=train)

        x = first = _ESP(128, strides=2, **self.norm_types, name="down3")(level2, train=train)
        for i in range(self.q):
            x = _ESP(128, **self.norm_types, name=f"level3_{i}")(x, train=train)
        x = _NormAct(**self.norm_types, name="b3")(jnp.concatenate([first, x], axis=-1), train=train)
        scores = PointwiseConv(self.num_classes, use_bias=False, **self.types, name="classifier")(x)
        return level1, with_image, level2, scores


class _ESP(NormLayer):
    """An efficient spatial pyramid (figure 1): reduce, split into five dilated convolutions, transform, merge.

    Hierarchical feature fusion (figure 4): the branches of dilation 2, 4, 8 and 16 are summed one after another, and all sums
    are kept. With `strides` the reduction is a 3x3 convolution of that stride instead of 1x1, and there is no residual.
    """

    features: int
    strides: int = 1
    residual: bool = True

    references: ClassVar = {"espnet": ((r"^(c1|d\d+)$", r"\1.conv"),)}

    @nn.compact
    def __call__(self, x, *, train):
        conv = partial(Conv, padding=1, use_bias=False, **self.types)
        branches = min(5, self.features)
        narrow = self.features // branches
        wide = self.features - (branches - 1) * narrow
        if self.strides == 1:
            y = PointwiseConv(narrow, use_bias=False, **self.types, name="c1")(x)
        else:
            y = conv(narrow, 3, self.strides, name="c1")(x)
        dilated = partial(Conv, kernel_size=3, use_bias=False, **self.types)
        outputs, total = [dilated(wide, name="d1")(y)], 0
        for dilation in (2, 4, 8, 16)[: branches - 1]:
            total = total + dilated(narrow, dilation=dilation, name=f"d{dilation}")(y)
            outputs.append(total)
        y = jnp.concatenate(outputs, axis=-1)
        if self.residual and self.strides == 1:
            y = x + y
        return _NormAct(**self.norm_types, name="bn")(y, train=train)


class _ConvNormAct(NormLayer):
    """A 3x3 convolution, BatchNorm and PReLU."""

    features: int
    strides: int = 1

    @nn.compact
    def __call__(self, x, *, train):
        x = Conv(self.features, 3, self.strides, padding=1, use_bias=False, **self.types, name="conv")(x)
        x = BatchNorm(epsilon=_EPSILON, **self.norm_types, name="bn")(x, train=train)
        return PReLU(**self.types, name="act")(x)


class _NormAct(NormLayer):
    """BatchNorm and PReLU."""

    @nn.compact
    def __call__(self, x, *, train):
        x = BatchNorm(epsilon=_EPSILON, **self.norm_types, name="bn")(x, train=train)
        return PReLU(**self.types, name="act")(x)
