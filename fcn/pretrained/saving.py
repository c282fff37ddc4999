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
from flax.traverse_util import flatten_dict, unflatten_dict

import fcn.encoders
import fcn.models
from fcn.errors import unknown

FORMAT = 1
_DESCRIPTION, _VARIABLES = "model.json", "variables.safetensors"
_FACTS = ("classes", "palette", "mean", "std", "licence")


class Saved(NamedTuple):
    """What `load` gives."""

    model: nn.Module
    variables: dict[str, Any]
    classes: tuple[str, ...] | None
    palette: tuple[tuple[int, int, int], ...] | None
    mean: tuple[float, ...] | None
    std: tuple[float, ...] | None
    licence: str | None


def save(
    path: str | Path,
    model: nn.Module,
    variables: Mapping[str, Any],
    *,
    classes: Sequence[str] | None = None,
    palette: Sequence[Sequence[int]] | np.ndarray | None = None,
    mean: Sequence[float] | None = None,
    std: Sequence[float] | None = None,
    licence: str | None = None,
) -> None:
    """Writes a model of this library and its variables into a new folder, whole or not at all.

    Args:
        path: of the folder; its parents are made.
        model: a module of `fcn.models` or `fcn.encoders`, as `create_model`, `create_encoder` and `create_classifier` give it.
        variables: its variables.
        classes: names of the classes, in the order of the logits.
        palette: a colour (R, G, B), 0..255, for each class.
        mean: what is taken off images of values 0..1, for each channel.
        std: what they are then divided by.
        licence: under which the variables may be used.

    Raises:
        FileExistsError: there is something at `path` already.
        ValueError: the model is not one of this library, or has a field that JSON cannot hold.
    """
    from safetensors.numpy import save_file

    path = Path(path)
    if path.exists():
        raise FileExistsError(f"{path} exists already; nothing was written")
    description = {"format": FORMAT, "model": _describe(model)}
    facts = zip(_FACTS, (classes, palette, mean, std, licence), strict=True)
    description |= {name: _plain(value) for name, value in facts if value is not None}
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
    if extra := sorted(set(description) - {"format", "model", *_FACTS}):
        raise ValueError(f"{path / _DESCRIPTION} says {', '.join(extra)}, which this version of fcn does not know")
    model = _rebuild(description["model"])
    leaves = {tuple(name.split("/")): jnp.asarray(value) for name, value in load_file(path / _VARIABLES).items()}
    return Saved(model, unflatten_dict(leaves), *(_tuples(description.get(name)) for name in _FACTS))


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
        return {name: _rebuild(item) for name, item in value["mapping"].items()}
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
