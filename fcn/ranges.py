"""Ranges of numbers, said where a field of a dataclass is declared and checked when one is made; choices of words likewise.

@dataclasses.dataclass(frozen=True)
class Config:
    steps: Annotated[int, Range(1)] = 1000
    share: Annotated[float | None, Range(0, 1, below=True)] = None
    size: Annotated[tuple[int, int], Range(1)] = (64, 64)  # of each number
    schedule: Literal["constant", "cosine"] = "cosine"

    def __post_init__(self):
        check_fields(self)
"""

import functools
import math
import numbers
import typing
from collections.abc import Iterator
from typing import Any, Literal, NamedTuple

from fcn.errors import unknown

LARGEST = {int: 2**31 - 1, float: 3.4e38}
"""The largest numbers that int32 and float32 hold, in which networks compute and steps are counted."""


class Range(NamedTuple):
    """The numbers from `low` to `high`; None is the largest that the field's type holds. Infinity and nan are in none."""

    low: float
    high: float | None = None
    above: bool = False
    """Leaves out `low` itself."""
    below: bool = False
    """Leaves out `high` itself."""

    def __str__(self):
        low = f"above {self.low:g}" if self.above else f"at least {self.low:g}"
        high = "" if self.high is None else f" and {'below' if self.below else 'at most'} {self.high:.10g}"
        return low + high

    def objection(self, value: Any, kind: type) -> str | None:
        """What `value` must be instead, if it is no number of this range and kind (int or float)."""
        number: Any = value  # as `numbers.Real` knows no order
        finite = isinstance(value, numbers.Integral) or (isinstance(value, numbers.Real) and math.isfinite(value))
        if not finite or isinstance(value, bool):
            return f"a finite number, {self}"
        if kind is int and not isinstance(value, numbers.Integral):
            return f"an integer, {self}"
        largest = LARGEST[kind] if self.high is None else self.high
        if number > largest:
            return f"{self}" if self.high is not None else f"{self} and at most {largest:.10g}"
        fits = (number > self.low or (number == self.low and not self.above)) and not (self.below and number == self.high)
        return None if fits else f"{self}"


def check_fields(config: Any, prefix: str = "") -> None:
    """Checks the fields of a dataclass whose type says a `Range` or a `Literal`; None where the type has it.

    Args:
        config: the dataclass.
        prefix: what stands before the name of a field in the message, such as "loss.".

    Raises:
        ValueError: naming the first field whose value is not allowed, and what is.
    """
    for name, kinds, allowed in _checked(type(config)):
        value = getattr(config, name)
        if value is None and type(None) in kinds:
            continue
        if not isinstance(allowed, Range):
            if value not in allowed:
                raise unknown(f"{prefix}{name}", value, allowed)
            continue
        for number in value if tuple in kinds and isinstance(value, tuple | list) else (value,):
            if wanted := allowed.objection(number, float if float in kinds else int):
                raise ValueError(f"{prefix}{name} is {abbreviate(value)}; it must be {wanted}")


@functools.cache
def _checked(cls: type) -> list[tuple[str, set, Range | tuple[str, ...]]]:
    """Of each field that is checked: its name, the types that its annotation is made of, and what is allowed."""
    found = []
    for name, hint in typing.get_type_hints(cls, include_extras=True).items():
        pieces = list(_pieces(hint))
        ranges = [piece for piece in pieces if isinstance(piece, Range)]
        words = tuple(piece for piece in pieces if isinstance(piece, str))
        if ranges or (words and tuple not in pieces):
            found.append((name, {piece for piece in pieces if isinstance(piece, type)}, ranges[0] if ranges else words))
    return found


def _pieces(hint: Any) -> Iterator[Any]:
    """`Annotated[tuple[int, int] | None, Range(1)]` -> Range(1), tuple, int, int, NoneType; the words of a Literal."""
    if hasattr(hint, "__metadata__"):
        yield from hint.__metadata__
        hint = hint.__origin__
    origin = typing.get_origin(hint)
    if origin is Literal:
        yield from typing.get_args(hint)
        return
    yield hint if origin is None else origin
    for part in typing.get_args(hint):
        yield from _pieces(part)


def abbreviate(value: Any) -> str:
    """A value as an error shows it: its beginning, where it is long."""
    text = repr(value)
    return text if len(text) <= 40 else f"{text[:30]}... ({len(text)} characters)"
