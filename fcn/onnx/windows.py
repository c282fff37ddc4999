"""Convolutions and pooling. ONNX wants channels before rows: arrays are turned, and turned back."""

import math
from typing import Any

import numpy as np

from fcn.onnx.graph import Graph, Tensor
from fcn.onnx.shapes import padded, reverse
from fcn.onnx.sizes import is_known


def _turned_back(graph, x, axes):
    return graph.transpose(x, [int(axis) for axis in np.argsort(axes)])


def convolution(graph: Graph, equation: Any, x: Tensor, kernel: Tensor) -> Tensor:
    """By `Conv`; of images with zeros between their pixels by `ConvTranspose`."""
    given, numbers = equation.params, equation.params["dimension_numbers"]
    if given["batch_group_count"] != 1:
        raise NotImplementedError("a convolution that is the gradient of one with groups")
    x, kernel = graph.transpose(x, numbers.lhs_spec), graph.transpose(kernel, numbers.rhs_spec)
    if all(step == 1 for step in given["lhs_dilation"]):
        x, pads = _padded(graph, x, given["padding"], graph.constant(np.float32(0)))
        shared = {"dilations": list(given["rhs_dilation"]), "group": given["feature_group_count"]}
        y = graph.add("Conv", x, kernel, strides=list(given["window_strides"]), pads=pads, **shared)
    else:
        y = _transposed(graph, equation, x, kernel)
    return _turned_back(graph, y, numbers.out_spec)


def _padded(graph, x, padding, value):
    """An array that is longer already, where its padding is not known, and the padding that is left to the operation."""
    low, high = zip(*padding)
    if all(is_known(count) and count >= 0 for count in (*low, *high)):
        return x, [*low, *high]
    return padded(graph, x, (0, 0, *low), (0, 0, *high), value), [0] * (2 * len(padding))


def _transposed(graph, equation, x, kernel):
    given, groups = equation.params, equation.params["feature_group_count"]
    if any(step != 1 for step in given["window_strides"]):
        raise NotImplementedError("a convolution with strides of images with zeros between their pixels")
    out, into, *sides = (equation.invars[1].aval.shape[axis] for axis in given["dimension_numbers"].rhs_spec)
    kernel = graph.reshape(kernel, [groups, out // groups, into, *sides])
    kernel = graph.transpose(kernel, [0, 2, 1, *range(3, 3 + len(sides))])
    kernel = reverse(graph, graph.reshape(kernel, [groups * into, out // groups, *sides]), range(2, 2 + len(sides)))
    around = [step * (side - 1) for step, side in zip(given["rhs_dilation"], sides)]
    low, high = ([full - pad for full, pad in zip(around, pads)] for pads in zip(*given["padding"]))
    cut = [max(count, 0) for count in (*low, *high)]
    shared = {"dilations": list(given["rhs_dilation"]), "group": groups}
    y = graph.add("ConvTranspose", x, kernel, strides=list(given["lhs_dilation"]), pads=cut, **shared)
    before, after = ((0, 0, *(max(-count, 0) for count in counts)) for counts in (low, high))
    return padded(graph, y, before, after, graph.constant(np.float32(0)))


def _window(graph, equation, x, value):
    """The array with the axes of windows last, how it is turned, and the attributes of the pooling."""
    given = equation.params
    if any(step != 1 for step in given["base_dilation"]):
        raise NotImplementedError("windows over zeros between pixels")
    names = ("window_dimensions", "window_strides", "window_dilation", "padding")
    rows = list(zip(*(given[name] for name in names)))
    still = [axis for axis, (side, step, _, pads) in enumerate(rows) if (side, step, tuple(pads)) == (1, 1, (0, 0))]
    if len(still) < 2:
        raise NotImplementedError("windows over images and channels")
    axes = [*still[:1], still[-1], *(axis for axis in range(len(rows)) if axis not in (still[0], still[-1]))]
    sides, steps, dilations, padding = zip(*(rows[axis] for axis in axes[2:]))
    x, pads = _padded(graph, graph.transpose(x, axes), padding, value)
    return x, axes, {"kernel_shape": list(sides), "strides": list(steps), "dilations": list(dilations), "pads": pads}


def _largest(graph, equation, x):
    lowest = graph.constant(np.asarray(-np.inf, equation.invars[0].aval.dtype))
    x, axes, attributes = _window(graph, equation, x, lowest)
    return _turned_back(graph, graph.add("MaxPool", x, **attributes), axes)


def _sum(graph, equation, x):
    x, axes, attributes = _window(graph, equation, x, graph.constant(np.float32(0)))
    if any(step != 1 for step in attributes.pop("dilations")):
        raise NotImplementedError("sums over windows with gaps")
    mean = graph.add("AveragePool", x, count_include_pad=1, **attributes)
    count = graph.constant(np.float32(math.prod(attributes["kernel_shape"])))
    return _turned_back(graph, graph.add("Mul", mean, count), axes)


RULES = {"conv_general_dilated": convolution, "reduce_window_max": _largest, "reduce_window_sum": _sum}
