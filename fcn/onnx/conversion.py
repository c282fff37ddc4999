"""A function of JAX as an ONNX model, one operation of its jaxpr after another."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import jax
import numpy as np
import onnx
from onnx import helper

from fcn.environment import Literal, called, layer_of
from fcn.kernels import use
from fcn.onnx import elementwise, products, shapes, windows
from fcn.onnx.graph import Graph, Tensor
from fcn.onnx.sizes import is_known

OPSET = 18
RULES: dict[str, Callable] = elementwise.RULES | shapes.RULES | windows.RULES | products.RULES
BROADCASTING = {*elementwise.RULES, "broadcast_in_dim"}
"""Operations that take a number where an array has many of it."""


class UnknownOperation(ValueError):
    """An operation for which no rule is known."""


def to_onnx(
    function: Callable,
    variables: Any,
    inputs: Mapping[str, jax.ShapeDtypeStruct],
    outputs: Sequence[str],
) -> onnx.ModelProto:
    """`function(variables, *inputs)` as an ONNX model (opset 18), in the mode `fcn.kernels.use("xla")`.

    Args:
        function: gives one array, or a tuple of them.
        variables: a tree of arrays, which become initializers with the names that they have in the tree.
        inputs: shape and type of each input, by name. Sides may be symbols of `jax.export.symbolic_shape`: any size.
        outputs: the names of the results.

    Raises:
        UnknownOperation: the function has an operation for which no rule is known; it names the operation and the layer.
    """
    with use("xla"):
        closed = jax.make_jaxpr(function)(variables, *inputs.values())
    graph = Graph()
    named = jax.tree_util.tree_flatten_with_path(variables)[0]
    arrays = dict(zip(inputs, closed.in_avals[len(named) :], strict=True))
    constants = [
        graph.constant(np.asarray(value, known.dtype), jax.tree_util.keystr(path, simple=True, separator="/"))
        for (path, value), known in zip(named, closed.in_avals)
    ]
    given = [graph.input(name, each.shape) for name, each in arrays.items()]
    results = Conversion(graph).follow(closed.jaxpr, closed.consts, [*constants, *given])
    for name, result in zip(outputs, results, strict=True):
        graph.output(name, result)
    model = graph.model(_described(arrays.items()), _described(zip(outputs, closed.out_avals)), OPSET)
    onnx.checker.check_model(model, full_check=True)
    return model


def _described(arrays: Iterable[tuple[str, Any]]) -> list[onnx.ValueInfoProto]:
    return [
        helper.make_tensor_value_info(
            name,
            helper.np_dtype_to_tensor_dtype(np.dtype(array.dtype)),
            [side if is_known(side) else str(side) for side in array.shape],
        )
        for name, array in arrays
    ]


class Conversion:
    """A walk through a jaxpr that fills a graph."""

    def __init__(self, graph: Graph):
        self._graph = graph

    def follow(self, jaxpr: Any, consts: Sequence[Any], inputs: Sequence[Tensor], path: str = "") -> list[Tensor]:
        """The outputs of a jaxpr, as whole arrays."""
        known = dict(zip(jaxpr.constvars, map(self._graph.constant, consts))) | dict(zip(jaxpr.invars, inputs, strict=True))

        def read(variable):
            if isinstance(variable, Literal):
                return self._graph.constant(np.asarray(variable.val, variable.aval.dtype))
            return known[variable]

        for equation in jaxpr.eqns:
            outputs = self._equation(equation, list(map(read, equation.invars)), path)
            known |= zip(equation.outvars, outputs, strict=True)
        return [self._whole(variable, read(variable)) for variable in jaxpr.outvars]

    def _equation(self, equation, inputs, path):
        name, layer = equation.primitive.name, "/".join(filter(None, (path, layer_of(equation))))
        self._graph.layer = layer
        if inner := called(equation):
            return self.follow(*inner, inputs, layer)
        try:
            if name not in RULES:
                raise NotImplementedError(f"the operation {name!r}")
            return self._result(equation, inputs)
        except NotImplementedError as error:
            raise UnknownOperation(f"{layer or 'the function'} has {error}, which is not converted to ONNX") from None

    def _result(self, equation, inputs):
        name = equation.primitive.name
        if name not in BROADCASTING:
            inputs = list(map(self._whole, equation.invars, inputs))
        result = RULES[name](self._graph, equation, *inputs)
        if name in elementwise.RULES:
            result = result._replace(spread=_is_spread(equation, inputs))
        return result if isinstance(result, list) else [result]

    def _whole(self, variable, tensor: Tensor) -> Tensor:
        return self._graph.whole(tensor, variable.aval.shape)


def _is_spread(equation, inputs) -> bool:
    """Whether no operand has the shape of the result."""
    shape = equation.outvars[0].aval.shape
    return all(x.spread or variable.aval.shape != shape for x, variable in zip(inputs, equation.invars))
