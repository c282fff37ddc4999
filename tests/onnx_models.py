"""ONNX models as their users run them."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Self

import jax
import numpy as np
import pytest

onnx = pytest.importorskip("onnx", reason="ONNX models take onnx: install '.[test]'")
onnxruntime = pytest.importorskip("onnxruntime", reason="ONNX models are run by onnxruntime: install '.[test]'")


def converted(function, variables, arrays: Sequence[np.ndarray], shapes: Sequence[str] = (), count: int | None = None):
    """`function(variables, *arrays)` -> a call of its ONNX model; shapes such as "b, h, 3" leave sizes open.

    It is traced twice, unless the count of its results is given.
    """
    from fcn.onnx import to_onnx

    scope = jax.export.SymbolicScope()
    sides = [jax.export.symbolic_shape(shape, scope=scope) for shape in shapes] or [None] * len(arrays)
    given = [jax.ShapeDtypeStruct(shape or x.shape, x.dtype) for shape, x in zip(sides, arrays)]
    names = [f"input {i}" for i in range(len(arrays))]
    count = count or len(jax.tree.leaves(jax.eval_shape(function, variables, *arrays)))
    return Run(to_onnx(function, variables, dict(zip(names, given)), [f"output {i}" for i in range(count)]))


class Run:
    """A model, and a session that runs it."""

    def __init__(self, model: Any):
        self.model = model
        options = onnxruntime.SessionOptions()
        options.log_severity_level = 3
        self.session = onnxruntime.InferenceSession(model.SerializeToString(), options, ["CPUExecutionProvider"])

    @classmethod
    def of(cls, path: Path) -> Self:
        """That of a file."""
        return cls(onnx.load(path))

    def __call__(self, *arrays: np.ndarray) -> list[np.ndarray]:
        return self.session.run(None, dict(zip((x.name for x in self.session.get_inputs()), arrays)))


def assert_converted(function, variables, arrays, shapes=(), others=(), tolerance=1e-5):
    """ONNX gives what JAX gives, of the arrays and of `others`, whose sizes differ."""
    run = converted(function, variables, arrays, shapes)
    for each in (arrays, *others):
        expected = jax.tree.leaves(jax.jit(function)(variables, *each))
        for found, value in zip(run(*each), expected, strict=True):
            assert found.dtype == value.dtype
            scale = np.max(np.abs(value), where=np.isfinite(value), initial=1)
            np.testing.assert_allclose(found, value, rtol=tolerance, atol=tolerance * scale)
    return run
