"""Tensors by name, from a mapping or a file."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

_TORCH = (".pth", ".pt", ".th", ".ckpt", ".bin")


def read_tensors(state_dict: Any) -> dict[str, Any]:
    """The tensors of a mapping or of a `.safetensors`, `.npz`, `.pth`, `.pt`, `.th` or `.ckpt` file.

    Where the mapping has an entry "state_dict", "model_state_dict" or "model" with tensors, these are meant. BatchNorm's
    `num_batches_tracked` is left out.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: this is no state dict, or the file is of another kind, damaged, or holds more than tensors.
        ImportError: the file takes PyTorch, which is not installed.
    """
    given = "the state dict"
    if isinstance(state_dict, str | Path):
        given, state_dict = str(state_dict), _read_file(Path(state_dict))
    if not isinstance(state_dict, Mapping):
        advice = (
            "net.state_dict()" if hasattr(state_dict, "state_dict") else "a mapping of tensors by name, or the path of a file"
        )
        raise ValueError(f"{given} is a {type(state_dict).__name__}; pass {advice}")
    for name in ("state_dict", "model_state_dict", "model"):
        if isinstance(state_dict.get(name), Mapping):
            state_dict = state_dict[name]
    others = [name for name, tensor in state_dict.items() if not hasattr(tensor, "shape")]
    if others:
        raise ValueError(f"a state dict holds tensors only, this one also {', '.join(map(str, others))}; pass the right entry")
    return {name: tensor for name, tensor in state_dict.items() if not name.endswith("num_batches_tracked")}


def _read_file(path: Path) -> Any:
    if not path.is_file():
        raise FileNotFoundError(f"no checkpoint {path}")
    if path.suffix not in (".safetensors", ".npz", *_TORCH):
        raise ValueError(f"{path} is no checkpoint that can be read; known are .safetensors, .npz, .pth, .pt, .th and .ckpt")
    if path.suffix in _TORCH:
        try:
            import torch
        except ImportError as error:
            raise ImportError(f"reading {path} takes PyTorch; install it, or pass a mapping of NumPy arrays") from error
    from safetensors.numpy import load_file

    try:
        if path.suffix == ".safetensors":
            return load_file(path)
        if path.suffix == ".npz":
            with np.load(path) as arrays:
                return dict(arrays)
        return torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # each reader raises its own, and for a damaged file nearly anything
        if "GLOBAL" in str(error):  # PyTorch's word for what only running code would bring back
            raise ValueError(f"{path} holds a pickled Python object, not a state dict: save net.state_dict()") from error
        kind = type(error).__name__
        raise ValueError(f"{path} cannot be read as {path.suffix}; it is damaged or of another kind ({kind})") from error
