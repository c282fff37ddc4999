"""Which rows come of an operation of a jaxpr, by its name: one rule for each kind."""

import math
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np

from fcn.inference.rows import Rows, SizeDependent, joined, union

ELEMENTWISE = set(
    "abs add add_any and atan2 cbrt ceil clamp convert_element_type copy copy_p cos div eq erf erf_inv erfc exp exp2 expm1 "
    "floor ge gt integer_pow is_finite le log log1p logistic lt max min mul ne neg nextafter not or pow reduce_precision rem "
    "round rsqrt select_n sign sin sqrt square stop_gradient sub tan tanh xor".split()
)


class Fixed(NamedTuple):
    """An array that does not depend on the images.

    Attributes:
        varies: for each axis, whether values along it may differ.
        value: where it is known; that of a parameter is not.
    """

    varies: tuple[bool, ...]
    value: np.ndarray | None = None


Followed = Rows | Fixed


def parameter(shape: Sequence[int]) -> Fixed:
    """An array of which the shape alone is known."""
    return Fixed(tuple(side > 1 for side in shape))


def rule_of(name: str) -> Callable[[Any, Any], Sequence[Followed]]:
    """What makes of an equation and its operands, of which one at least has rows, its results.

    Raises:
        SizeDependent: no rule is known for the operation.
    """
    if name in ELEMENTWISE:
        return _elementwise
    if name in _RULES:
        return _RULES[name]
    if name.startswith(("reduce_", "arg")):
        return _reduction
    raise SizeDependent(f"has the operation {name!r}, of which it is not known which rows it sees")


def _alone(inputs):
    """The rows of the first operand, which alone may have some."""
    if [i for i, x in enumerate(inputs) if isinstance(x, Rows)] != [0]:
        raise SizeDependent("computes its weights from the image")
    return inputs[0]


def _elementwise(equation, inputs):
    rows = [x for x in inputs if isinstance(x, Rows)]
    axis = rows[0].axis
    if any((x.axis, x.count) != (axis, rows[0].count) for x in rows):
        raise SizeDependent("mixes rows with columns")
    if any(isinstance(x, Fixed) and len(x.varies) > axis and x.varies[axis] for x in inputs):
        raise SizeDependent("treats rows by their place in the image")
    return [Rows(axis, union([x.bounds for x in rows]), rows[0].step)] * len(equation.outvars)


def _convolution(equation, inputs):
    rows, settings = _alone(inputs), equation.params
    lhs, rhs, out = settings["dimension_numbers"]
    if rows.axis not in lhs[2:]:
        raise SizeDependent("mixes rows with channels")
    i = lhs[2:].index(rows.axis)
    size = equation.invars[1].aval.shape[rhs[2 + i]]
    stride, pads, spacing, dilation = (
        settings[name][i] for name in ("window_strides", "padding", "lhs_dilation", "rhs_dilation")
    )
    return [rows.windowed(size, stride, pads, spacing, dilation).at(out[2 + i])]


def _pool(equation, inputs):
    rows, settings = _alone(inputs), equation.params
    names = "window_dimensions", "window_strides", "padding", "base_dilation", "window_dilation"
    return [rows.windowed(*(settings[name][rows.axis] for name in names))]


def _pad(equation, inputs):
    rows = _alone(inputs)
    low, high, interior = equation.params["padding_config"][rows.axis]
    return [rows.windowed(1, 1, (low, high), interior + 1)]


def _slice(equation, inputs):
    rows, settings = _alone(inputs), equation.params
    start, stop = (settings[name][rows.axis] for name in ("start_indices", "limit_indices"))
    return [rows.taken(slice(start, stop, settings["strides"] and settings["strides"][rows.axis]))]


def _dynamic_slice(equation, inputs):
    rows = _alone(inputs)
    size, start = equation.params["slice_sizes"][rows.axis], inputs[1 + rows.axis]
    if size == rows.count:
        return [rows]
    if start.value is None:
        raise SizeDependent("takes rows at a place that it computes")
    first = min(max(int(start.value), 0), rows.count - size)
    return [rows.taken(slice(first, first + size))]


def _split(equation, inputs):
    rows = _alone(inputs)
    if equation.params["axis"] != rows.axis:
        return [rows] * len(equation.outvars)
    ends = np.cumsum(equation.params["sizes"]).tolist()
    return [rows.taken(slice(end - size, end)) for end, size in zip(ends, equation.params["sizes"])]


def _concatenation(equation, inputs):
    axis = equation.params["dimension"]
    if axis not in {x.axis for x in inputs if isinstance(x, Rows)}:
        return _elementwise(equation, inputs)
    parts = [x if isinstance(x, Rows) else None for x in inputs]
    if any(part is not None and part.axis != axis for part in parts):
        raise SizeDependent("mixes rows with columns")
    return [joined(parts, [variable.aval.shape[axis] for variable in equation.invars])]


def _reshape(equation, inputs):
    """Rows stay, are split into groups, or merged with what lies behind them in memory (phases of an enlargement)."""
    rows, (old, new) = _alone(inputs), (equation.invars[0].aval.shape, equation.outvars[0].aval.shape)
    for before, behind in _groups(old, new):
        if rows.axis not in before:
            continue
        ahead = math.prod(old[before[0] : rows.axis])
        places = [axis for axis in behind if math.prod(new[behind[0] : axis]) == ahead]
        side = new[places[-1]] if places else 0
        if side and side % rows.count == 0:
            return [rows.repeated(side // rows.count).at(places[-1])]
        if side and rows.count % side == 0:
            return [rows.grouped(rows.count // side).at(places[-1])]
    raise SizeDependent("arranges rows in another way")


def _groups(old: Sequence[int], new: Sequence[int]):
    """Axes of a shape, and those of another that have the same elements, from the first on; both as few as can be."""
    i = j = 0
    while i < len(old) and j < len(new):
        first, second = [i], [j]
        left, right = old[i], new[j]
        while left != right:
            if left < right:
                i += 1
                left *= old[i]
                first.append(i)
            else:
                j += 1
                right *= new[j]
                second.append(j)
        yield first, second
        i, j = i + 1, j + 1


def _broadcast(equation, inputs):
    rows = _alone(inputs)
    axis = equation.params["broadcast_dimensions"][rows.axis]
    side = equation.outvars[0].aval.shape[axis]
    bounds = np.repeat(rows.bounds, side // rows.count, 1)
    return [Rows(axis, bounds, rows.step)]


def _squeeze(equation, inputs):
    return _without(equation.params["dimensions"], inputs, "makes one row of all")


def _transpose(equation, inputs):
    rows = _alone(inputs)
    return [rows.at(equation.params["permutation"].index(rows.axis))]


def _reduction(equation, inputs):
    return _without(equation.params["axes"], inputs, "sees all rows at once, by a sum, mean or maximum over them")


def _without(axes, inputs, reason):
    """Rows where these axes are gone; `reason` says what is done to the rows if they are along one of them."""
    rows = _alone(inputs)
    if rows.axis in axes:
        raise SizeDependent(reason)
    return [rows.at(rows.axis - sum(axis < rows.axis for axis in axes))]


def _along_axis(equation, inputs):
    """What is in order along one axis: sums so far, sorting, reversal."""
    rows, settings = _alone(inputs), equation.params
    axes = settings.get("dimensions", (settings.get("axis", settings.get("dimension")),))
    if rows.axis in axes:
        raise SizeDependent("sees all rows at once, one after the other")
    return [rows] * len(equation.outvars)


def _product(equation, inputs):
    """A product of matrices: rows are free, or summed with weights that are known."""
    place = next(i for i, x in enumerate(inputs) if isinstance(x, Rows))
    if all(isinstance(x, Rows) for x in inputs):
        raise SizeDependent("compares rows with each other, by attention or the like")
    rows, other = inputs[place], inputs[1 - place]
    contracted, batched = equation.params["dimension_numbers"]
    own, others = contracted[place], contracted[1 - place]
    if rows.axis in batched[place]:
        raise SizeDependent("treats rows by their place in the image")
    sides = [variable.aval.ndim for variable in equation.invars]
    free = [[a for a in range(n) if a not in (*c, *b)] for n, c, b in zip(sides, contracted, batched)]
    start = len(batched[0])
    if rows.axis not in own:
        return [rows.at(start + free[place].index(rows.axis) + (len(free[0]) if place else 0))]
    if other.value is None or len(free[1 - place]) != 1 or other.value.ndim != 2:
        raise SizeDependent("sees all rows at once, by a product")
    weights = np.moveaxis(other.value, others[own.index(rows.axis)], 1)
    return [rows.resampled(weights).at(start + (0 if place else len(free[0])))]


def _gather(equation, inputs):
    """Rows by numbers that are known (enlargement by the nearest pixel); else an axis that holds no rows."""
    rows, numbers, settings = _alone(inputs), inputs[1], equation.params["dimension_numbers"]
    sides, out = equation.params["slice_sizes"], equation.outvars[0].aval
    kept = [axis for axis in range(len(sides)) if axis not in settings.collapsed_slice_dims]
    if rows.axis in kept and sides[rows.axis] == rows.count:
        return [rows.at(settings.offset_dims[kept.index(rows.axis)])]
    places = [axis for axis in range(out.ndim) if axis not in settings.offset_dims]
    if settings.start_index_map != (rows.axis,) or numbers.value is None or len(places) != 1:
        raise SizeDependent("takes rows at places that it computes")
    chosen = np.clip(numbers.value.reshape(-1), 0, rows.count - 1)
    return [rows.resampled((chosen[:, None] == np.arange(rows.count)).astype(np.float32)).at(places[0])]


WINDOWS = {
    "conv_general_dilated": _convolution,
    "reduce_window": _pool,
    "reduce_window_max": _pool,
    "reduce_window_min": _pool,
    "reduce_window_sum": _pool,
}
_RULES = WINDOWS | {
    "pad": _pad,
    "slice": _slice,
    "dynamic_slice": _dynamic_slice,
    "split": _split,
    "concatenate": _concatenation,
    "reshape": _reshape,
    "broadcast_in_dim": _broadcast,
    "squeeze": _squeeze,
    "transpose": _transpose,
    "dot_general": _product,
    "gather": _gather,
    "optimization_barrier": lambda equation, inputs: inputs,
    **dict.fromkeys(("cumsum", "cummax", "cummin", "cumprod", "cumlogsumexp", "sort", "rev"), _along_axis),
}
