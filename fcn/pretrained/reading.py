"""Tensors by name, from a mapping or a file."""

import re
import zipfile
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

_UNPACKED = 2**26
"""Bytes to which an archive may unpack in any case; beyond, it must not be `_PACKED` times as large as its file."""
_PACKED = 20
_IN_FOLDER = "model.safetensors"
_TORCH = (".pth", ".pt", ".th", ".ckpt", ".bin")
_KERAS = (".h5", ".hdf5")
_KNOWN = (".safetensors", ".npz", *_TORCH, *_KERAS)


def read_tensors(state_dict: Any) -> dict[str, Any]:
    """The tensors of a mapping, of a file or of a folder.

    Files are `.safetensors`, `.npz`, PyTorch's (`.pth`, `.pt`, `.th`, `.ckpt`, `.bin`) or Keras 2's (`.h5`, `.hdf5`). Where the
    mapping has an entry "state_dict", "model_state_dict" or "model" with tensors, these are meant. BatchNorm's
    `num_batches_tracked` is left out.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: this is no state dict, or the file is of another kind, damaged, or holds more than tensors.
        ImportError: the file takes PyTorch or h5py, which is not installed.
    """
    given = "the state dict"
    if isinstance(state_dict, str | Path):
        given, state_dict = str(state_dict), read_file(Path(state_dict))
    if not isinstance(state_dict, Mapping):
        advice = (
            "net.state_dict()" if hasattr(state_dict, "state_dict") else "a mapping of tensors by name, or the path of a file"
        )
        raise ValueError(f"{given} is a {type(state_dict).__name__}; pass {advice}")
    for name in ("state_dict", "model_state_dict", "model"):
        if isinstance(state_dict.get(name), Mapping):
            state_dict = state_dict[name]
    others = [name for name, tensor in state_dict.items() if not (isinstance(name, str) and hasattr(tensor, "shape"))]
    if others:
        raise ValueError(f"a state dict holds tensors only, this one also {', '.join(map(str, others))}; pass the right entry")
    return {name: tensor for name, tensor in state_dict.items() if not name.endswith("num_batches_tracked")}


def import_torch(what: str, instead: str = "") -> Any:
    """PyTorch, which only other implementations' files and names take.

    Raises:
        ImportError: it is not installed; one sentence says what takes it and what may be done instead.
    """
    try:
        import torch
    except ImportError as error:
        raise ImportError(f"{what} takes PyTorch: pip install torch{instead and f', or {instead}'}") from error
    return torch


def _refuse_bomb(path: Path) -> None:
    """Refuses an archive that unpacks to far more than weights do, before it is unpacked; its directory says to how much."""
    try:
        with zipfile.ZipFile(path) as archive:
            unpacked = sum(entry.file_size for entry in archive.infolist())
    except (zipfile.BadZipFile, NotImplementedError):
        return  # no archive, or a damaged one, which its reader refuses
    _check_size(path, unpacked)


def _check_size(path: Path, unpacked: int) -> None:
    packed = path.stat().st_size
    if unpacked > max(_UNPACKED, _PACKED * packed):
        raise ValueError(f"{path} has {packed:,} bytes and would unpack to {unpacked:,}; weights do not, so it was not read")


def number_array(name: str, tensor: Any) -> np.ndarray:
    """The array of a tensor (PyTorch's, also on an accelerator or bfloat16, or NumPy's) that holds parameters.

    Raises:
        ValueError: it holds whole, complex or truth values, or numbers that are not finite.
    """
    given = str(tensor.dtype).removeprefix("torch.")
    if "float" not in given:
        raise ValueError(f"{name} holds {given}; the parameters of a network are floating-point numbers")
    try:
        array = tensor.detach().cpu().float().numpy() if hasattr(tensor, "detach") else np.asarray(tensor)
    except (NotImplementedError, TypeError) as error:  # PyTorch's, of tensors that are sparse or have no values
        raise ValueError(f"{name} is no plain array of numbers: {error}") from error
    with np.errstate(over="ignore"):
        finite = np.isfinite(array.astype(np.float32, copy=False)).all()
    if not finite:
        raise ValueError(f"{name} holds numbers that are not finite (NaN or infinity in float32); it is damaged")
    return array


def check_file(path: Path) -> Path:
    """The file with tensors that `path` is, or, as others save them, the one in the folder that it is.

    Raises:
        FileNotFoundError: there is none.
        ValueError: the file is of another kind.
    """
    if path.is_dir():
        if not (path / _IN_FOLDER).is_file():
            raise FileNotFoundError(f"{path} is a folder without {_IN_FOLDER}; give a checkpoint file")
        path = path / _IN_FOLDER
    if not path.is_file():
        raise FileNotFoundError(f"no checkpoint {path}")
    if path.suffix not in _KNOWN:
        raise ValueError(f"{path} is no checkpoint that can be read; known are {', '.join(_KNOWN)}")
    return path


def read_file(path: Path) -> Any:
    """What a file holds, by name.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: it is of another kind, damaged, or holds more than tensors.
        ImportError: it takes PyTorch or h5py, which is not installed.
    """
    path = check_file(path)
    if path.suffix in _KERAS:
        return _read_keras(path)
    torch = import_torch(f"reading {path}", "have the tensors as .safetensors or .npz") if path.suffix in _TORCH else None
    _refuse_bomb(path)
    from safetensors.numpy import load_file

    try:
        if torch is not None:
            return torch.load(path, map_location="cpu", weights_only=True)
        if path.suffix == ".safetensors":
            return load_file(path)
        with np.load(path) as arrays:
            return dict(arrays)
    except Exception as error:  # each reader raises its own, and for a damaged file nearly anything
        if str(error).startswith("Object arrays cannot be loaded"):  # NumPy's word for arrays of objects
            raise ValueError(f"{path} holds pickled Python objects, which are not read; save plain arrays") from error
        if "GLOBAL" in str(error):  # PyTorch's word for what only running code would bring back
            raise ValueError(f"{path} holds a pickled Python object, not a state dict: save net.state_dict()") from error
        kind = type(error).__name__
        raise ValueError(f"{path} cannot be read as {path.suffix}; it is damaged or of another kind ({kind})") from error


def _read_keras(path: Path) -> dict[str, np.ndarray]:
    """The arrays of a file that Keras wrote in its first form, HDF5, by "layer/kernel" and "layer/bias".

    Raises:
        ValueError: it is damaged, or of another form.
        ImportError: h5py is not installed.
    """
    try:
        import h5py
    except ImportError as error:
        raise ImportError(
            f"reading {path} takes h5py: pip install h5py, or have the tensors as .safetensors or .npz"
        ) from error
    arrays: dict[str, Any] = {}

    def keep(name, item):
        if isinstance(item, h5py.Dataset) and not name.startswith("optimizer_weights/"):
            arrays[name] = item

    try:
        with h5py.File(path) as file:
            file.visititems(keep)
            _check_size(path, sum(item.nbytes for item in arrays.values()))
            arrays = {name: item[()] for name, item in arrays.items()}
    except (OSError, RuntimeError, KeyError) as error:  # the latter two where a group is damaged
        raise ValueError(f"{path} cannot be read as {path.suffix}; it is damaged or of another kind") from error
    if any("/vars/" in name for name in arrays):
        raise ValueError(
            f'{path} has no names of layers, as Keras 3 writes weights; write the whole model there: model.save("model.h5")'
        )
    layers = _keras_layers(name.split("/")[-2] for name in arrays if "/" in name)
    ends = {name: name.removesuffix(":0").split("/")[-2:] for name in arrays}
    return {"/".join(layers.get(part, part) for part in ends[name]): array for name, array in arrays.items()}


def _keras_layers(names: Iterable[str]) -> dict[str, str]:
    """Convolutions that Keras named itself, as it does from conv2d or conv2d_17 on: conv2d_0, conv2d_1 ..."""
    own = {name for name in names if re.fullmatch(r"conv2d(_\d+)?", name)}
    return {name: f"conv2d_{i}" for i, name in enumerate(sorted(own, key=lambda name: int(name[7:] or 0)))}
