"""Folders that `save_pretrained` of segmentation-models-pytorch (smp) writes: `config.json` and `model.safetensors`."""

import json
import re
from pathlib import Path
from typing import Any

import flax.linen as nn

from fcn.errors import unknown
from fcn.registry import create_model

_LARGEST = 2**24
"""Bytes that a description may have."""
_CLASS = "_model_class"
_MODELS = "Unet UnetPlusPlus MAnet Linknet FPN PSPNet PAN DeepLabV3 DeepLabV3Plus UPerNet Segformer DPT".split()
_RENAMED = {"classes": "num_classes", "encoder_name": "encoder"}
_LEFT_OUT = ("encoder_weights", "in_channels")
"""What smp's constructors take and models here do not: weights and channels come with the tensors."""


def is_smp_folder(path: str | Path) -> bool:
    """Whether `path` is such a folder."""
    try:
        return _CLASS in _read_config(Path(path))
    except (OSError, ValueError):
        return False


def smp_model(path: str | Path) -> nn.Module:
    """The model that a folder describes; `fcn.from_torch(model, path, source="smp")` gives its variables.

    Raises:
        FileNotFoundError: there is no `config.json`.
        ValueError: it is damaged, or describes a network, an encoder or an option that is not here.
    """
    config = _read_config(Path(path))
    if (name := config.pop(_CLASS, None)) not in _MODELS:
        raise unknown("model of smp", name, _MODELS)
    options = {_RENAMED.get(option, option): value for option, value in config.items() if option not in _LEFT_OUT}
    if vit := re.fullmatch(r"tu-(vit_\w+)_224(\..*)?", str(options.get("encoder"))):
        options["encoder"] = vit[1]
    file = Path(path) / "config.json"
    try:
        return create_model(name.lower(), **options)
    except ValueError as error:
        raise ValueError(f"{file}: {error}") from None
    except (AttributeError, TypeError) as error:
        raise ValueError(f"{file} does not describe a network ({type(error).__name__}: {error})") from error


def _read_config(path: Path) -> dict[str, Any]:
    file = path / "config.json"
    if (size := file.stat().st_size) > _LARGEST:
        raise ValueError(f"{file} has {size:,} bytes; descriptions have at most {_LARGEST:,}, so it was not read")
    try:
        config = json.loads(file.read_text(encoding="utf-8"))
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{file} is damaged: {type(error).__name__}: {error}") from error
    if not isinstance(config, dict):
        raise ValueError(f"{file} holds a {type(config).__name__}, not the description of a network")
    return config
