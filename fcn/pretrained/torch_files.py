"""Files that PyTorch reads, with the variables of a network here."""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import flax.linen as nn

from fcn.draft import draft_folder, open_to_readers
from fcn.pretrained.conversion import to_torch

TORCH_FILES = (".safetensors", ".pth")


def save_torch(
    path: str | Path, model: nn.Module, variables: Mapping[str, Any], *, source: str, in_channels: int | None = None
) -> None:
    """Writes the tensors that `fcn.to_torch` gives to a .pth or .safetensors file, whole or not at all. Takes PyTorch.

    Raises:
        FileExistsError: there is something at `path` already.
        ValueError: another ending, or what `to_torch` refuses.
        ImportError: PyTorch is not installed.
    """
    path = Path(path)
    if path.suffix not in TORCH_FILES:
        raise ValueError(f"{path} is neither a .safetensors nor a .pth file")
    if os.path.lexists(path):  # a link to nothing, too
        raise FileExistsError(f"{path} exists already; nothing was written")
    state = to_torch(model, variables, source=source, in_channels=in_channels)
    with draft_folder(path) as folder:
        draft = folder / path.name
        if path.suffix == ".pth":
            import torch

            torch.save(state, draft)
        else:
            from safetensors.torch import save_file

            save_file({name: tensor.contiguous() for name, tensor in state.items()}, draft)
        open_to_readers(draft)
        os.rename(draft, path)
