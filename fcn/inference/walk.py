"""A walk through a network's jaxpr, in the mode "xla", that follows the rows of its images."""

import math
from collections.abc import Sequence
from fractions import Fraction
from typing import Any

import numpy as np

from fcn.environment import Literal, called, layer_of
from fcn.inference.rows import Rows, SizeDependent
from fcn.inference.rules import ELEMENTWISE, WINDOWS, Fixed, Followed, parameter, rule_of

_MOST_NUMBERS = 2**22
"""Of a constant that is computed; larger ones are only known by the axes along which they vary."""


class Walk:
    """What a walk collects.

    Attributes:
        steps: those of all arrays that have rows.
        lengths: number of rows and step of all results of windows.
        scales: the layers that resize, and by how much.
    """

    def __init__(self):
        self.steps: set[Fraction] = set()
        self.lengths: set[tuple[int, Fraction]] = set()
        self.scales: list[tuple[str, Fraction]] = []

    def follow(self, jaxpr: Any, consts: Sequence[Any], inputs: Sequence[Followed], path: str = "") -> list[Followed]:
        """The outputs of a jaxpr.

        Raises:
            SizeDependent: it names a layer in which a row depends on all others, or on its place in the image.
        """
        known: dict[Any, Followed] = dict(zip(jaxpr.constvars, map(_known, consts)))
        known |= zip(jaxpr.invars, inputs, strict=True)

        def read(variable):
            if isinstance(variable, Literal):
                return _known(np.asarray(variable.val, variable.aval.dtype))
            return known[variable]

        for equation in jaxpr.eqns:
            outputs = self._equation(equation, list(map(read, equation.invars)), path)
            known |= zip(equation.outvars, outputs, strict=True)
        return list(map(read, jaxpr.outvars))

    def _equation(self, equation, inputs, path):
        name, layer = equation.primitive.name, "/".join(filter(None, (path, layer_of(equation))))
        if inner := called(equation):
            return self.follow(*inner, inputs, layer)
        if all(0 in variable.aval.shape for variable in equation.outvars):
            return [Fixed((False,) * variable.aval.ndim) for variable in equation.outvars]
        if not any(isinstance(x, Rows) for x in inputs):
            return _without_rows(equation, inputs)
        try:
            outputs = rule_of(name)(equation, inputs)
        except SizeDependent as error:
            raise SizeDependent(f"{layer or 'the network'} {error}") from None
        for rows in outputs:
            if isinstance(rows, Rows):
                self.steps.add(rows.step)
                if name in WINDOWS:
                    self.lengths.add((rows.count, rows.step))
                if name in ("dot_general", "gather"):
                    self.scales += [(layer, rows.step / x.step) for x in inputs if isinstance(x, Rows)]
        return outputs


def _known(value) -> Fixed:
    value = np.asarray(value)
    spread = [value.shape[axis] > 1 and bool(np.any(value != value.take([0], axis))) for axis in range(value.ndim)]
    return Fixed(tuple(spread), value)


def _without_rows(equation, inputs):
    """What comes of parameters and constants; small constants are computed."""
    shapes = [variable.aval.shape for variable in equation.outvars]
    if all(x.value is not None for x in inputs) and max(map(math.prod, shapes)) <= _MOST_NUMBERS:
        results = equation.primitive.bind(*(x.value for x in inputs), **equation.params)
        return list(map(_known, results if equation.primitive.multiple_results else [results]))
    if equation.primitive.name == "broadcast_in_dim":
        varies = [False] * len(shapes[0])
        for old, new in enumerate(equation.params["broadcast_dimensions"]):
            varies[new] = inputs[0].varies[old]
        return [Fixed(tuple(varies))]
    if equation.primitive.name in ELEMENTWISE:
        whole = [x.varies for x in inputs if x.varies]
        return [Fixed(tuple(map(any, zip(*whole))))]
    return [parameter(shape) for shape in shapes]
