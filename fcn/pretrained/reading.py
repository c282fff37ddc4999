"""Tensors by name, from a mapping or a file."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np


def read_tensors(state_dict: Mapping[str, Any] | str | Path) -> dict[str, Any]:
    """The tensors of a mapping or of a `.safetensors`, `.npz`, `.pth`, `.pt` or `.th` file.

    Where the mapping has an entry "state_dict" or "model" with tensors, these are meant. The prefix `module.`, which PyTorch's
    DataParallel adds, and BatchNorm's `num_batches_tracked` are taken off.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: the file is of another kind, or holds more than tensors.
        ImportError: the file takes PyTorch or safetensors, which is not installed.
    """
    if not isinstance(state_dict, Mapping):
        state_dict = _read_file(Path(state_dict))
    for name in ("state_dict", "model"):
        if isinstance(state_dict.get(name), Mapping):
            state_dict = state_dict[name]
    others = [name for name, tensor in state_dict.items() if not hasattr(tensor, "shape")]
    if others:
        raise ValueError(f"a state dict holds tensors only, this one also {', '.join(map(str, others))}; pass the right entry")
    if state_dict and all(name.startswith("module.") for name in state_dict):
        state_dict = {name.removeprefix("module."): tensor for name, tensor in state_dict.items()}
    return {name: tensor for name, tensor in state_dict.items() if not name.endswith("num_batches_tracked")}


def _read_file(path: Path) -> Mapping[str, Any]:
    if not path.is_file():
        raise FileNotFoundError(f"no checkpoint {path}")
    if path.suffix == ".npz":
        with np.load(path) as arrays:
            return dict(arrays)
    if path.suffix == ".safetensors":
        from safetensors.numpy import load_file

        return load_file(path)
    if path.suffix not in (".pth", ".pt", ".th", ".bin"):
        raise ValueError(f"{path} is no checkpoint that can be read; known are .safetensors, .npz, .pth, .pt and .th")
    try:
        import torch
    except ImportError as error:
        raise ImportError(f"reading {path} takes PyTorch; install it, or pass a mapping of NumPy arrays") from error
    return torch.load(path, map_location="cpu", weights_only=True)
