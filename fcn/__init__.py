"""Fully convolutional networks for JAX: models, weights, training and prediction in Flax Linen.

Names and subpackages are loaded when they are first used: `import fcn` alone costs next to nothing.
"""

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from fcn import losses, metrics, surgery
    from fcn.pretrained import from_torch, init, load, load_weights, save, to_torch
    from fcn.registration import register_encoder, register_model
    from fcn.registry import create_classifier, create_encoder, create_model, list_encoders, list_models

    __version__: str

__all__ = [
    "__version__",
    "create_classifier",
    "create_encoder",
    "create_model",
    "from_torch",
    "init",
    "list_encoders",
    "list_models",
    "load",
    "load_weights",
    "losses",
    "metrics",
    "register_encoder",
    "register_model",
    "save",
    "surgery",
    "to_torch",
]

_HOMES = dict.fromkeys(["create_classifier", "create_encoder", "create_model", "list_encoders", "list_models"], "fcn.registry")
_HOMES |= dict.fromkeys(["register_encoder", "register_model"], "fcn.registration")
_HOMES |= dict.fromkeys(["from_torch", "init", "load", "load_weights", "save", "to_torch"], "fcn.pretrained")


def __getattr__(name: str):
    if name == "__version__":
        from importlib.metadata import version

        return version("fcn-zoo")
    if name in _HOMES:
        return getattr(import_module(_HOMES[name]), name)
    if not name.startswith("_"):
        try:
            return import_module(f"fcn.{name}")
        except ModuleNotFoundError as error:
            if error.name != f"fcn.{name}":
                raise
    raise AttributeError(f"module 'fcn' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
