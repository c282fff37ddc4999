"""A model and its variables as one folder: `model.json` says what the network is, `variables.safetensors` holds its numbers."""

import dataclasses
import importlib
import json
import os
import pkgutil
import shutil
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple, get_args, get_origin

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from flax.core import FrozenDict
from flax.traverse_util import flatten_dict, unflatten_dict

import fcn.encoders
import fcn.models
from fcn.errors import unknown
from fcn.models.unet2015 import UNet2015, valid_sizes
from fcn.preprocessing import Preprocessing, from_json

FORMAT = 1
_DESCRIPTION, _VARIABLES = "model.json", "variables.safetensors"
_FACTS = ("classes", "palette", "preprocessing", "licence")
_OLD_FACTS = ("mean", "std", "bgr")  # of folders written before there was a record


class Saved(NamedTuple):
    """What `load` gives."""

    model: nn.Module
    variables: dict[str, Any]
    classes: tuple[str, ...] | None
    palette: tuple[tuple[int, int, int], ...] | None
    preprocessing: Preprocessing | None
    licence: str | None

    @property
    def mean(self) -> tuple[float, ...] | None:
        """The record's, if there is one."""
        return self.preprocessing and self.preprocessing.mean

    @property
    def std(self) -> tuple[float, ...] | None:
        """The record's, if there is one."""
        return self.preprocessing and self.preprocessing.std

    @property
    def bgr(self) -> bool:
        """The record's; false if there is none."""
        return self.preprocessing is not None and self.preprocessing.bgr


def save(
    path: str | Path,
    model: nn.Module,
    variables: Mapping[str, Any],
    *,
    classes: Sequence[str] | None = None,
    palette: Sequence[Sequence[int]] | np.ndarray | None = None,
    preprocessing: Preprocessing | None = None,
    mean: Sequence[int | float] | None = None,
    std: Sequence[int | float] | None = None,
    bgr: bool = False,
    licence: str | None = None,
) -> None:
    """Writes a model of this library and its variables into a new folder, whole or not at all.

    Args:
        path: of the folder; its parents are made.
        model: a module of `fcn.models` or `fcn.encoders`, as `create_model`, `create_encoder` and `create_classifier` give it.
        variables: its variables.
        classes: names of the classes, in the order of the logits.
        palette: a colour (R, G, B), 0..255, for each class.
        preprocessing: what the network expects of images.
        mean, std, bgr: these of its fields, in place of the record.
        licence: under which the variables may be used.

    Raises:
        FileExistsError: there is something at `path` already.
        ValueError: the model is not one of this library, or has a field that JSON cannot hold; the variables are not the
            model's; classes, palette or what is said of images do not fit.
    """
    from safetensors.numpy import save_file

    path = Path(path)
    if path.exists():
        raise FileExistsError(f"{path} exists already; nothing was written")
    description = {"format": FORMAT, "model": _describe(model)}
    if mean is not None or std is not None or bgr:
        if preprocessing is not None:
            raise ValueError("preprocessing says mean, std and bgr already; give either the record or these")
        given = {name: tuple(map(float, value)) for name, value in (("mean", mean), ("std", std)) if value is not None}
        preprocessing = Preprocessing(**given, bgr=bgr)
    values = (classes, palette, preprocessing, licence)
    facts = {name: _plain(value) for name, value in zip(_FACTS, values, strict=True) if value is not None}
    check_variables(model, variables)
    _check_facts(facts, getattr(model, "num_classes", None))
    description |= facts
    text = json.dumps(description, indent=2) + "\n"
    tensors = {"/".join(leaf): np.asarray(value) for leaf, value in flatten_dict(dict(variables)).items()}
    path.parent.mkdir(parents=True, exist_ok=True)
    draft = Path(tempfile.mkdtemp(prefix=f".{path.name}-", dir=path.parent))
    try:
        (draft / _DESCRIPTION).write_text(text)
        save_file(tensors, draft / _VARIABLES)
        os.rename(draft, path)
    finally:
        shutil.rmtree(draft, ignore_errors=True)


def load(path: str | Path) -> Saved:
    """Reads what `save` wrote. No code is read or run: the folder names modules of this library only.

    Raises:
        FileNotFoundError: there is no such folder, or a part of it is missing.
        ValueError: it was written in another format, or names a module or field that this library does not have.
    """
    from safetensors.numpy import load_file

    path = Path(path)
    for name in (_DESCRIPTION, _VARIABLES):
        if not (path / name).is_file():
            raise FileNotFoundError(f"{path} is no saved model: it has no {name}")
    description = json.loads((path / _DESCRIPTION).read_text())
    if description.get("format") != FORMAT:
        raise ValueError(f"{path} has format {description.get('format')}; this version of fcn reads format {FORMAT}")
    if extra := sorted(set(description) - {"format", "model", *_FACTS, *_OLD_FACTS}):
        raise ValueError(f"{path / _DESCRIPTION} says {', '.join(extra)}, which this version of fcn does not know")
    model = _rebuild(description["model"])
    leaves = {tuple(name.split("/")): jnp.asarray(value) for name, value in load_file(path / _VARIABLES).items()}
    facts = {name: _tuples(description[name]) for name in _FACTS if name in description}
    try:
        facts["preprocessing"] = _read_preprocessing(description)
    except ValueError as error:
        raise ValueError(f"{path / _DESCRIPTION}: {error}") from None
    return Saved(model, unflatten_dict(leaves), *(facts.get(name) for name in _FACTS))


def _read_preprocessing(description: Mapping[str, Any]) -> Preprocessing | None:
    """The record of a description, or what older ones say in its place."""
    old = {name: description[name] for name in _OLD_FACTS if name in description}
    if "preprocessing" not in description and not old:
        return None
    return from_json(description.get("preprocessing", old))


def check_variables(model: nn.Module, variables: Mapping[str, Any]) -> None:
    """Refuses variables that `model.init` would not give for any number of channels.

    Raises:
        ValueError: some are missing, left over or misshapen.
    """
    given = {path: np.shape(leaf) for path, leaf in flatten_dict(dict(variables)).items()}
    wanted = _shapes(model, 3)
    # The first kernels tell how many channels the images have.
    others = {
        given[path][-2] for path, shape in wanted.items() if shape[-2:-1] == (3,) and len(given.get(path, ())) == len(shape)
    }
    if len(others) == 1 and others != {3}:
        wanted = _shapes(model, others.pop())
    if given != wanted:
        faults = sorted("/".join(path) for path in wanted.keys() | given.keys() if given.get(path) != wanted.get(path))
        more = f" and {len(faults) - 5} more" if len(faults) > 5 else ""
        whole = "" if "params" in variables else "; give all collections, {'params': ..., 'batch_stats': ...}"
        raise ValueError(f"these variables are not those of {type(model).__name__}: {', '.join(faults[:5])}{more}{whole}")


def _shapes(model: nn.Module, channels: int) -> dict[tuple[str, ...], tuple[int, ...]]:
    side = valid_sizes(1, 2**20, model.depth)[0] if isinstance(model, UNet2015) else 64
    images = jax.ShapeDtypeStruct((1, side, side, channels), jnp.float32)
    shapes = jax.eval_shape(lambda x: model.init(jax.random.key(0), x), images)
    return {path: leaf.shape for path, leaf in flatten_dict(shapes).items()}


def _check_facts(facts: Mapping[str, Any], num_classes: int | None) -> None:
    names, palette = facts.get("classes"), facts.get("palette")
    for kind, values in (("classes", names), ("palette", palette)):
        if values is not None and num_classes is not None and len(values) != num_classes:
            raise ValueError(f"{kind} has {len(values)} entries, but the model has {num_classes} classes")
    for colour in palette or ():
        if len(colour) != 3 or not all(0 <= value <= 255 for value in colour):
            raise ValueError(f"palette has the colour {colour}; give red, green and blue from 0 to 255")


def _modules() -> dict[str, type[nn.Module]]:
    """The modules that a saved model may name: the public ones of fcn.models and fcn.encoders."""
    found = {}
    for package in (fcn.models, fcn.encoders):
        for info in pkgutil.iter_modules(package.__path__, f"{package.__name__}."):
            for name, value in vars(importlib.import_module(info.name)).items():
                if isinstance(value, type) and issubclass(value, nn.Module) and not name.startswith("_"):
                    found[name] = value
    return found


def _describe(module: nn.Module) -> dict[str, Any]:
    name = type(module).__name__
    if _modules().get(name) is not type(module):
        raise ValueError(f"{name} is not a module of fcn.models or fcn.encoders; only these can be saved")
    fields = {field: getattr(module, field) for field in _fields(type(module))}
    return {"type": name, "fields": {field: _plain(value) for field, value in fields.items()}}


def _fields(cls: type[nn.Module]) -> list[str]:
    """The fields of a module that are its own."""
    return [field.name for field in dataclasses.fields(cls) if field.name not in ("parent", "name")]


def _plain(value: Any) -> Any:
    """A field as JSON: plain values, lists, modules and types of numbers."""
    if isinstance(value, nn.Module):
        return _describe(value)
    if isinstance(value, Preprocessing):
        return value.to_json()
    if isinstance(value, str | bool | int | float | None):
        return value
    if isinstance(value, np.ndarray | np.generic | jax.Array):
        return value.tolist()
    if isinstance(value, Sequence):
        return [_plain(item) for item in value]
    if isinstance(value, Mapping):
        return {"mapping": {name: _plain(item) for name, item in value.items()}}
    try:
        return {"dtype": jnp.dtype(value).name}
    except TypeError:
        raise ValueError(f"{value!r} cannot be saved; a field holds numbers, words, lists, modules or dtypes") from None


def _rebuild(value: Any) -> Any:
    """The inverse of `_describe` and `_plain`."""
    if isinstance(value, list):
        return tuple(map(_rebuild, value))
    if not isinstance(value, dict):
        return value
    if set(value) == {"dtype"}:
        return getattr(jnp, jnp.dtype(value["dtype"]).name)
    if set(value) == {"mapping"}:
        return FrozenDict({name: _rebuild(item) for name, item in value["mapping"].items()})
    modules = _modules()
    if value["type"] not in modules:
        raise unknown("module", value["type"], modules)
    cls = modules[value["type"]]
    for field in value["fields"]:
        if field not in _fields(cls):
            raise unknown(f"field of {value['type']}", field, _fields(cls))
    kinds = {field.name: field.type for field in dataclasses.fields(cls)}
    return cls(**{field: _named(kinds[field], _rebuild(item)) for field, item in value["fields"].items()})


def _named(kind: Any, value: Any) -> Any:
    """Named tuples again, where a field is said to hold one, or a tuple of them."""
    if hasattr(kind, "_fields"):
        return kind(*value)
    item = next(iter(get_args(kind)), None) if get_origin(kind) is tuple else None
    return tuple(item(*one) for one in value) if hasattr(item, "_fields") else value


def _tuples(value: Any) -> Any:
    return tuple(map(_tuples, value)) if isinstance(value, list) else value
