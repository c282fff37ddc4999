"""What the models share that consist of an encoder and a decoder, as in segmentation_models_pytorch (smp)."""

from collections.abc import Mapping
from typing import Any, ClassVar

import flax.linen as nn
import numpy as np
from jaxtyping import Array

from fcn.errors import unknown
from fcn.layers import resize_bilinear
from fcn.models.parts.heads import Activation, ClassificationHead
from fcn.models.parts.with_encoder import AnyEncoder, WithEncoder

_AUX_PARAMS = ("classes", "pooling", "dropout", "activation")


class EncoderDecoder(WithEncoder):
    """Fields and methods of the models.

    Attributes (more in `WithEncoder`):
        encoder_depth: number of times that the encoder halves the image: 3, 4 or 5.
        aux_params: options of a head that classifies the whole image from the encoder's last map: `classes`, and `pooling`,
            `dropout` and `activation` (see `ClassificationHead`). Its logits [B, classes] are not part of the result:
            `model.apply(..., mutable=["class_logits"])` gives them in `"class_logits"`.
        activation: what is applied to the logits, none by default; see `fcn.models.parts.heads.activate`.
    """

    encoder: AnyEncoder = "resnet34"
    encoder_depth: int = 5
    aux_params: Mapping[str, Any] | None = None
    activation: Activation = None

    references: ClassVar = {"smp": ()}
    heads: ClassVar = ("segmentation_head",)
    encoder_output_stride: ClassVar[int] = 32
    """Stride of the encoder's last map at full depth; below 32 it is dilated. A field of networks that can do with less."""

    @property
    def head(self) -> dict[str, Any]:
        """Options of the `SegmentationHead`."""
        return {"activation": self.activation, **self.types}

    @nn.nowrap
    def encoder_options(self) -> dict[str, Any]:
        """What an encoder that is no module yet is made with."""
        options = {"depth": self.encoder_depth, "output_stride": self.encoder_output_stride}
        return {**options, **self.norm_types}

    def encode(self, x: Array | np.ndarray, train: bool) -> list[Array | None]:
        """The encoder's maps, finest first: entry i has been halved i times, entry 0 is None unless the encoder is a VGG.

        The entry of a stride that the encoder does not have is None too (the second, of stride 2, of transformers). Maps of
        encoders that do not pad, such as SqueezeNet, are enlarged by the pixel or so that they lack. With an
        `encoder_output_stride` below 32 the last entries are dilated instead of halved. Images with `aux_params` are
        classified here.

        Raises:
            ValueError: for options that the encoder does not take, or one that does not halve the image so often.
        """
        maps, strides = self.own_encoder(x, train=train), self.encoder_strides(x.shape[-1])
        last = 2**self.encoder_depth
        if last not in strides:
            deepest = max(strides).bit_length() - 1
            advice = f"use encoder_depth={deepest}" if deepest >= 3 else "choose another encoder, such as 'resnet18'"
            raise ValueError(f"encoder {self.encoder_text()} halves the image {deepest} times; {advice}")
        self.check_stride(min(self.encoder_output_stride, last), x.shape[-1], strides.index(last))
        found = {s: _fitted(m, x.shape, min(s, self.encoder_output_stride)) for s, m in zip(strides, maps)}
        if self.aux_params is not None:
            self._classify(self.aux_params, found[last], train)
        return [found.get(2**i) for i in range(self.encoder_depth + 1)]

    def _classify(self, options: Mapping[str, Any], x: Array, train: bool) -> None:
        if self.is_initializing() or self.is_mutable_collection("class_logits"):
            for name in options:
                if name not in _AUX_PARAMS:
                    raise unknown("option of aux_params", name, _AUX_PARAMS)
            logits = ClassificationHead(**options, **self.types, name="classification_head")(x, train=train)
            if not self.is_initializing():
                self.sow("class_logits", "logits", logits)


def _fitted(x: Array, images: tuple[Any, ...], stride: int) -> Array:
    """A map of images of some shape, enlarged where it lacks pixels by its stride, cut where the encoder extended them."""
    sides = *x.shape[1:3], *images[1:3]
    if not all(isinstance(side, int) for side in sides):  # sizes that are not known yet
        return x
    size = [min(max(have, image // stride), -(-image // stride)) for have, image in zip(sides[:2], sides[2:])]
    return x if size == list(sides[:2]) else resize_bilinear(x[:, : size[0], : size[1]], size)


def check_decoder_channels(channels: tuple[int, ...], depth: int) -> None:
    """Refuses decoders that have not one block for each halving.

    Raises:
        ValueError: `channels` has not `depth` entries.
    """
    if len(channels) != depth:
        given = f"decoder_channels={tuple(channels)} has {len(channels)} entries, but encoder_depth is {depth}"
        raise ValueError(f"{given}; give {depth} numbers, such as {(256, 128, 64, 32, 16)[max(0, 5 - depth) :]}")
