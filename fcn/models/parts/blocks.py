"""Blocks of decoders: convolution with norm and ReLU, attention, and the step up of U-Net, all as in smp."""

from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any, ClassVar

import flax.linen as nn
import jax.numpy as jnp
from jaxtyping import Array, Float

from fcn.errors import unknown
from fcn.layers import BatchNorm, Conv, ConvTranspose, Layer, NormLayer, PointwiseConv, UpsampledConv, he_uniform, resize

Norm = bool | str | Mapping[str, Any]
"""Whether and how a block normalises: "batchnorm" (True), "instancenorm", "identity" (False), or a dictionary with one of these
under "type" and PyTorch's options beside it: `eps`, `momentum` (of BatchNorm) and `affine` (of instance normalisation). Of what
smp names, "inplace" takes a package of CUDA kernels, and "layernorm" fails there on maps; neither is here."""
_NORMS = ("batchnorm", "identity", "instancenorm")


class Conv2dReLU(NormLayer):
    """A convolution (zero-padded to keep the size), a norm and ReLU; the convolution has a bias if there is no norm.

    Attributes (more in `NormLayer`):
        features: channels of the output.
        kernel_size: of the convolution.
        dilation: of the convolution.
        use_norm: see `Norm`.
        transposed: a transposed convolution of 4x4 and stride 2 instead, which doubles the size and always has a bias.
        upsampled: the maps are first doubled by repeating their pixels, and concatenated with those beside them.
    """

    features: int
    kernel_size: int = 3
    dilation: int = 1
    use_norm: Norm = "batchnorm"
    transposed: bool = False
    upsampled: bool = False

    references: ClassVar = {"smp": (("^conv$", "0"), ("^norm$", "1"))}

    @nn.compact
    def __call__(
        self, x: Float[Array, "b h w c"], beside: Sequence[Array] = (), *, train: bool = False
    ) -> Float[Array, "b h2 w2 o"]:
        """Maps [B, H, W, C] to [B, H, W, features], or to [B, 2 H, 2 W, features] if transposed or upsampled.

        `beside` are maps [B, 2 H, 2 W, _], if upsampled.
        """
        types: dict[str, Any] = {**self.types, "kernel_init": he_uniform}
        norm = make_norm(self.use_norm, train=train, **self.norm_types, name="norm")
        if self.transposed:
            x = ConvTranspose(self.features, 4, 2, padding=1, **types, name="conv")(x)
        else:
            types |= {"padding": self.dilation * (self.kernel_size // 2), "dilation": self.dilation, "use_bias": norm is None}
            options = {**types, "name": "conv"}
            if self.upsampled:
                x = UpsampledConv(self.features, self.kernel_size, **options)(x, beside)
            else:
                x = Conv(self.features, self.kernel_size, **options)(x)
        return nn.relu(x if norm is None else norm(x))


def make_norm(use_norm: Norm, *, train: bool, axis_name: str | None, name: str, **types):
    """The layer that `use_norm` asks for, or None.

    Raises:
        ValueError: for another norm, or another option of one.
    """
    options: dict[str, Any] = dict(use_norm) if isinstance(use_norm, Mapping) else {"type": use_norm}
    asked, kind = dict(options), options.pop("type", None)
    kind = {True: "batchnorm", False: "identity"}.get(kind, kind)
    if kind not in _NORMS:
        raise unknown("norm", kind, _NORMS)
    epsilon, momentum, affine = options.pop("eps", 1e-5), options.pop("momentum", 0.1), options.pop("affine", None)
    if options or (kind == "batchnorm" and affine is False):
        raise ValueError(f"unknown options of the norm {kind!r} in {asked}; known are eps, momentum and affine=True")
    if kind == "identity":
        return None
    if kind == "batchnorm":
        norm = BatchNorm(1 - momentum, epsilon, axis_name=axis_name, **types, name=name)
        return partial(norm, train=train)
    scales = {"use_scale": bool(affine), "use_bias": bool(affine)}
    return nn.InstanceNorm(epsilon=epsilon, **scales, use_fast_variance=False, **types, name=name)


class SCSE(Layer):
    """Spatial and channel squeeze and excitation: x times a gate for each channel, plus x times a gate for each pixel.

    Roy, Navab, Wachinger, "Concurrent Spatial and Channel Squeeze & Excitation in Fully Convolutional Networks", MICCAI 2018,
    section 2. The two are added, as in smp, where the paper takes the larger one or tries several ways.

    Attributes (more in `Layer`):
        reduction: factor by which the channel gate narrows.
    """

    reduction: int = 16

    references: ClassVar = {
        "smp": (("^squeeze$", "attention.cSE.1"), ("^excite$", "attention.cSE.3"), ("^spatial$", "attention.sSE.0"))
    }

    @nn.compact
    def __call__(self, x: Float[Array, "b h w c"]) -> Float[Array, "b h w c"]:
        """Maps of at least `reduction` channels, to the same shape.

        Raises:
            ValueError: for maps of fewer channels.
        """
        channels = x.shape[-1]
        if channels < self.reduction:
            raise ValueError(f"attention 'scse' takes maps of at least {self.reduction} channels, not of {channels}")
        conv = partial(PointwiseConv, **self.types, kernel_init=he_uniform)
        gate = jnp.mean(x, axis=(1, 2), keepdims=True)
        gate = nn.relu(conv(channels // self.reduction, name="squeeze")(gate))
        gate = nn.sigmoid(conv(channels, name="excite")(gate))
        return x * gate + x * nn.sigmoid(conv(1, name="spatial")(x))


def make_attention(kind: str | None, **options):
    """The attention that `decoder_attention_type` asks for: "scse", or None for a function that changes nothing.

    Raises:
        ValueError: for another kind.
    """
    if kind is None:
        return lambda x: x
    if kind != "scse":
        raise unknown("decoder_attention_type", kind, ("scse",))
    return SCSE(**options)


class UpBlock(NormLayer):
    """The step up of U-Net: interpolation to the size of the skip, concatenation (skip last), two convolutions.

    Attributes (more in `NormLayer`):
        features: channels of the output.
        attention: None, or "scse" before and after the convolutions.
        interpolation: a method of `fcn.layers.resize`.
        use_norm: see `Norm`.
    """

    features: int
    attention: str | None = None
    interpolation: str = "nearest"
    use_norm: Norm = "batchnorm"

    @nn.compact
    def __call__(
        self, x: Float[Array, "b h w c"], size: Sequence[int], skips: Sequence[Array] | None, *, train: bool = False
    ) -> Float[Array, "b h2 w2 o"]:
        """Maps [B, H, W, C] to [B, *size, features].

        `skips` are the maps [B, *size, _] to concatenate, none where the encoder lacks them. In the last step of a decoder it
        is None: there the first attention has parameters (as in smp, so that weights travel both ways) and is not applied.
        """
        conv = partial(Conv2dReLU, self.features, use_norm=self.use_norm, **self.norm_types)
        attention1 = make_attention(self.attention, **self.types, name="attention1")
        attention2 = make_attention(self.attention, **self.types, name="attention2")
        attended, beside = self.attention is not None and skips is not None, tuple(skips or ())
        doubled = not attended and self.interpolation == "nearest" and tuple(size) == (2 * x.shape[1], 2 * x.shape[2])
        if not doubled:
            x, beside = jnp.concatenate([resize(x, size, self.interpolation), *beside], axis=-1), ()
        if skips is not None:
            x = attention1(x)
        elif self.is_initializing():
            attention1(x)
        x = conv(upsampled=doubled, name="conv1")(x, beside, train=train)
        x = conv(name="conv2")(x, train=train)
        return attention2(x)
