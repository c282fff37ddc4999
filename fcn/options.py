"""The options of a network: which there are, their types and ranges, and what other libraries call them.

What is built by name and what is read from a file go through the same check.
"""

import inspect
import numbers
import re
import types
import typing
from collections.abc import Callable, Iterator, Mapping
from typing import Any, Literal

import flax.linen as nn
import jax.numpy as jnp
import numpy as np
from flax.core import FrozenDict

from fcn.environment import CONFIG
from fcn.errors import unknown
from fcn.ranges import Range, abbreviate

_LONGEST = 64
"""Entries that a list may have."""
_COUNTS = Range(0, 65536, above=True)
_RANGES = (
    (r"(.*_)?dropout(_rate)?|drop_path_rate", Range(0, 1, below=True)),
    (r"(encoder_)?depth", Range(1, 10)),
    (r"blocks(_(up|down))?|layers|convolutions|repeats|n_(conv|blocks)_per_stage(_decoder)?|num_res_units", Range(1, 256)),
    (r"[pq]", Range(0, 256)),
    (r"strides|.*_stride|upsampling|factor|dilation", Range(1, 64)),
    (r"(.*_)?padding", Range(0, 4096)),
    (r"(.*_)?indices", Range(-256, 256)),
    (r"momentum|eps|epsilon", Range(0, 1)),
)
"""(Names, as a regular expression, and the numbers that they allow); `_COUNTS` holds for all other names."""

_ELSEWHERE = {
    "classes": "the number of classes is num_classes",
    "encoder_name": "the encoder is encoder",
    "encoder_weights": "weights are variables here: fcn.load_weights(NAME) gives those of an encoder",
    "weights": "weights are variables here: fcn.load_weights(NAME) gives them",
    "pretrained": "weights are variables here: fcn.load_weights(NAME) gives them",
    "in_channels": "it takes the channels of the images that init is given",
    "in_chans": "it takes the channels of the images that init is given",
}
"""What other libraries call options, and where it is here."""


def build(kind: str, name: str, constructor: Callable[..., nn.Module], **options) -> nn.Module:
    """The module with these options.

    Args:
        kind: "model", "encoder" or "classifier", for messages.
        name: of the module, for messages.
        constructor: makes it.
        **options: its arguments; lists become tuples.

    Raises:
        ValueError: an option is not known, or has a value of another type or outside its range.
    """
    known = known_options(constructor)
    options = {option: frozen(value, f"option {option} of {kind} {name!r}") for option, value in options.items()}
    for option, value in options.items():
        if option not in known and option in _ELSEWHERE:
            raise ValueError(f"{kind} {name!r} has no option {option!r}; {_ELSEWHERE[option]}")
        if option not in known:
            raise unknown(f"option of {kind} {name!r}:", option, known)
        check_option(f"option {option} of {kind} {name!r}", option, value, known[option].annotation)
    return constructor(**options)


def known_options(constructor: Callable) -> dict[str, inspect.Parameter]:
    """The arguments that may be set: all but Flax's own and those that a partial fixes."""
    fixed = getattr(constructor, "keywords", {})
    known = inspect.signature(constructor).parameters
    return {option: known[option] for option in known if option not in {"parent", "name", *fixed}}


def check_option(what: str, option: str, value: Any, hint: Any) -> None:
    """Refuses a value that an option of a network cannot have.

    Args:
        what: what to call it in the message, such as "option depth of model 'unet'".
        option: its name, which tells the range of its numbers.
        value: what was given, with tuples in place of lists.
        hint: the type that it is declared with.

    Raises:
        ValueError: the value has another type, or a number in it is outside its range.
    """
    if option in ("dtype", "param_dtype"):
        wanted = None if value is None and option == "dtype" else _wrong_dtype(value)
    elif option == "axis_name":
        wanted = None
    else:
        wanted = wrong_type(value, hint) or _out_of_range(option, value)
    if wanted:
        raise ValueError(f"{what} is {abbreviate(value)}; it must be {wanted}")


def _wrong_dtype(value: Any) -> str | None:
    """What a type of numbers must be instead, if networks cannot compute in it."""
    try:
        dtype = jnp.dtype(value) if value is not None else None
    except TypeError:
        dtype = None
    if dtype is None or not jnp.issubdtype(dtype, jnp.floating):
        return "a floating-point type, such as jnp.float32 or jnp.bfloat16"
    if dtype == np.float64 and not CONFIG.jax_enable_x64:
        return "a type that JAX computes in: for float64 call jax.config.update('jax_enable_x64', True) first"
    return None


def wrong_type(value: Any, hint: Any) -> str | None:
    """What a value must be instead, if it has not the type that a field is declared with; lists are given as tuples."""
    if _fits(value, hint):
        return None
    return hint.__name__ if isinstance(hint, type) else re.sub(r"\b(typing|collections\.abc)\.", "", str(hint))


def _fits(value: Any, hint: Any) -> bool:
    """Whether a value has the type that a field is declared with."""
    origin, inner = typing.get_origin(hint), typing.get_args(hint)
    if origin in (typing.Union, types.UnionType):
        return any(_fits(value, one) for one in inner)
    if origin is Literal:
        return value in inner
    if origin is tuple and isinstance(value, tuple):
        kinds = inner[:1] * len(value) if inner[-1] is ... else inner
        return len(kinds) == len(value) and all(map(_fits, value, kinds))
    if hint in (int, float):
        kind = numbers.Integral if hint is int else numbers.Real
        return isinstance(value, kind) and not isinstance(value, bool)
    kind = origin or hint
    return kind is inspect.Parameter.empty or kind is Any or isinstance(value, kind or types.NoneType)


def _out_of_range(option: str, value: Any) -> str | None:
    """What a number in the value must be instead, or how long the list, if one is outside its range."""
    if isinstance(value, tuple) and len(value) > _LONGEST:
        return f"a list of at most {_LONGEST}"
    for name, number in _numbers(option, value):
        allowed = next((allowed for names, allowed in _RANGES if re.fullmatch(names, name)), _COUNTS)
        if wanted := allowed.objection(number, int if isinstance(number, numbers.Integral) else float):
            return wanted if name == option else f"{wanted} in {name}"
    return None


def _numbers(name: str, value: Any) -> Iterator[tuple[str, Any]]:
    """Each number in a value, with the name that tells its range."""
    if isinstance(value, Mapping):
        named = value.items()
    elif isinstance(value, tuple):
        named = zip(getattr(value, "_fields", [name] * len(value)), value, strict=True)
    else:
        named = ()
        if isinstance(value, numbers.Real) and not isinstance(value, bool):
            yield name, value
    for inner, item in named:
        yield from _numbers(inner, item)


def frozen(value: Any, what: str = "the option") -> Any:
    """Lists as tuples, NumPy's numbers as Python's and mappings that cannot change: a model can be compared and hashed.

    Raises:
        ValueError: a mapping, which the message calls `what`, has a key that is no text.
    """
    if isinstance(value, np.number | np.bool_):
        return value.item()
    if type(value) in (list, tuple):
        return tuple(frozen(item, what) for item in value)
    if not isinstance(value, Mapping):
        return value
    if others := [key for key in value if not isinstance(key, str)]:
        raise ValueError(f"{what} has the key {abbreviate(others[0])}; keys are text")
    return FrozenDict({key: frozen(item, what) for key, item in value.items()})
