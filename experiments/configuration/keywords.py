"""Options of the form name=value, as the command line has them, as keyword arguments."""

import json
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from fcn.ranges import LARGEST
from fcn.text import short_name


def keywords(texts: Sequence[str], whose: str, elsewhere: Mapping[str, str]) -> dict[str, Any]:
    """("depth=4",) -> {"depth": 4}; what is not JSON is a word.

    Args:
      texts: each name=value.
      whose: options they are, such as "model".
      elsewhere: names that are no options here, and what sets them.

    Raises:
      ValueError: one is not of the form name=value, is given twice or elsewhere, or holds what is no finite number.
    """
    try:
        found = _once([_parsed(text) for text in texts])
    except ValueError as error:
        raise ValueError(f"{whose} option {error}") from None
    if taken := sorted(elsewhere.keys() & found.keys()):
        raise ValueError(f"{whose} option {taken[0]!r} is no option: {elsewhere[taken[0]]}")
    return found


def _parsed(text: str) -> tuple[str, Any]:
    name, equals, value = text.partition("=")
    if not (name.isidentifier() and equals):
        raise ValueError(f"'{short_name(text)}' is not of the form name=value, such as base_features=32")
    try:
        number = _number(float)
        return name, json.loads(
            value, parse_int=_number(int), parse_float=number, parse_constant=number, object_pairs_hook=_once
        )
    except json.JSONDecodeError:
        return name, value
    except (ValueError, RecursionError) as error:
        why = "lists are nested too deeply" if isinstance(error, RecursionError) else error
        raise ValueError(f"'{short_name(text)}': {why}") from None


def _number(kind: type[int] | type[float]) -> Callable[[str], int | float]:
    """A function that reads a number of a kind which networks can compute with."""

    def read(text: str) -> int | float:
        if not abs(float(text)) <= LARGEST[kind]:
            raise ValueError(f"{short_name(text)} is no number from {-LARGEST[kind]:g} to {LARGEST[kind]:g}")
        return kind(text)

    return read


def _once(pairs: Sequence[tuple[str, Any]]) -> dict[str, Any]:
    """The pairs as a mapping; none may be given twice."""
    names = [name for name, _ in pairs]
    if twice := [name for name in names if names.count(name) > 1]:
        raise ValueError(f"{short_name(twice[0])} is given more than once")
    return dict(pairs)
