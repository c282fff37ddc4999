"""Products of matrices, and what is made of all numbers along an axis."""

import string
from typing import Any

import numpy as np

from fcn.onnx.elementwise import cast
from fcn.onnx.graph import Graph, Tensor


def dot_general(graph: Graph, equation: Any, a: Tensor, b: Tensor) -> Tensor:
    """By `MatMul` where the axes lie as it wants them, else by `Einsum`."""
    (left, right), batch = equation.params["dimension_numbers"]
    ranks = [variable.aval.ndim for variable in equation.invars]
    leading = tuple(range(len(batch[0])))
    plain = batch == (leading, leading) and tuple(left) == (ranks[0] - 1,) and tuple(right) == (len(leading),)
    if plain and ranks[1] == len(leading) + 2 and (not leading or ranks[0] == ranks[1]):
        return graph.add("MatMul", a, b)
    return graph.add("Einsum", a, b, equation=_formula(ranks, left, right, batch))


def _formula(ranks, left, right, batch):
    letters = iter(string.ascii_letters)
    first = [next(letters) for _ in range(ranks[0])]
    shared = dict(zip((*batch[1], *right), (*batch[0], *left)))
    second = [first[shared[axis]] if axis in shared else next(letters) for axis in range(ranks[1])]
    kept = [first[axis] for axis in batch[0]]
    free = [first[axis] for axis in range(ranks[0]) if axis not in (*batch[0], *left)]
    free += [second[axis] for axis in range(ranks[1]) if axis not in shared]
    return f"{''.join(first)},{''.join(second)}->{''.join(kept + free)}"


REDUCTIONS = {"reduce_max": "ReduceMax", "reduce_min": "ReduceMin", "reduce_prod": "ReduceProd", "reduce_sum": "ReduceSum"}
REDUCTIONS |= {"reduce_and": "ReduceMin", "reduce_or": "ReduceMax"}


def _reduce(graph, equation, x):
    axes, name = [int(axis) for axis in equation.params["axes"]], equation.primitive.name
    if not axes:
        return x
    truth = equation.invars[0].aval.dtype == np.bool_
    found = graph.add(REDUCTIONS[name], cast(graph, x, np.int32) if truth else x, graph.integers(axes), keepdims=0)
    return cast(graph, found, np.bool_) if truth else found


def _arg(graph, equation, x):
    (axis,) = equation.params["axes"]
    found = graph.add({"argmax": "ArgMax", "argmin": "ArgMin"}[equation.primitive.name], x, axis=axis, keepdims=0)
    return cast(graph, found, equation.params["index_dtype"])


def _cumsum(graph, equation, x):
    axis = graph.constant(np.int64(equation.params["axis"]))
    return graph.add("CumSum", x, axis, reverse=int(equation.params["reverse"]))


RULES = dict.fromkeys(REDUCTIONS, _reduce) | {
    "argmax": _arg,
    "argmin": _arg,
    "cumsum": _cumsum,
    "dot_general": dot_general,
}
