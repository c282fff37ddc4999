"""Checkpoints of the reference implementations as Flax variables, and back: a rename and a transpose, nothing left over."""

import re
import warnings
from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from flax.traverse_util import flatten_dict, unflatten_dict

from fcn.classifiers.dense import FlattenClassifier
from fcn.layers import ConvTranspose, LearnedBilinearUpsample
from fcn.pretrained.misfit import describe_misfit, shorten
from fcn.pretrained.names import OF_ONE_COLUMN, TENSORFLOW, dimensions_of, image_channels, kept_parts, parts, reference_names
from fcn.pretrained.reading import import_torch, number_array, read_tensors

_TRANSPOSED = (ConvTranspose, LearnedBilinearUpsample)


def from_torch(
    model: nn.Module, state_dict: Mapping[str, Any] | str | Path, *, source: str, in_channels: int | None = None
) -> dict[str, Any]:
    """Flax variables for `model` from a checkpoint of another implementation.

    The images have as many channels as the checkpoint's. Where other `in_channels` are asked for, the first kernels are adapted
    as in smp: summed over the channels for one, else repeated in turn and scaled by old / new channels; a warning says so.
    Where only the number of classes differs, the head keeps the values that `model.init` gives it; heads of deep supervision,
    which no other implementation has, do in any case. A warning says so.

    Args:
        model: the module that will use the variables.
        state_dict: tensors by name (PyTorch's or NumPy's), or the path of a file with them: `.safetensors`, `.npz`, or `.pth`,
            `.pt`, `.th`, `.ckpt`, `.bin` (these take PyTorch, which runs no code from them), `.h5` as Keras 2 writes it (takes
            h5py), or of a folder with `model.safetensors`, as smp writes. A prefix that wrappers add to all names, such as
            `module.` or Lightning's `model.`, is taken off; of a whole model's tensors, an encoder takes its own.
        source: whose names the tensors carry: "torchvision", "timm", "smp", "torchfcn", "espnet", "cifar", "caffe",
            "tf_deeplab", "cellpose", "stardist", "brainchop", "phasenet", "nnunet" or "monai".
        in_channels: channels of the model's images; None: as many as the checkpoint has.

    Returns:
        `{"params": ..., "batch_stats": ...}` as `model.init` would give (without "batch_stats" where the model has none).

    Raises:
        ValueError: for an unknown source, a model that the source does not have, a file that cannot be read, upsampling tensors
            that are not bilinear where the model's upsampling is fixed, tensors that are no finite real numbers, or tensors
            that do not fit: one message says how many are missing, left over or misshapen, and lists the first of them.
        ImportError: where a file takes a package that is not installed.
        FileNotFoundError: where there is no such file.
    """
    tensors = read_tensors(state_dict)
    dimensions = dimensions_of(model, (len(tensor.shape) - (source in OF_ONE_COLUMN) for tensor in tensors.values()))
    wanted, modules = parts(model, in_channels or 3, dimensions)
    names = reference_names(model, wanted, modules, source)
    tensors = _without_prefix(_renamed(tensors, modules), set(names.values()))
    if in_channels is None:

        def given(path):
            return _flax_shape(tensors.get(names.get(path, "")), path, modules, source)

        in_channels = image_channels(model, wanted, given, dimensions)
        wanted = wanted if in_channels == 3 else parts(model, in_channels, dimensions).variables
    kept = kept_parts(modules, source, in_channels, dimensions)
    beyond = reference_names(model, kept.variables, {**kept.modules, **modules}, source).values()
    for name, value in getattr(model, "constant_tensors", dict)().items():
        _check_constant(name, tensors.pop(name, value), value)

    found, adapted, heads, missing, misshapen = {}, [], [], {}, {}
    for path, name in names.items():
        shape = wanted[path]
        if name not in tensors:
            missing[name] = f"{name} for {'/'.join(path)} {list(shape.shape)}"
            continue
        array = _to_flax(number_array(name, tensors.pop(name)), path, modules, source)
        if _other_channels(array.shape, shape.shape, path, in_channels):
            adapted.append(f"{'/'.join(path)} from {array.shape[-2]}")
            array = _adapt(array, in_channels)
        if array.shape != shape.shape and _in_head(path, model) and _other_classes(array.shape, shape.shape, model):
            heads.append(path)
        elif array.shape != shape.shape:
            misshapen[name] = f"{name} is {list(array.shape)} in Flax's order, {'/'.join(path)} {list(shape.shape)}"
        else:
            found[path] = array
    left = [name for name in tensors if name not in beyond and not name.startswith(_unused(modules))]
    if missing or misshapen or left:
        left_over = {name: f"{name} {list(tensors[name].shape)}" for name in left}
        misfit = describe_misfit(len(found) + len(heads), missing, misshapen, left_over)
        raise ValueError(f"the {source} checkpoint does not fit {type(model).__name__}: {misfit}")
    if adapted:
        warnings.warn(f"adapted to images of {in_channels} channels: {', '.join(adapted)}", stacklevel=2)
    if heads:
        warnings.warn(f"another number of classes: {_listed(heads)} keep initial values", stacklevel=2)
    if own := wanted.keys() - names.keys():
        warnings.warn(f"{source} has no deep supervision: {_listed(sorted(own))} keep initial values", stacklevel=2)
    if kept_initial := [*heads, *own]:
        images = jnp.zeros((1, *(64,) * dimensions, in_channels))
        initial = flatten_dict(model.init(jax.random.key(0), images))
        found |= {path: initial[path] for path in kept_initial}
    return unflatten_dict({path: jnp.asarray(found[path], shape.dtype) for path, shape in wanted.items()})


def to_torch(model: nn.Module, variables: Mapping[str, Any], *, source: str, in_channels: int | None = None) -> dict[str, Any]:
    """A PyTorch state dict of a model's variables, which the reference implementation loads with `strict=True`.

    The inverse of `from_torch`. Takes PyTorch. Where encoders of the reference have layers that are not used, those after the
    last map, their tensors are there, too: zeros, and ones for scales and variances. Heads of deep supervision,
    which no reference has, are left out, and a warning says so.

    Args:
        model: the module that the variables belong to.
        variables: as `model.init` gives them.
        source: whose names the tensors get, as in `from_torch`.
        in_channels: channels of the model's images; None: as many as the variables are for.

    Returns:
        PyTorch tensors, float32, by name; BatchNorm's `num_batches_tracked` is 0.

    Raises:
        ValueError: for an unknown source, a model that the source does not have, or variables that are not the model's.
        ImportError: PyTorch is not installed.
    """
    torch = import_torch("to_torch")
    given: dict[Any, Any] = flatten_dict(dict(variables))
    dimensions = dimensions_of(model, map(np.ndim, given.values()))
    wanted, modules = parts(model, in_channels or 3, dimensions)
    if in_channels is None:
        in_channels = image_channels(model, wanted, lambda path: np.shape(given[path]) if path in given else None, dimensions)
        wanted = wanted if in_channels == 3 else parts(model, in_channels, dimensions).variables
    kept = kept_parts(modules, source, in_channels, dimensions)
    modules = {**kept.modules, **modules}
    names = reference_names(model, {**kept.variables, **wanted}, modules, source)
    if absent := {path[0] for path in wanted} - set(variables):
        whole = ", ".join(f"'{name}': ..." for name in dict.fromkeys(path[0] for path in wanted))
        raise ValueError(f"pass the variables, {{{whole}}}; {' and '.join(sorted(absent))} is not among {', '.join(variables)}")
    if faults := ["/".join(path) for path in wanted if path not in given or np.shape(given[path]) != wanted[path].shape]:
        raise ValueError(f"these variables are not those of {type(model).__name__}: {', '.join(shorten(faults))}")
    if own := wanted.keys() - names.keys():
        warnings.warn(f"{source} has no deep supervision: {_listed(sorted(own))} are left out", stacklevel=2)
    given = {path: np.full(shape.shape, path[-1] in ("scale", "var")) for path, shape in kept.variables.items()} | given
    tensors = dict(getattr(model, "constant_tensors", dict)())
    for path, name in names.items():
        tensors[name] = _from_flax(np.asarray(given[path], np.float32), path, modules, source)
        if name.endswith("running_mean"):
            tensors[name.removesuffix("running_mean") + "num_batches_tracked"] = np.zeros((), np.int64)
    for pattern, replacement in getattr(model, "doubled", ()):
        tensors |= {re.sub(pattern, replacement, name): tensor for name, tensor in tensors.items() if re.search(pattern, name)}
    return {name: torch.from_numpy(np.array(tensor, order="C")) for name, tensor in tensors.items()}


def _listed(paths: Sequence[tuple[str, ...]]) -> str:
    return ", ".join(map("/".join, paths))


def _flax_shape(tensor: Any, path, modules: Mapping, source: str) -> tuple[int, ...] | None:
    """The shape that a tensor has in Flax's order of axes, if there is one."""
    return None if tensor is None else _to_flax(np.broadcast_to(np.float32(0), tensor.shape), path, modules, source).shape


def _to_flax(array: np.ndarray, path: tuple[str, ...], modules: Mapping, source: str) -> np.ndarray:
    """A tensor in Flax's order of axes; one of another rank than any kernel's as it is, to be found misshapen."""
    transposed = isinstance(modules.get(path[1:-1]), _TRANSPOSED)
    if path[-1] != "kernel" or not 2 <= array.ndim <= 5:
        return array
    if source in TENSORFLOW:
        array = array[:, 0] if source in OF_ONE_COLUMN else array
        return np.flip(array, _taps(array)).swapaxes(-1, -2) if transposed else array
    if array.ndim == 2:
        window = _flattened_window(path, modules)
        if window and array.shape[1] % np.prod(window) == 0:  # channels first there, channels last here
            return array.reshape(len(array), -1, *window).transpose(2, 3, 1, 0).reshape(-1, len(array))
        return array.T
    if transposed:
        array = array.transpose(*range(2, array.ndim), 0, 1)
        return np.flip(array, _taps(array))
    return array.transpose(*range(2, array.ndim), 1, 0)


def _from_flax(array: np.ndarray, path: tuple[str, ...], modules: Mapping, source: str) -> np.ndarray:
    """The inverse of `_to_flax`."""
    transposed = isinstance(modules.get(path[1:-1]), _TRANSPOSED)
    if path[-1] != "kernel":
        return array
    if source in TENSORFLOW:
        array = np.flip(array, _taps(array)).swapaxes(-1, -2) if transposed else array
        return np.expand_dims(array, 1) if source in OF_ONE_COLUMN else array
    if array.ndim == 2:
        if window := _flattened_window(path, modules):
            return array.reshape(*window, -1, array.shape[1]).transpose(3, 2, 0, 1).reshape(array.shape[1], -1)
        return array.T
    if transposed:
        return np.flip(array, _taps(array)).transpose(array.ndim - 2, array.ndim - 1, *_taps(array))
    return array.transpose(array.ndim - 1, array.ndim - 2, *_taps(array))


def _taps(kernel: np.ndarray) -> tuple[int, ...]:
    """The axes of a kernel that are no channels, in Flax's order."""
    return tuple(range(kernel.ndim - 2))


def _flattened_window(path, modules) -> tuple[int, int] | None:
    """(height, width) of the map that a dense layer takes flattened, if it does."""
    parent = modules.get(path[1:-2])
    return parent.window if isinstance(parent, FlattenClassifier) and path[-2] == "fc6" else None


def _renamed(tensors: Mapping[str, Any], modules: Mapping) -> dict[str, Any]:
    """The tensors by the names that the reference has today: those of older checkpoints stand in `old_names` of a module.

    Raises:
        ValueError: two that are one tensor in the network differ.
    """
    pairs = {pair for module in modules.values() for pair in getattr(module, "old_names", ())}
    renamed: dict[str, str] = {}
    for name in tensors:
        today = name
        for pattern, replacement in pairs:
            today = re.sub(pattern, replacement, today)
        other = renamed.setdefault(today, name)
        if other != name and not np.array_equal(number_array(other, tensors[other]), number_array(name, tensors[name])):
            raise ValueError(f"{other} and {name} are one tensor of the network, but differ")
    return {today: tensors[name] for today, name in renamed.items()}


def _without_prefix(tensors: Mapping[str, Any], wanted: Collection[str]) -> dict[str, Any]:
    """The tensors without the prefix with which most of the wanted names are there; of a model's tensors, its encoder's only.

    What has another prefix stays as it is, to be found left over.
    """
    counts = Counter()
    for name in tensors:
        counts.update(name[: len(name) - len(end)] for end in _endings(name) if end in wanted)
    prefix = max(counts, key=lambda prefix: (counts[prefix], -len(prefix)), default="")
    if re.search(r"\b(encoder|backbone)\.$", prefix) and list(counts.values()).count(len(wanted)) == 1:
        return {name.removeprefix(prefix): tensor for name, tensor in tensors.items() if name.startswith(prefix)}
    stripped = {name.removeprefix(prefix): tensor for name, tensor in tensors.items()}
    return stripped if len(stripped) == len(tensors) else dict(tensors)


def _endings(name: str) -> list[str]:
    """ "a.b.c" -> "a.b.c", "b.c", "c"."""
    layers = name.split(".")
    return [".".join(layers[i:]) for i in range(len(layers))]


def _unused(modules: Mapping) -> tuple[str, ...]:
    """Beginnings of the names of tensors that a fuller checkpoint has: those of the model and of the encoder inside it."""
    return tuple(".".join((*path, name)) for path, module in modules.items() for name in getattr(module, "unused", ()))


def _in_head(path, model) -> bool:
    """Whether a variable belongs to the layers that give one channel a class."""
    return "/".join(path[1:]).startswith(tuple(f"{head}/" for head in getattr(model, "heads", ())))


def _other_classes(given: tuple[int, ...], wanted: tuple[int, ...], model: nn.Module) -> bool:
    """Whether another number of classes explains the shapes of a head's variable.

    With `heads_take_classes` the inputs of the heads, too, are one channel a class.
    """
    if getattr(model, "heads_take_classes", False):
        return len(given) == len(wanted) and given[:-2] == wanted[:-2]
    return _differ_in(given, wanted, axis=-1)


def _other_channels(given: tuple[int, ...], wanted: tuple[int, ...], path, in_channels: int) -> bool:
    """Whether another number of image channels explains the shape of a variable."""
    return path[-1] == "kernel" and wanted[-2] == in_channels and _differ_in(given, wanted, axis=-2)


def _differ_in(a: tuple[int, ...], b: tuple[int, ...], *, axis: int) -> bool:
    """Whether two shapes differ in one axis and no other."""
    differing = [i - len(a) for i in range(len(a)) if len(a) == len(b) and a[i] != b[i]]
    return differing == [axis]


def _adapt(kernel: np.ndarray, channels: int) -> np.ndarray:
    """A kernel [..., C, O] for images of another number of channels."""
    if channels == 1:
        return kernel.sum(-2, keepdims=True)
    old = kernel.shape[-2]
    return kernel[..., np.arange(channels) % old, :] * np.float32(old / channels)


def _check_constant(name: str, given: Any, value: np.ndarray) -> None:
    given = number_array(name, given)
    if given.shape != value.shape or not np.allclose(given, value, rtol=0, atol=1e-6):
        raise ValueError(
            f"{name} is not bilinear interpolation, but the model's upsampling is fixed to that; "
            "create the model with learned_upsampling=True"
        )
