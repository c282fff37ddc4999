"""A module of this library as JSON values, and back: its type and its fields, without code."""

import dataclasses
import functools
import importlib
import json
import pkgutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, get_args, get_origin

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from flax.core import FrozenDict

import fcn.classifiers
import fcn.encoders
import fcn.models.parts
from fcn.encoders.entry import Encoder
from fcn.errors import unknown
from fcn.options import check_option
from fcn.preprocessing import Preprocessing

_PACKAGES = (fcn.models.parts, fcn.models, fcn.classifiers, fcn.encoders)
_LARGEST = 2**24
"""Bytes that a description may have."""


def read_object(file: Path) -> dict[str, Any]:
    """The JSON object in a file that anybody may have written.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: it is no JSON object, or larger than descriptions are.
    """
    if (size := file.stat().st_size) > _LARGEST:
        raise ValueError(f"{file} has {size:,} bytes; descriptions have at most {_LARGEST:,}, so it was not read")
    try:
        description = json.loads(file.read_text(encoding="utf-8"))
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{file} is damaged: {type(error).__name__}: {error}") from error
    if not isinstance(description, dict):
        raise ValueError(f"{file} holds a {type(description).__name__}, not the description of a network")
    return description


@functools.cache
def _modules() -> dict[str, type[nn.Module]]:
    """The modules that a saved model may name: the public ones of fcn.models, fcn.classifiers and fcn.encoders."""
    found = {}
    for package in _PACKAGES:
        for info in pkgutil.iter_modules(package.__path__, f"{package.__name__}."):
            for name, value in vars(importlib.import_module(info.name)).items():
                if isinstance(value, type) and issubclass(value, nn.Module) and not name.startswith("_"):
                    found[name] = value
    return found


def describe(module: nn.Module) -> dict[str, Any]:
    """The type of a module and its fields.

    Raises:
        ValueError: it is no module of this library, or has a field that JSON cannot hold.
    """
    name = type(module).__name__
    if _modules().get(name) is not type(module):
        raise ValueError(f"{name} is not a module of fcn.models, fcn.classifiers or fcn.encoders; only these can be saved")
    fields = {field: getattr(module, field) for field in _fields(type(module))}
    _check_axis(name, fields)
    return {"type": name, "fields": {field: plain(value) for field, value in fields.items()}}


def _check_axis(name: str, fields: Mapping[str, Any]) -> None:
    """Refuses a network that computes only where somebody else's pmap names an axis."""
    if (axis := fields.get("axis_name")) is not None:
        raise ValueError(f"field axis_name of {name} is {axis!r}; a saved model has none: clone(axis_name=None) makes it so")


def _fields(cls: type[nn.Module]) -> list[str]:
    """The fields of a module that are its own."""
    return [field.name for field in dataclasses.fields(cls) if field.name not in ("parent", "name")]


def plain(value: Any) -> Any:
    """A field as JSON: plain values, lists, modules and types of numbers."""
    if isinstance(value, nn.Module):
        return describe(value)
    if isinstance(value, Encoder):
        raise ValueError("an encoder that is given as a row cannot be saved; give it by name (see fcn.register_encoder)")
    if isinstance(value, Preprocessing):
        return value.to_json()
    if isinstance(value, str | bool | int | float | None):
        return value
    if isinstance(value, np.ndarray | np.generic | jax.Array):
        return value.tolist()
    if isinstance(value, Sequence):
        return [plain(item) for item in value]
    if isinstance(value, Mapping):
        return {"mapping": {name: plain(item) for name, item in value.items()}}
    try:
        return {"dtype": jnp.dtype(value).name}
    except TypeError:
        raise ValueError(f"{value!r} cannot be saved; a field holds numbers, words, lists, modules or dtypes") from None


def rebuild(value: Any) -> Any:
    """The inverse of `plain`, for values that anybody may have written.

    Raises:
        ValueError: there is no such module or field, or a field has a value that it cannot have.
        AttributeError, KeyError, RecursionError, TypeError: the values do not have the form that `plain` gives.
    """
    if isinstance(value, list):
        return tuple(map(rebuild, value))
    if not isinstance(value, dict):
        return value
    if set(value) == {"dtype"}:
        return getattr(jnp, jnp.dtype(value["dtype"]).name)
    if set(value) == {"mapping"}:
        return FrozenDict({name: rebuild(item) for name, item in value["mapping"].items()})
    return _module(value["type"], value["fields"])


def _module(name: str, fields: Mapping[str, Any]) -> nn.Module:
    if name not in (modules := _modules()):
        raise unknown("module", name, modules)
    kinds = {field.name: field.type for field in dataclasses.fields(modules[name])}
    _check_axis(name, fields)
    values = {}
    for field, item in fields.items():
        if field not in (known := _fields(modules[name])):
            raise unknown(f"field of {name}", field, known)
        values[field] = _named(kinds[field], rebuild(item))
        check_option(f"field {field} of {name}", field, values[field], kinds[field])
    return modules[name](**values)


def _named(kind: Any, value: Any) -> Any:
    """Named tuples again, where a field is said to hold one, or a tuple of them."""
    if hasattr(kind, "_fields"):
        return kind(*value)
    item = next(iter(get_args(kind)), None) if get_origin(kind) is tuple else None
    return tuple(item(*one) for one in value) if item is not None and hasattr(item, "_fields") else value
