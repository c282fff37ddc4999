"""Operations on single numbers."""

from typing import Any

import numpy as np
from onnx import helper

from fcn.onnx.graph import Graph, Tensor

SAME = {
    "abs": "Abs", "add": "Add", "add_any": "Add", "and": "And", "ceil": "Ceil", "cos": "Cos", "eq": "Equal", "erf": "Erf",
    "exp": "Exp", "floor": "Floor", "ge": "GreaterOrEqual", "gt": "Greater", "le": "LessOrEqual", "log": "Log",
    "logistic": "Sigmoid", "lt": "Less", "max": "Max", "min": "Min", "mul": "Mul", "neg": "Neg", "not": "Not", "or": "Or",
    "pow": "Pow", "sign": "Sign", "sin": "Sin", "sqrt": "Sqrt", "sub": "Sub", "tan": "Tan", "tanh": "Tanh", "xor": "Xor",
}  # fmt: skip
"""Names that JAX has, and those of ONNX."""
LOGIC = {"and", "not", "or", "xor"}


def same(graph: Graph, equation: Any, *inputs: Tensor) -> Tensor:
    """An operation that ONNX has, too."""
    name = equation.primitive.name
    if name in LOGIC and equation.invars[0].aval.dtype != np.bool_:
        raise NotImplementedError(f"the operation {name!r} on the bits of integers")
    return graph.add(SAME[name], *inputs)


def cast(graph: Graph, x: Tensor, dtype: Any) -> Tensor:
    """Numbers of another type."""
    return graph.add("Cast", x, to=helper.np_dtype_to_tensor_dtype(np.dtype(dtype)))


def _like(graph, equation, value):
    """A number of the type of the first operand."""
    return graph.constant(np.asarray(value, equation.invars[0].aval.dtype))


def _identity(graph, equation, x):
    return x


def _convert(graph, equation, x):
    new = equation.params["new_dtype"]
    return x if new == equation.invars[0].aval.dtype else cast(graph, x, new)


def _div(graph, equation, a, b):
    if np.issubdtype(equation.invars[0].aval.dtype, np.floating):
        return graph.add("Div", a, b)
    sign = graph.add("Mul", graph.add("Sign", a), graph.add("Sign", b))  # towards zero, of all runtimes
    return graph.add("Mul", sign, graph.add("Div", graph.add("Abs", a), graph.add("Abs", b)))


def _rem(graph, equation, a, b):
    return graph.add("Mod", a, b, fmod=1)


def _rsqrt(graph, equation, x):
    return graph.add("Reciprocal", graph.add("Sqrt", x))


def _square(graph, equation, x):
    return graph.add("Mul", x, x)


def _integer_pow(graph, equation, x):
    power = equation.params["y"]
    return graph.add("Mul", x, x) if power == 2 else graph.add("Pow", x, _like(graph, equation, power))


def _erfc(graph, equation, x):
    return graph.add("Sub", _like(graph, equation, 1), graph.add("Erf", x))


def _exp2(graph, equation, x):
    return graph.add("Pow", _like(graph, equation, 2), x)


def _log1p(graph, equation, x):
    return graph.add("Log", graph.add("Add", x, _like(graph, equation, 1)))


def _expm1(graph, equation, x):
    return graph.add("Sub", graph.add("Exp", x), _like(graph, equation, 1))


def _ne(graph, equation, a, b):
    return graph.add("Not", graph.add("Equal", a, b))


def _is_finite(graph, equation, x):
    return graph.add("Not", graph.add("Or", graph.add("IsInf", x), graph.add("IsNaN", x)))


def _clamp(graph, equation, low, x, high):
    return graph.add("Min", graph.add("Max", x, low), high)


def _round(graph, equation, x):
    if equation.params["rounding_method"].name == "TO_NEAREST_EVEN":
        return graph.add("Round", x)
    away = graph.add("Floor", graph.add("Add", graph.add("Abs", x), _like(graph, equation, 0.5)))
    return graph.add("Mul", graph.add("Sign", x), away)


def _select(graph, equation, which, *cases):
    if len(cases) != 2 or equation.invars[0].aval.dtype != np.bool_:
        raise NotImplementedError("a choice among more than two")
    return graph.add("Where", which, cases[1], cases[0])


RULES = dict.fromkeys(SAME, same) | {
    "clamp": _clamp,
    "convert_element_type": _convert,
    "copy": _identity,
    "copy_p": _identity,
    "div": _div,
    "erfc": _erfc,
    "exp2": _exp2,
    "expm1": _expm1,
    "integer_pow": _integer_pow,
    "is_finite": _is_finite,
    "log1p": _log1p,
    "ne": _ne,
    "optimization_barrier": _identity,
    "reduce_precision": _identity,
    "rem": _rem,
    "round": _round,
    "rsqrt": _rsqrt,
    "select_n": _select,
    "square": _square,
    "stop_gradient": _identity,
}
