"""PyTorch state dicts to Flax variables: a rename, a transpose, and no tensor left over."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from flax.traverse_util import flatten_dict, unflatten_dict

from fcn.errors import unknown
from fcn.pretrained.names import SOURCES

LEAVES = {
    "weight": (("params", "kernel"), ("params", "scale")),
    "bias": (("params", "bias"),),
    "running_mean": (("batch_stats", "mean"),),
    "running_var": (("batch_stats", "var"),),
}
"""What PyTorch calls a tensor of a layer, and where it may lie in the Flax variables."""


def from_torch(
    model: nn.Module, state_dict: Mapping[str, Any] | str | Path, *, source: str, in_channels: int = 3
) -> dict[str, Any]:
    """Flax variables for `model` from a PyTorch checkpoint.

    Args:
        model: the module that will use the variables.
        state_dict: tensors by name (PyTorch's or NumPy's), or the path of a `.pth` file with them; reading a file takes
            PyTorch, which runs no code from it (`weights_only=True`).
        source: whose names the tensors carry: "torchfcn" (for fcn32s, fcn16s, fcn8s on vgg16) or "torchvision" (for VGG
            encoders and classifiers; an encoder leaves `classifier.*` aside).
        in_channels: channels of the model's images.

    Returns:
        `{"params": ..., "batch_stats": ...}` as `model.init` would give (without "batch_stats" where the model has none).

    Raises:
        ValueError: for an unknown source, a model that the source does not have, upsampling tensors that are not bilinear where
            the model's upsampling is fixed, or tensors that do not fit: one message lists all that are missing, left over or
            misshapen.
        ImportError: where a file is given and PyTorch is not installed.
        FileNotFoundError: where there is no such file.
    """
    if source not in SOURCES:
        raise unknown("source", source, SOURCES)
    images = jax.ShapeDtypeStruct((1, 64, 64, in_channels), jnp.float32)
    wanted = flatten_dict(jax.eval_shape(model.init, jax.random.key(0), images))
    tensors = {name: tensor for name, tensor in _read(state_dict).items() if not name.endswith("num_batches_tracked")}
    names = SOURCES[source](model, wanted)

    found, faults = {}, []
    for name, tensor in tensors.items():
        if name.startswith(names.ignored):
            continue
        if name in names.checks:
            names.checks[name](name, _array(tensor))
            continue
        module, _, leaf = name.rpartition(".")
        path = _place(names.modules.get(module), leaf, wanted)
        if path is None:
            faults.append(f"left over: {name} {list(tensor.shape)}")
            continue
        array = names.layout(module, _array(tensor)) if path[-1] == "kernel" else _array(tensor)
        if array.shape != wanted[path].shape:
            faults.append(f"misshapen: {name} is {list(array.shape)} in Flax's order, {_join(path)} {list(wanted[path].shape)}")
        found[path] = array
    faults += [f"missing: {_join(path)} {list(wanted[path].shape)}" for path in wanted if path not in found]
    if faults:
        raise ValueError(f"the {source} checkpoint does not fit {type(model).__name__}:\n  " + "\n  ".join(faults))
    return unflatten_dict({path: jnp.asarray(found[path], wanted[path].dtype) for path in wanted})


def _read(state_dict: Mapping[str, Any] | str | Path) -> Mapping[str, Any]:
    if not isinstance(state_dict, Mapping):
        path = Path(state_dict)
        if not path.is_file():
            raise FileNotFoundError(f"no checkpoint {path}")
        try:
            import torch
        except ImportError as error:
            raise ImportError(f"reading {path} takes PyTorch; install it, or pass a mapping of NumPy arrays") from error
        state_dict = torch.load(path, map_location="cpu", weights_only=True)
    others = [name for name, tensor in state_dict.items() if not hasattr(tensor, "shape")]
    if others:
        raise ValueError(f"a state dict holds tensors only, this one also {', '.join(map(str, others))}; pass the right entry")
    return state_dict


def _array(tensor: Any) -> np.ndarray:
    """A NumPy array of a PyTorch tensor (also on an accelerator, also bfloat16) or an array."""
    return tensor.detach().cpu().float().numpy() if hasattr(tensor, "detach") else np.asarray(tensor)


def _place(module: tuple[str, ...] | None, leaf: str, wanted: Mapping) -> tuple[str, ...] | None:
    """Where a tensor goes in the variables, None if nowhere."""
    if module is None:
        return None
    places = [(collection, *module, name) for collection, name in LEAVES.get(leaf, ())]
    return next((place for place in places if place in wanted), None)


def _join(path: tuple[str, ...]) -> str:
    return "/".join(path)
