"""Fully convolutional networks for JAX: models, weights, training and prediction in Flax Linen."""

from importlib.metadata import version

from fcn import losses, metrics, surgery
from fcn.pretrained import from_torch, load, load_weights, save, to_torch
from fcn.registry import create_classifier, create_encoder, create_model, list_encoders, list_models

__version__ = version("fcn-zoo")

__all__ = [
    "__version__",
    "create_classifier",
    "create_encoder",
    "create_model",
    "from_torch",
    "list_encoders",
    "list_models",
    "load",
    "load_weights",
    "losses",
    "metrics",
    "save",
    "surgery",
    "to_torch",
]
