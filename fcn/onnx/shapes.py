"""Operations that move numbers: other shapes, parts, and indices."""

import itertools
from typing import Any

import numpy as np

from fcn.onnx.elementwise import cast
from fcn.onnx.graph import Graph, Tensor
from fcn.onnx.sizes import is_known


def broadcast_in_dim(graph: Graph, equation: Any, x: Tensor, *sides: Tensor) -> Tensor:
    """New axes of one number each; that they are longer is left to whoever uses the result."""
    old, new = equation.invars[0].aval.shape, equation.params["shape"]
    kept = equation.params["broadcast_dimensions"]
    axes = [axis for axis in range(len(new)) if axis not in kept]
    result = graph.moved("Unsqueeze", x, graph.integers(axes)) if axes else x
    longer = any(new[axis] != 1 for axis in axes) or any(new[axis] != side for axis, side in zip(kept, old))
    return result._replace(spread=x.spread or longer)


def _reshape(graph, equation, x):
    return graph.reshape(x, equation.params["new_sizes"])


def _squeeze(graph, equation, x):
    axes = equation.params["dimensions"]
    return graph.moved("Squeeze", x, graph.integers(axes)) if axes else x


def _expand_dims(graph, equation, x):
    return graph.moved("Unsqueeze", x, graph.integers(equation.params["dimensions"]))


def _transpose(graph, equation, x):
    return graph.transpose(x, equation.params["permutation"])


def part(graph: Graph, x: Tensor, starts: Tensor, ends: Tensor, axes: list[int], steps: list[int] | None = None) -> Tensor:
    """What lies from starts to ends along some axes."""
    return graph.moved("Slice", x, starts, ends, graph.integers(axes), graph.integers(steps or [1] * len(axes)))


def _slice(graph, equation, x):
    starts, ends = equation.params["start_indices"], equation.params["limit_indices"]
    steps = equation.params["strides"] or [1] * len(starts)
    sides = equation.invars[0].aval.shape
    axes = [i for i, side in enumerate(sides) if (starts[i], ends[i], steps[i]) != (0, side, 1)]
    chosen = ([values[i] for i in axes] for values in (starts, ends, steps))
    starts, ends, steps = chosen
    return part(graph, x, graph.shape(starts), graph.shape(ends), axes, steps) if axes else x


def _rev(graph, equation, x):
    return reverse(graph, x, equation.params["dimensions"])


def reverse(graph: Graph, x: Tensor, axes: Any) -> Tensor:
    """Axes backwards."""
    first, before = graph.integers([-1] * len(axes)), graph.integers([np.iinfo(np.int64).min] * len(axes))
    return part(graph, x, first, before, list(axes), [-1] * len(axes))


def _split(graph, equation, x):
    axis, ends = equation.params["axis"], list(itertools.accumulate(equation.params["sizes"]))
    return [part(graph, x, graph.shape([a]), graph.shape([b]), [axis]) for a, b in zip([0, *ends], ends)]


def _concatenate(graph, equation, *inputs):
    axis = equation.params["dimension"]
    inputs = [
        x for x, variable in zip(inputs, equation.invars) if not (is_known(side := variable.aval.shape[axis]) and side == 0)
    ]
    return graph.add("Concat", *inputs, axis=axis) if len(inputs) > 1 else inputs[0]


def _pad(graph, equation, x, value):
    low, high, inside = zip(*equation.params["padding_config"])
    if any(inside):
        raise NotImplementedError("zeros between the numbers of an array")
    return padded(graph, x, low, high, value)


def padded(graph: Graph, x: Tensor, low: Any, high: Any, value: Tensor) -> Tensor:
    """Axes longer by numbers of one value; negative: shorter."""
    axes = [i for i, both in enumerate(zip(low, high)) if both != (0, 0)]
    if not axes:
        return x
    counts = graph.shape([low[i] for i in axes] + [high[i] for i in axes])
    return graph.add("Pad", x, counts, value, graph.integers(axes))


def _iota(graph, equation):
    sides, axis, dtype = (equation.params[name] for name in ("shape", "dimension", "dtype"))
    count = graph.reshape(graph.shape([sides[axis]]), [])
    numbers = cast(graph, graph.add("Range", graph.constant(np.int64(0)), count, graph.constant(np.int64(1))), dtype)
    axes = [i for i in range(len(sides)) if i != axis]
    result = graph.add("Unsqueeze", numbers, graph.integers(axes)) if axes else numbers
    return result._replace(spread=bool(axes))


def _dim_as_value(graph, equation):
    return cast(graph, graph.reshape(graph.shape([equation.params["dim"]]), []), equation.outvars[0].aval.dtype)


def _gather(graph, equation, x, indices):
    """Numbers at places along some axes, or a part that begins at one place."""
    numbers, sides = equation.params["dimension_numbers"], equation.params["slice_sizes"]
    axes, rank = numbers.start_index_map, len(sides)
    where = equation.invars[1].aval.shape[:-1]
    if not (numbers.collapsed_slice_dims or where) and equation.params["mode"].name == "PROMISE_IN_BOUNDS":
        starts = cast(graph, indices, np.int64)
        ends = graph.add("Add", starts, graph.shape([sides[axis] for axis in axes]))
        return part(graph, x, starts, ends, list(axes))
    shape = equation.invars[0].aval.shape
    rest = [axis for axis in range(rank) if axis not in axes]
    whole = all(sides[axis] == shape[axis] for axis in rest)
    if numbers.operand_batching_dims or sorted(axes) != sorted(numbers.collapsed_slice_dims) or not whole:
        raise NotImplementedError("parts of an array at many places")
    indices = _legal(graph, equation, indices, [shape[axis] for axis in axes])
    found = graph.add("GatherND", graph.transpose(x, [*axes, *rest]), indices)
    places, others = iter(range(len(where))), iter(range(len(where), len(where) + len(rest)))
    return graph.transpose(found, [next(others if i in numbers.offset_dims else places) for i in range(len(where) + len(rest))])


def _legal(graph, equation, indices, sides):
    """Indices of axes as int64, brought inside if they may be outside."""
    indices, mode = cast(graph, indices, np.int64), equation.params["mode"].name
    if mode == "PROMISE_IN_BOUNDS":
        return indices
    if mode == "CLIP":
        last = graph.add("Sub", graph.shape(sides), graph.integers([1]))
        return graph.add("Min", graph.add("Max", indices, graph.integers([0])), last)
    if indices.value is not None and all(map(is_known, sides)) and np.all((indices.value >= 0) & (indices.value < sides)):
        return indices
    raise NotImplementedError("indices that may lie outside the array")


RULES = {
    "broadcast_in_dim": broadcast_in_dim,
    "concatenate": _concatenate,
    "dim_as_value": _dim_as_value,
    "expand_dims": _expand_dims,
    "gather": _gather,
    "iota": _iota,
    "pad": _pad,
    "reshape": _reshape,
    "rev": _rev,
    "slice": _slice,
    "split": _split,
    "squeeze": _squeeze,
    "transpose": _transpose,
}
