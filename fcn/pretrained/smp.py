"""Folders that `save_pretrained` of segmentation-models-pytorch (smp) writes: `config.json` and `model.safetensors`."""

import re
from pathlib import Path

import flax.linen as nn

from fcn.errors import unknown
from fcn.pretrained.description import read_object
from fcn.registry import create_model

_NAMES = "Unet UnetPlusPlus MAnet Linknet FPN PSPNet PAN DeepLabV3 DeepLabV3Plus UPerNet Segformer DPT"
SMP_CLASSES = {name.lower(): name for name in _NAMES.split()}
"""What smp calls the models that it has, by their names here."""
_CONFIG, _CLASS = "config.json", "_model_class"
_RENAMED = {"classes": "num_classes", "encoder_name": "encoder"}
_LEFT_OUT = ("encoder_weights", "in_channels")
"""What smp's constructors take and models here do not: weights and channels come with the tensors."""


def is_smp_folder(path: str | Path) -> bool:
    """Whether `path` is such a folder."""
    try:
        return _CLASS in read_object(Path(path) / _CONFIG)
    except (OSError, ValueError):
        return False


def smp_model(path: str | Path) -> nn.Module:
    """The model that a folder describes; `fcn.from_torch(model, path, source="smp")` gives its variables.

    Raises:
        FileNotFoundError: there is no `config.json`.
        ValueError: it is damaged, or describes a network, an encoder or an option that is not here.
    """
    config = read_object(Path(path) / _CONFIG)
    if (name := config.pop(_CLASS, None)) not in SMP_CLASSES.values():
        raise unknown("model of smp", name, SMP_CLASSES.values())
    options = {_RENAMED.get(option, option): value for option, value in config.items() if option not in _LEFT_OUT}
    if vit := re.fullmatch(r"tu-(vit_\w+)_224(\..*)?", str(options.get("encoder"))):
        options["encoder"] = vit[1]
    file = Path(path) / _CONFIG
    try:
        return create_model(name.lower(), **options)
    except ValueError as error:
        raise ValueError(f"{file}: {error}") from None
    except (AttributeError, TypeError) as error:
        raise ValueError(f"{file} does not describe a network ({type(error).__name__}: {error})") from error
