"""Weights: from and to other implementations, from the network, and as files of this library."""

from fcn.pretrained.conversion import from_torch, to_torch
from fcn.pretrained.initialising import init
from fcn.pretrained.saving import Saved, load, save
from fcn.pretrained.weights import WEIGHTS, load_weights

__all__ = ["WEIGHTS", "Saved", "from_torch", "init", "load", "load_weights", "save", "to_torch"]
