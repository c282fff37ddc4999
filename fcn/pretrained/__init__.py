"""Reference checkpoints as Flax variables."""

from fcn.pretrained.conversion import from_torch, to_torch

__all__ = ["from_torch", "to_torch"]
