"""Every encoder by name."""

from typing import Any

from fcn.encoders.convnext import CONVNEXTS
from fcn.encoders.densenet import DENSENETS
from fcn.encoders.efficientnet import EFFICIENTNETS
from fcn.encoders.entry import Encoder
from fcn.encoders.mix_transformer import MIX_TRANSFORMERS
from fcn.encoders.mobilenet_v2 import MOBILENETS_V2
from fcn.encoders.mobilenet_v3 import MOBILENETS_V3
from fcn.encoders.regnet import REGNETS
from fcn.encoders.resnet import RESNETS
from fcn.encoders.resnet_cifar import RESNETS_CIFAR
from fcn.encoders.senet import SENETS
from fcn.encoders.squeezenet import SQUEEZENETS
from fcn.encoders.swin import SWINS
from fcn.encoders.vgg import VGG_ENCODERS
from fcn.encoders.vit import VISION_TRANSFORMERS
from fcn.errors import unknown
from fcn.ranges import abbreviate

ENCODERS: dict[str, Encoder] = {
    **VGG_ENCODERS,
    **RESNETS,
    **RESNETS_CIFAR,
    **SENETS,
    **DENSENETS,
    **SQUEEZENETS,
    **MOBILENETS_V2,
    **MOBILENETS_V3,
    **EFFICIENTNETS,
    **REGNETS,
    **CONVNEXTS,
    **MIX_TRANSFORMERS,
    **SWINS,
    **VISION_TRANSFORMERS,
}


def find_encoder(name: Any) -> Encoder:
    """The row of an encoder, given by its name or as it is.

    Raises:
        ValueError: for an unknown name, where the message names the nearest one, or what is neither.
    """
    if isinstance(name, Encoder):
        return name
    if not isinstance(name, str):
        raise ValueError(f"encoder is {abbreviate(name)}; give one of list_encoders()")
    if name.startswith(("timm-efficientnet", "tu-efficientnet")):
        reason = "timm's EfficientNets pad and name their layers otherwise, so that their weights do not fit those here"
        raise ValueError(f"unknown encoder {name!r}; {reason}: efficientnet-b0 to efficientnet-b7, as smp has them")
    if name not in ENCODERS:
        raise unknown("encoder", name, ENCODERS)
    return ENCODERS[name]
