"""Sizes that are known when a network runs: JAX's symbolic dimensions as nodes of an ONNX graph."""

from __future__ import annotations

from collections.abc import Sequence
from numbers import Integral
from typing import Any


def is_known(side: Any) -> bool:
    """Whether a size is a number; symbols are none."""
    return isinstance(side, Integral)


class Size:
    """A vector of one int64, a tensor of a graph, with which one can reckon."""

    def __init__(self, graph: Any, tensor: Any):
        self.graph, self.tensor = graph, tensor

    def _with(self, kind: str, *others: Size | int) -> Size:
        tensors = [x.tensor if isinstance(x, Size) else self.graph.integers([x]) for x in others]
        return Size(self.graph, self.graph.add(kind, *tensors))

    def __add__(self, other):
        return self._with("Add", self, other)

    def __sub__(self, other):
        return self._with("Sub", self, other)

    def __rsub__(self, other):
        return self._with("Sub", other, self)

    def __mul__(self, other):
        return self._with("Mul", self, other)

    def __neg__(self):
        return 0 - self

    def __mod__(self, other):
        return self._with("Mod", self, other)  # as Python's: of the divisor's sign

    def __floordiv__(self, other):
        return self._with("Div", self - self % other, other)  # ONNX rounds to zero

    def __pow__(self, power: int):
        return self * self ** (power - 1) if power > 1 else self

    def maximum(self, other: Size | int) -> Size:
        return self._with("Max", self, other)

    def minimum(self, other: Size | int) -> Size:
        return self._with("Min", self, other)

    __radd__, __rmul__ = __add__, __mul__


class Sizes:
    """Sizes that are computed once, however often they are asked for.

    JAX writes a symbolic dimension as a formula of integers, symbols, `+ - * ^`, `mod`, `floordiv`, `max` and `min`.

    Attributes:
        symbols: the sizes of the inputs, by name.
    """

    def __init__(self, graph: Any):
        self._graph = graph
        self.symbols: dict[str, Size] = {}
        self._known: dict[str, Any] = {}

    def vector(self, sides: Sequence[Any]) -> Any:
        """Sides as a vector."""
        if all(is_known(side) for side in sides):
            return self._graph.integers([int(side) for side in sides])
        parts = [self._graph.integers([int(side)]) if is_known(side) else self._size(side).tensor for side in sides]
        return self._graph.add("Concat", *parts, axis=0) if len(parts) > 1 else parts[0]

    def _size(self, side: Any) -> Size:
        formula = str(side)
        if formula not in self._known:
            layer, self._graph.layer = self._graph.layer, "sizes"
            self._known[formula] = eval(formula.replace("^", "**"), {"__builtins__": {}}, _OPERATIONS | self.symbols)
            self._graph.layer = layer
        return self._known[formula]


def _either(kind: str):
    """`max` or `min` of sizes and integers, one size at least."""
    return lambda a, b: getattr(a, kind)(b) if isinstance(a, Size) else getattr(b, kind)(a)


_OPERATIONS = {
    "mod": lambda a, b: a % b,
    "floordiv": lambda a, b: a // b,
    "max": _either("maximum"),
    "min": _either("minimum"),
}
