"""What is asked of JAX, with versions that lack the answer."""

import json
import os
import subprocess
import sys
from types import SimpleNamespace

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from fcn import environment
from fcn.environment import Feature, accepted, explicit_mesh, is_exported, is_lowered_manually, order_with_little_memory
from fcn.kernels import onednn
from tests.compilation import QUICK_COMPILATION
from tests.conftest import ROOT
from tests.layers.references import needs_onednn


@pytest.fixture
def untested(monkeypatch):
    """A version of JAX that was not tested, and features of its own."""
    monkeypatch.setattr(environment, "TESTED", ((0, 0), (0, 1)))
    for name in ("MESHES", "ORDER", "ONEDNN"):
        monkeypatch.setattr(environment, name, Feature(f"no {name}"))


def fail():
    raise TypeError("no such argument\nand more")


def test_a_feature_is_off_from_its_first_error_on(untested):
    feature, calls = Feature("it is slower"), []
    with pytest.warns(UserWarning, match=rf"JAX {jax.__version__}: it is slower \(TypeError: no such argument\)$"):
        assert feature.attempt(fail, lambda: "fallback") == "fallback"
    assert feature.attempt(lambda: calls.append("again"), lambda: "fallback") == "fallback" and not calls
    assert not feature.works()


def test_an_error_without_the_feature_is_the_user_s(untested):
    feature = Feature("it is slower")
    with pytest.raises(TypeError, match="no such argument"):
        feature.attempt(fail, fail)
    assert feature.works() and feature.attempt(lambda: "by it", fail) == "by it"


def test_a_feature_is_checked_once_before_its_first_use(untested):
    good, bad, calls = Feature("good"), Feature("bad"), []
    good.checked_by(lambda: calls.append("checked"))
    assert good.works() and good.works() and calls == ["checked"]
    bad.checked_by(fail)
    with pytest.warns(UserWarning, match="bad"):
        assert not bad.works()


def test_with_tested_versions_errors_are_ours():
    feature = Feature("")
    feature.checked_by(fail)
    assert feature.works()
    with pytest.raises(TypeError, match="no such argument"):
        feature.attempt(fail, lambda: "fallback")


def test_without_types_that_know_their_mesh(untested, monkeypatch):
    monkeypatch.setattr(jax, "typeof", lambda array: SimpleNamespace(shape=array.shape))
    with pytest.warns(UserWarning, match="no MESHES"):
        assert explicit_mesh([jnp.ones(3)]) is None


def test_an_order_that_xla_does_not_know(untested, monkeypatch):
    assert order_with_little_memory()["xla_cpu_scheduler_type"]
    monkeypatch.setattr(environment, "LITTLE_MEMORY", {"xla_cpu_no_such_option": "1"})
    with pytest.warns(UserWarning, match="no ORDER"):
        assert order_with_little_memory() == {}


def test_contexts_that_say_less():
    """What may be exported, or lies on an unknown mesh, is taken for it where that is the safe side."""
    module = SimpleNamespace(
        lowering_parameters=SimpleNamespace(for_export=False), axis_context=SimpleNamespace(manual_axes={"data"})
    )
    context = SimpleNamespace(module_context=module)
    assert (is_exported(context), is_lowered_manually(context)) == (False, True)
    for less in (SimpleNamespace(), SimpleNamespace(module_context=SimpleNamespace())):
        assert (is_exported(less), is_lowered_manually(less)) == (True, False)


def test_options_that_a_function_does_not_have():
    assert accepted(lambda address, seconds=1: 0, seconds=2, minutes=3) == {"seconds": 2}


@needs_onednn
@pytest.mark.parametrize("name", ["multiply_by_xla", "native_convolution"])
def test_onednn_that_computes_other_numbers(name, monkeypatch):
    exact = getattr(onednn, name)
    monkeypatch.setattr(onednn, "ONEDNN", Feature("no oneDNN"))
    monkeypatch.setattr(onednn, name, lambda *arguments: exact(*arguments) + 1e-3)
    with pytest.warns(UserWarning, match="no oneDNN .it computes other numbers than XLA"):
        assert not onednn.is_inside.__wrapped__()


@needs_onednn
def test_onednn_of_another_version(untested, monkeypatch):
    monkeypatch.setattr(onednn, "ONEDNN", environment.ONEDNN)
    with pytest.warns(UserWarning, match="no ONEDNN .not tested with this version"):
        assert not onednn.is_inside.__wrapped__()


BARE = """
import json, sys, warnings
import flax.linen as nn, jax, jax.numpy as jnp
import jax.extend.core, jax.interpreters.mlir, jax.interpreters.partial_eval

jax.__version_info__, jax.__version__ = (9, 0, 0), "9.0.0"
del jax.interpreters.partial_eval.dce_jaxpr, jax.make_user_context
sys.modules["jax.interpreters.mlir"] = sys.modules["jax.extend.core"] = None
jax.typeof = lambda array: jax.ShapeDtypeStruct(array.shape, array.dtype)

with warnings.catch_warnings(record=True) as told:
    warnings.simplefilter("always")
    import fcn
    from fcn.layers import Conv, Network

    class Net(Network):
        @nn.compact
        def __call__(self, x):
            return Conv(1, use_bias=False)(x)

    images = jnp.ones((1, 4, 4, 3))
    kernel = jax.tree.map(jnp.ones_like, Net().init(jax.random.key(0), images))
    for _ in range(2):
        with fcn.kernels.use("auto"):
            values, pull = jax.vjp(jax.jit(Net().apply), kernel, images)
    by_kernel, by_images = pull(values)
    results = values, by_kernel["params"]["Conv_0"]["kernel"][1, 1], by_images[0, 0, 0]
print(json.dumps([[str(w.message) for w in told], [r.ravel().tolist() for r in results]]))
"""


def test_a_jax_without_what_is_not_promised():
    """The library is imported and computes, and says once what is off."""
    command = [sys.executable, "-c", BARE]
    environ = {**os.environ, "XLA_FLAGS": QUICK_COMPILATION, "PYTHONPATH": str(ROOT), "JAX_PLATFORMS": "cpu"}
    output = subprocess.run(command, env=environ, capture_output=True, text=True, check=True).stdout
    told, (values, center, corner) = json.loads(output)
    side = np.array([2, 3, 3, 2])  # of three taps in a line, those that see the image
    np.testing.assert_array_equal(values, 3 * np.outer(side, side).ravel())
    np.testing.assert_array_equal(center, 3 * [3 * side.sum() ** 2])
    np.testing.assert_array_equal(corner, 3 * [3 * (2 + 3) ** 2])
    off = (
        "nothing is computed by oneDNN",
        "layers compute by",
        "`init` runs",
        "functions that were compiled",
        "networks take no",
    )
    assert len(told) == len(off)
    assert all(any(text.startswith(f"JAX 9.0.0: {start}") for text in told) for start in off)
