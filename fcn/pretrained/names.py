"""How the reference implementations call the parameters of a model.

A module is called there as its path here, with dots: `layer1_0/conv1` is `layer1.0.conv1`. What deviates stands in the classes
of the modules: `references` maps a source to pairs (pattern, replacement), regular expressions that are applied in order to the
dotted names below the module. A source that a class does not list has no weights for it; `needs` maps a source to the (option,
value, reason) without which its weights give other outputs.

Encoders of the references often have layers that are not used: those after the last map. `kept` maps a source to the (option,
value) with which the encoder here has these layers, too (so of models); `kept_variables` gives the shapes of those that it has
with no option.
"""

import re
from collections.abc import Callable, Iterable, Mapping
from typing import Any, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from flax.traverse_util import flatten_dict

from fcn.errors import unknown
from fcn.layers import BatchNorm
from fcn.models.parts.supervision import COARSE_HEAD
from fcn.models.unet2015 import UNet2015, valid_sizes

SOURCES = (
    *("torchvision", "timm", "smp", "torchfcn", "espnet", "cifar", "caffe", "tf_deeplab", "cellpose"),
    *("stardist", "brainchop", "phasenet", "nnunet", "monai"),
)
LEAVES = {"kernel": "weight", "scale": "weight", "alpha": "weight", "mean": "running_mean", "var": "running_var"}
"""What a parameter of a layer is called there, if not the same."""
TENSORFLOW = ("tf_deeplab", "stardist", "brainchop", "phasenet")
"""Sources whose names and order of axes are Flax's own: `layer/kernel`, channels last; transposed kernels are [..., O, C]."""
OF_ONE_COLUMN = ("phasenet",)
"""Sources whose signals are images of one column: their kernels are [k, 1, C, O]."""
_BATCH_NORM = {"scale": "gamma", "bias": "beta", "mean": "moving_mean", "var": "moving_variance"}
"""What TensorFlow calls the parameters of BatchNorm."""

_ALSO = {"segmentation_models_pytorch": "smp"}

Path = tuple[str, ...]


class Parts(NamedTuple):
    """The variables of a model, and the modules that they belong to."""

    variables: Mapping[Path, jax.ShapeDtypeStruct]
    modules: Mapping[Path, nn.Module]


def dimensions_of(model: Any, axes: Iterable[int]) -> int:
    """How many spatial dimensions a model has whose kernels have so many axes; where these do not tell, two if it can."""
    known, found = getattr(model, "dimensions", None) or (2,), max(axes, default=4) - 2
    return next(number for number in (found, 2, *known) if number in known)


def parts(model: Any, in_channels: int, dimensions: int = 2) -> Parts:
    """What `model` consists of, found by tracing `model.init`; nothing is computed.

    Raises:
        ValueError: `model` is no Flax module.
    """
    if not isinstance(model, nn.Module):
        raise ValueError(
            f"the first argument must be a Flax module, such as fcn.create_model(...), not a {type(model).__name__}"
        )
    modules: dict[Path, nn.Module] = {}

    def note(call, args, kwargs, context):
        modules.setdefault(tuple(context.module.path), context.module)
        return call(*args, **kwargs)

    with nn.intercept_methods(note):
        side = valid_sizes(1, 2**20, model.depth)[0] if isinstance(model, UNet2015) else 64
        images = jax.ShapeDtypeStruct((1, *(side,) * dimensions, in_channels), jnp.float32)
        shapes = jax.eval_shape(lambda key, x: model.init(key, x), jax.random.key(0), images)
    variables: dict[Path, Any] = flatten_dict(shapes)
    return Parts(variables, modules)


def image_channels(
    model: Any, wanted: Mapping[Path, Any], given: Callable[[Path], tuple[int, ...] | None], dimensions: int = 2
) -> int:
    """The channels of the images of a model whose variables have the shapes that `given` knows (None where it knows none).

    The kernels that take three channels of an image of three tell it; where other kernels are among these, the number counts
    with which most shapes agree. `wanted` are the variables for images of three channels.
    """
    stems = {path: given(path) for path, leaf in wanted.items() if path[-1] == "kernel" and leaf.shape[-2:-1] == (3,)}
    counts = {shape[-2] for path, shape in stems.items() if shape and len(shape) == len(wanted[path].shape)} - {0}

    def agreeing(count: int) -> int:
        leaves = wanted if count == 3 else parts(model, count, dimensions).variables
        return sum(given(path) == leaf.shape for path, leaf in leaves.items())

    return max(sorted(counts), key=agreeing) if len(counts) > 1 else next(iter(counts), 3)


def channels_of(model: nn.Module, variables: Mapping[str, Any]) -> int:
    """The channels of the images that a model's variables are for."""
    leaves: dict[Path, Any] = flatten_dict(dict(variables))
    shapes = {path: np.shape(value) for path, value in leaves.items()}
    dimensions = dimensions_of(model, map(len, shapes.values()))
    return image_channels(model, parts(model, 3, dimensions).variables, shapes.get, dimensions)


def kept_parts(modules: Mapping[Path, nn.Module], source: str, in_channels: int, dimensions: int) -> Parts:
    """What the model or the encoder among `modules` consists of in `source`, with the layers that are not used."""
    variables, found = {}, {}
    for path, module in modules.items():
        if source in (kept := getattr(module, "kept", {})):
            option, value = kept[source]
            more = {tuple(name.split("/")): shape for name, shape in getattr(module, "kept_variables", {}).items()}
            variables |= {("params", *path, *name): jax.ShapeDtypeStruct(shape, jnp.float32) for name, shape in more.items()}
            if getattr(module, option) != value:
                whole = parts(module.clone(parent=None, name=None, **{option: value}), in_channels, dimensions)
                variables |= {(top, *path, *below): shape for (top, *below), shape in whole.variables.items()}
                found |= {(*path, *below): inner for below, inner in whole.modules.items()}
    return Parts(variables, found)


def reference_names(model: nn.Module, variables: Mapping[Path, Any], modules: Mapping[Path, nn.Module], source: str):
    """Path of each variable -> name of the tensor in `source`; heads of deep supervision, which no source has, are left out.

    Raises:
        ValueError: `source` is unknown or has no weights for this model.
    """
    if source not in SOURCES:
        meant = str(source).casefold().replace("-", "_")
        meant = _ALSO.get(meant, meant)
        if meant in SOURCES:
            raise ValueError(f"unknown source {source!r}; did you mean {meant!r}?")
        raise unknown("source", source, SOURCES)
    known = getattr(model, "references", {})
    if source not in known:
        own = f"it has {', '.join(known)}" if known else getattr(model, "no_reference", "it has no reference")
        raise ValueError(f"source {source!r} has no weights for {type(model).__name__}; {own}")
    if source in (needs := getattr(model, "needs", {})):
        option, value, reason = needs[source]
        if getattr(model, option) != value:
            raise ValueError(f"{reason}: build it with {option}={value}")
    return {path: _name(path[1:], modules, source) for path in variables if not _is_coarse(path)}


def _is_coarse(path: Path) -> bool:
    return any(part.startswith(COARSE_HEAD) for part in path)


def _name(path: Path, modules: Mapping[Path, nn.Module], source: str) -> str:
    *layer, leaf = path
    if source in TENSORFLOW:
        return "/".join((*layer, _BATCH_NORM[leaf] if isinstance(modules.get(tuple(layer)), BatchNorm) else leaf))
    name = _dotted(layer)
    for length in range(len(layer), -1, -1):  # from the innermost module to the model itself
        renames = getattr(modules.get(tuple(layer[:length])), "references", {}).get(source, ())
        prefix = _dotted(layer[:length])
        # Renames of inner modules keep what lies before them: the prefix still stands at the beginning.
        inner = name[len(prefix) :].lstrip(".") if length else name
        for pattern, replacement in renames:
            inner = re.sub(pattern, replacement, inner)
        name = f"{prefix}.{inner}".strip(".") if length else inner
    return f"{name}.{LEAVES.get(leaf, leaf)}".lstrip(".")


def _dotted(layer) -> str:
    """("layer1_0", "conv1") -> "layer1.0.conv1"."""
    return re.sub(r"_(\d+)(?=[._]|$)", r".\1", ".".join(layer))
