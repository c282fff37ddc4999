"""An ONNX graph that grows node by node. What depends on constants alone is computed at once."""

from collections import Counter
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import onnx
from onnx import helper, numpy_helper
from onnx.reference import ReferenceEvaluator

from fcn.onnx.sizes import Size, Sizes, is_known

CONSTANT = "constant"
"""The name of constants that have none of their own; those of few numbers are stored once, whoever uses them."""
FEW = 64


class Tensor(NamedTuple):
    """A value of the graph.

    Attributes:
        name: in the graph; of a constant, the one that it would like.
        value: that of a constant.
        spread: it has ones where the array that it stands for has larger sides: ONNX's elementwise operations do not mind.
    """

    name: str
    value: np.ndarray | None = None
    spread: bool = False


class Graph:
    """What a conversion collects.

    Attributes:
        layer: the path of the layer to which nodes belong that are added next.
    """

    def __init__(self):
        self.layer = ""
        self._nodes: list[onnx.NodeProto] = []
        self._stored: dict[Any, tuple[str, np.ndarray]] = {}
        self._names: Counter[str] = Counter()
        self._sizes = Sizes(self)

    def constant(self, value: Any, name: str = CONSTANT) -> Tensor:
        """An array that is known."""
        return Tensor(name, np.asarray(value))

    def integers(self, values: Sequence[int]) -> Tensor:
        """Axes, sizes and the like."""
        return self.constant(np.array(values, np.int64))

    def input(self, name: str, sides: Sequence[Any]) -> Tensor:
        """An input; sides that are symbols are what other sizes are computed from."""
        tensor = Tensor(self._unique(name))
        for axis, side in enumerate(sides):
            if not is_known(side):
                self._sizes.symbols.setdefault(str(side), Size(self, self.add("Shape", tensor, start=axis, end=axis + 1)))
        return tensor

    def shape(self, sides: Sequence[Any]) -> Tensor:
        """Sizes as a vector, int64."""
        return self._sizes.vector(sides)

    def add(self, kind: str, *inputs: Tensor, name: str = "", **attributes: Any) -> Tensor:
        """The result of an operation."""
        if inputs and all(tensor.value is not None for tensor in inputs):
            value = _computed(kind, [tensor.value for tensor in inputs], attributes)
            return Tensor(name or f"{self.layer}/{kind}".lstrip("/"), value)
        return self._node(kind, inputs, name or f"{self.layer}/{kind}".lstrip("/"), attributes)

    def output(self, name: str, x: Tensor):
        """Gives a result its name."""
        self._node("Identity", [x], name, {})

    def _node(self, kind, inputs, name, attributes):
        result = self._unique(name)
        names = [self._stored_name(tensor) for tensor in inputs]
        self._nodes.append(helper.make_node(kind, names, [result], name=result, **attributes))
        return Tensor(result)

    def transpose(self, x: Tensor, axes: Sequence[int]) -> Tensor:
        """The axes in another order."""
        return x if list(axes) == sorted(axes) else self.moved("Transpose", x, perm=list(axes))

    def reshape(self, x: Tensor, sides: Sequence[Any]) -> Tensor:
        """Another shape of as many numbers."""
        symbols = [side for side in sides if not is_known(side)]
        if len(symbols) == 1 and 0 not in sides:  # the runtime finds it
            sides = [side if is_known(side) else -1 for side in sides]
        return self.moved("Reshape", x, self.shape(sides), allowzero=1)

    def whole(self, x: Tensor, sides: Sequence[Any]) -> Tensor:
        """The array for which a tensor stands."""
        return self.moved("Expand", x, self.shape(sides)) if x.spread else x

    def moved(self, kind: str, x: Tensor, *inputs: Tensor, **attributes: Any) -> Tensor:
        """The same numbers elsewhere; parameters keep their names."""
        return self.add(kind, x, *inputs, name="" if x.value is None else x.name, **attributes)

    def model(self, inputs: Sequence[Any], outputs: Sequence[Any], opset: int) -> onnx.ModelProto:
        """All that the outputs need, with descriptions of inputs and outputs."""
        needed, nodes = {output.name for output in outputs}, []
        for node in reversed(self._nodes):
            if needed & set(node.output):
                needed |= set(node.input)
                nodes.insert(0, node)
        stored = [numpy_helper.from_array(value, name) for name, value in self._stored.values() if name in needed]
        graph = helper.make_graph(nodes, "fcn", list(inputs), list(outputs), stored)
        sets = [helper.make_opsetid("", opset)]
        return helper.make_model(graph, opset_imports=sets, ir_version=helper.find_min_ir_version_for(sets))

    def _stored_name(self, tensor: Tensor) -> str:
        if tensor.value is None:
            return tensor.name
        name, value = tensor.name, tensor.value
        shared = name == CONSTANT and value.size <= FEW
        key = (value.dtype.str, value.shape, value.tobytes()) if shared else id(value)
        if key not in self._stored:
            self._stored[key] = self._unique(name), value
        return self._stored[key][0]

    def _unique(self, name: str) -> str:
        self._names[name] += 1
        return name if self._names[name] == 1 else self._unique(f"{name}_{self._names[name] - 1}")


def _computed(kind, values, attributes) -> np.ndarray:
    names = [f"input_{i}" for i in range(len(values))]
    node = helper.make_node(kind, names, ["output"], **attributes)
    (value,) = ReferenceEvaluator(node).run(None, dict(zip(names, values)))
    return np.asarray(value)
