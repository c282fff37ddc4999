"""The fields that all layers and networks have."""

import ast
from pathlib import Path

import jax
import jax.numpy as jnp
import pytest

import fcn
from fcn.layers import Conv, NormLayer

FIELDS = {"dtype", "param_dtype", "axis_name"}


class Block(NormLayer):
    features: int
    strides: int = 1


def test_they_come_after_those_of_a_subclass_and_by_keyword():
    block = Block(4, 2, dtype=jnp.bfloat16, axis_name="data")
    assert block.types == {"dtype": jnp.bfloat16, "param_dtype": jnp.float32}
    assert block.norm_types == {"axis_name": "data", **block.types}
    assert (block.features, block.strides, Block(4).norm_types["axis_name"]) == (4, 2, None)
    with pytest.raises(TypeError, match="takes 3 positional arguments but 4 were given"):
        Block(4, 2, jnp.bfloat16)


def test_a_layer_has_no_batch_norm():
    with pytest.raises(TypeError, match="axis_name"):
        Conv(3, axis_name="data")
    variables = jax.eval_shape(Conv(3, 1, param_dtype=jnp.bfloat16).init, jax.random.key(0), jnp.zeros((1, 2, 2, 3)))
    assert {leaf.dtype for leaf in jax.tree.leaves(variables)} == {jnp.dtype(jnp.bfloat16)}


def test_they_stand_in_one_place():
    places = {}
    for folder in ("layers", "encoders", "models", "classifiers"):
        for path in (Path(fcn.__file__).parent / folder).rglob("*.py"):
            for part in ast.walk(ast.parse(path.read_text())):
                if isinstance(part, ast.ClassDef):
                    named = {getattr(line.target, "id", "") for line in part.body if isinstance(line, ast.AnnAssign)}
                    places |= {part.name: named & FIELDS} if named & FIELDS else {}
    assert places == {"Layer": {"dtype", "param_dtype"}, "NormLayer": {"axis_name"}}
