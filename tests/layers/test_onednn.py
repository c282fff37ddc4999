"""oneDNN's convolutions and products: values, derivatives, and where they are used."""

import contextlib
import platform
import sys

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import export

from fcn import environment
from fcn.kernels import onednn
from fcn.kernels.call import describe_product
from fcn.kernels.convolution import convolve as convolve_any
from fcn.kernels.onednn import convolve_onednn, multiply_onednn
from fcn.kernels.products import matmul, multiply, sum_over_positions
from fcn.kernels.table import find
from fcn.kernels.xla import native_convolution
from fcn.layers import Conv, UpsampledConv, attend
from tests.layers.references import assert_close, exact_convolution, needs_onednn, pad
from tests.layers.references import normal as normal_numbers

pytestmark = needs_onednn

ONE, SAME = (1, 1), ((1, 1), (1, 1))
CONVOLUTIONS = [
    ((2, 13, 9, 3), (3, 3, 3, 5), ONE, SAME, ONE, 1),
    ((1, 1, 1, 3), (3, 3, 3, 5), ONE, SAME, ONE, 1),
    ((2, 20, 31, 3), (7, 7, 3, 16), (2, 2), ((3, 3), (3, 3)), ONE, 1),
    ((2, 13, 14, 16), (2, 5, 16, 33), (3, 1), ((2, 0), (0, 3)), (1, 2), 1),
    ((1, 9, 10, 16), (3, 3, 16, 16), ONE, ((12, 12), (9, 9)), (12, 9), 1),
    ((2, 9, 10, 16), (1, 1, 16, 7), (2, 2), ((0, 0), (0, 0)), ONE, 1),
    ((2, 13, 14, 24), (3, 3, 8, 36), (2, 1), SAME, ONE, 3),
    ((2, 13, 14, 20), (5, 5, 1, 20), ONE, ((2, 2), (2, 2)), ONE, 20),
    ((2, 13, 14, 20), (3, 3, 1, 40), (2, 2), SAME, (2, 2), 20),
]
TRANSPOSED = [(False, False), (False, True), (True, False), (True, True)]


def normal(*shape):
    return jnp.asarray(normal_numbers(*shape))


def convolve(*settings):
    return lambda x, kernel: convolve_onednn(x, kernel, *settings)


def is_multiplied(x, y):
    """Whether oneDNN multiplies."""
    return find(describe_product("product", x, y)).algorithm == "onednn"


def operations(function, *arguments):
    """How many of oneDNN's are in the program."""
    return jax.jit(function).lower(*arguments).as_text().count("__onednn$")


@pytest.mark.parametrize(("shape", "kernel_shape", "strides", "pads", "dilation", "groups"), CONVOLUTIONS)
def test_convolution(shape, kernel_shape, strides, pads, dilation, groups):
    x, kernel = normal(*shape), normal(*kernel_shape)
    function = convolve(strides, pads, dilation, groups)
    assert operations(function, x, kernel) == 1
    expected = exact_convolution(pad(x, pads), kernel, strides, dilation, groups)
    for compute in (function, jax.jit(function)):
        assert_close(compute(x, kernel), expected)
    assert jax.eval_shape(function, x, kernel).shape == expected.shape


@pytest.mark.parametrize(("shape", "kernel_shape", "strides", "pads", "dilation", "groups"), CONVOLUTIONS[-3:])
@pytest.mark.parametrize(
    "transform",
    [
        lambda loss: jax.grad(loss, (0, 1)),
        lambda loss: jax.grad(lambda x, kernel: jnp.sum(jax.grad(loss)(x, kernel) ** 2), (0, 1)),
        lambda loss: lambda x, kernel: jax.jvp(lambda x: loss(x, kernel), (x,), (2 * x,)),
        lambda loss: lambda x, kernel: jax.vmap(loss, (None, 0))(x, jnp.stack([kernel, 2 * kernel])),
        lambda loss: lambda x, kernel: jax.vmap(jax.grad(loss), (0, 0))(jnp.stack([x, -x]), jnp.stack([kernel, kernel])),
    ],
    ids=["gradients", "second derivatives", "forward mode", "kernels", "gradients of several"],
)
def test_derivatives_and_several_at_once(with_onednn, transform, shape, kernel_shape, strides, pads, dilation, groups):
    settings = strides, pads, dilation, groups

    def loss(convolution):
        return lambda x, kernel: jnp.sum(jnp.sin(convolution(x, kernel)))

    x, kernel = normal(*shape), normal(*kernel_shape)
    given, expected = (
        jax.jit(transform(loss(convolution)))(x, kernel)
        for convolution in (
            lambda x, kernel: convolve_any(x, kernel, *settings),
            lambda x, kernel: native_convolution(x, kernel, *settings),
        )
    )
    jax.tree.map(lambda a, b: assert_close(a, b, 1e-5), given, expected)


@pytest.mark.parametrize("transposed", TRANSPOSED)
@pytest.mark.parametrize("stack", [(), (3,), (2, 3)])
def test_products(stack, transposed):
    left, right = (5, 7), (7, 6)
    x, y = (normal(*stack, *(size[::-1] if swapped else size)) for size, swapped in zip((left, right), transposed))

    def plain(x, y):
        x, y = (a.swapaxes(-2, -1) if swapped else a for a, swapped in zip((x, y), transposed))
        return x @ y

    def ours(x, y):
        return multiply_onednn(x, y, transposed)

    assert operations(ours, x, y) == 1
    assert_close(jax.jit(ours)(x, y), plain(np.asarray(x, np.float64), np.asarray(y, np.float64)))
    for transform in (
        lambda function: jax.grad(lambda x, y: jnp.sum(jnp.sin(function(x, y))), (0, 1)),
        lambda function: lambda x, y: jax.jvp(function, (x, y), (2 * x, 3 * y)),
        lambda function: lambda x, y: jax.vmap(function, (0, None))(jnp.stack([x, 2 * x]), y),
    ):
        given, expected = (jax.jit(transform(function))(x, y) for function in (ours, plain))
        jax.tree.map(lambda a, b: assert_close(a, b, 1e-5), given, expected)


def test_gradients_of_products_are_oneDNNs():
    def gradients(x, y):
        return jax.grad(lambda x, y: jnp.sum(jnp.sin(multiply_onednn(x, y))), (0, 1))(x, y)

    assert operations(gradients, normal(5, 7), normal(7, 6)) == 3


@pytest.mark.parametrize(
    ("layer", "shape", "forward", "training"),
    [
        (Conv(32), (2, 20, 20, 32), 1, 2),
        (Conv(20), (2, 20, 20, 3), 1, 2),
        (Conv(24, 3, 2), (2, 20, 20, 16), 1, 1),
        (Conv(24, 3, dilation=2), (2, 20, 20, 16), 1, 2),
        (Conv(24, 3, padding=3), (2, 40, 40, 16), 1, 1),
        (Conv(24, groups=2), (2, 20, 20, 16), 1, 1),
        (Conv(32, 7, groups=32), (2, 20, 20, 32), 1, 2),
        (Conv(32, 3, groups=32), (2, 20, 20, 32), 0, 0),
        (UpsampledConv(16), (2, 20, 20, 24), 1, 1),
        (Conv(256, padding="VALID"), (2, 18, 34, 256), *((1, 3) if onednn.multiplies_stacks() else (0, 0))),
    ],
    ids=lambda value: f"{value.features} {value.kernel_size}" if isinstance(value, Conv) else "",
)
def test_layers(usual_table, with_onednn, monkeypatch, layer, shape, forward, training):
    """With as many of oneDNN's operations as there are without and with gradients; the last goes by Winograd's algorithm."""
    x = normal(*shape)
    variables = jax.tree.map(lambda leaf: normal(*leaf.shape), jax.eval_shape(layer.init, jax.random.key(0), x))

    def gradients(variables, x):
        y, pull = jax.vjp(layer.apply, variables, x)
        return y, pull(normal(*y.shape))

    assert operations(layer.apply, variables, x) == forward
    assert operations(gradients, variables, x) == training
    given = jax.jit(layer.apply)(variables, x), jax.jit(gradients)(variables, x)
    monkeypatch.setenv("FCN_ONEDNN", "0")
    jax.clear_caches()
    assert operations(gradients, variables, x) == 0
    expected = jax.jit(layer.apply)(variables, x), jax.jit(gradients)(variables, x)
    jax.tree.map(lambda a, b: assert_close(a, b, 2e-5), given, expected)


@pytest.mark.parametrize("dtype", [jnp.bfloat16, jnp.float16])
def test_half_precision_is_computed_in_float32(with_onednn, dtype):
    x, kernel = jnp.asarray(normal(2, 9, 9, 16), dtype), jnp.asarray(normal(3, 3, 16, 8), dtype)
    function = convolve(ONE, SAME, ONE)
    assert operations(function, x, kernel) == 1
    assert function(x, kernel).dtype == dtype
    assert_close(function(x, kernel), exact_convolution(pad(x, SAME), kernel), float(jnp.finfo(dtype).eps))


@pytest.mark.parametrize("columns, fast", [(23, False), (24, True), (3071, True), (3072, False), (3073, True), (6144, False)])
def test_numbers_of_columns_that_are_not_fast(with_onednn, columns, fast):
    x, y = normal(3000, 256), normal(3000, columns)
    assert operations(sum_over_positions, x, y) == fast
    assert_close(sum_over_positions(x, y), np.asarray(x, np.float64).T @ np.asarray(y, np.float64))


@pytest.mark.parametrize("queries, used", [(197, 2), (97, 0)])
def test_large_attention(with_onednn, queries, used):
    """Both of its products, of 12 heads, with 197 queries and keys of 64 features; half as many queries are too few."""
    arrays = [normal(2, count, 6, 64) for count in (queries, 197, 197)]
    assert operations(attend, *arrays) == (used if onednn.multiplies_stacks() else 0)
    given = _value_and_gradients(attend, *arrays)
    with jax.enable_x64(True):
        exact = _value_and_gradients(_attention, *(jnp.asarray(array, jnp.float64) for array in arrays))
        assert all(array.dtype == jnp.float64 for array in exact)
    for ours, expected in zip(given, exact, strict=True):
        assert_close(ours, expected, 5e-6)  # sums of 64, in exponents, and of 197


def _attention(query, key, value):
    weights = jax.nn.softmax(jnp.einsum("bqhf,bkhf->bhqk", query, key) / 8)
    return jnp.einsum("bhqk,bkhf->bqhf", weights, value)


def _value_and_gradients(function, *arrays):
    y, pull = jax.vjp(jax.jit(function), *arrays)
    return y, *pull(jnp.asarray(normal(*y.shape), y.dtype))


def test_float64_is_not_its_business(with_onednn):
    assert is_multiplied(jnp.zeros((4096, 64)), jnp.zeros((64, 64)))
    with jax.enable_x64(True):
        x, kernel = (jnp.asarray(normal_numbers(*shape), jnp.float64) for shape in ((2, 9, 9, 16), (3, 3, 16, 8)))
        given = jax.jit(lambda x, kernel: convolve_any(x, kernel, ONE, SAME, ONE, 1))(x, kernel)
        np.testing.assert_allclose(given, exact_convolution(pad(x, SAME), kernel), rtol=1e-12)
        with pytest.raises(TypeError, match="oneDNN convolves float32, bfloat16 and float16 here, not float64 and float64"):
            convolve(ONE, SAME, ONE)(x, kernel)
        wide, narrow = jnp.zeros((64, 64), jnp.float64), jnp.zeros((4096, 64), jnp.float32)
        assert not is_multiplied(narrow, wide)
        assert not is_multiplied(narrow.astype(jnp.float64), wide)
        assert multiply(narrow, wide).dtype == jnp.float64
        with pytest.raises(TypeError, match="not float32 and float64"):
            multiply_onednn(narrow, wide)


def test_exported_programs_have_none(usual_table, with_onednn):
    """They could not be kept: XLA promises nothing about these operations."""
    layer, x = Conv(32), normal(2, 20, 20, 32)
    variables = layer.init(jax.random.key(0), x)
    assert operations(layer.apply, variables, x) == 1
    exported = export.deserialize(export.export(jax.jit(layer.apply))(variables, x).serialize())
    assert "__onednn$" not in exported.mlir_module()
    assert_close(exported.call(variables, x), jax.jit(layer.apply)(variables, x), 1e-5)


def use_another_version(monkeypatch, version):
    monkeypatch.setattr(jax, "__version_info__", version)
    monkeypatch.setattr(onednn, "ONEDNN", environment.Feature("nothing is computed by oneDNN"))
    monkeypatch.setattr(onednn, "is_inside", onednn.is_inside.__wrapped__)


@pytest.mark.parametrize(
    ("allowed", "change"),
    [
        (True, lambda patch: None),
        (True, lambda patch: patch.setenv("FCN_ONEDNN", "1")),
        (False, lambda patch: patch.setenv("FCN_ONEDNN", "0")),
        (False, lambda patch: patch.setattr(jax, "device_count", lambda: 2)),
        (False, lambda patch: use_another_version(patch, (0, 9, 2))),
        (True, lambda patch: use_another_version(patch, (0, 11, 2))),
        (False, lambda patch: use_another_version(patch, (0, 13, 0))),
        (
            False,
            lambda patch: (use_another_version(patch, (0, 11, 2)), patch.setattr(platform, "machine", lambda: "arm64")),
        ),
        (False, lambda patch: (use_another_version(patch, (0, 11, 2)), patch.setattr(sys, "platform", "darwin"))),
        (False, lambda patch: (use_another_version(patch, (0, 11, 2)), patch.setattr(jax, "default_backend", lambda: "gpu"))),
    ],
)
def test_where_it_is_usable(with_onednn, monkeypatch, allowed, change):
    change(monkeypatch)
    untested = not environment.is_tested()
    with pytest.warns(UserWarning, match="nothing is computed by oneDNN") if untested else contextlib.nullcontext():
        assert onednn.usable() == allowed
    assert onednn.may_convolve((2, 9, 9, 3), SAME) == allowed
    assert is_multiplied(jnp.zeros((4096, 64)), jnp.zeros((64, 64))) == allowed


def test_not_with_a_compilation_cache(with_onednn, tmp_path):
    """XLA cannot write programs that have its operations."""
    x, kernel, enabled = normal(2, 9, 9, 16), normal(3, 3, 16, 8), jax.config.jax_enable_compilation_cache
    traced = jax.jit(convolve(ONE, SAME, ONE)).trace(x, kernel)
    try:
        jax.config.update("jax_enable_compilation_cache", True)
        jax.config.update("jax_compilation_cache_dir", str(tmp_path))
        assert not onednn.usable()
        assert "__onednn$" not in traced.lower().as_text()
        jax.config.update("jax_enable_compilation_cache", False)
        assert onednn.usable()
        assert operations(convolve(ONE, SAME, ONE), x, kernel) == 1
    finally:
        jax.config.update("jax_compilation_cache_dir", None)
        jax.config.update("jax_enable_compilation_cache", enabled)


def test_not_where_xla_was_built_without_it(with_onednn, monkeypatch):
    def refuse(*_):
        raise jax.errors.JaxRuntimeError("UNIMPLEMENTED: No registered implementation for custom call to __onednn$matmul")

    monkeypatch.setattr(onednn, "is_inside", onednn.is_inside.__wrapped__)
    monkeypatch.setattr(jax.stages.Lowered, "compile", refuse)
    assert not onednn.usable()


@pytest.mark.parametrize(
    ("allowed", "shape", "pads"),
    [(True, (1, 1, 1, 3), SAME), (False, (0, 9, 9, 3), SAME), (False, (2, 9, 9, 3), ((1, -1), (0, 0)))],
)
def test_which_convolutions(with_onednn, allowed, shape, pads):
    assert onednn.may_convolve(shape, pads) == allowed


@pytest.mark.parametrize(
    ("allowed", "shape", "features"),
    [
        (True, (4096, 64), 64),
        (False, (4095, 64), 64),
        (True, (36, 512, 32), 32),
        (False, (36, 400, 32), 32),
        (False, (2**16, 23), 64),
        (False, (2**16, 64), 23),
    ],
)
def test_which_products(with_onednn, monkeypatch, allowed, shape, features):
    monkeypatch.setattr(onednn, "multiplies_stacks", lambda: True)
    x, kernel, results = (jnp.zeros(s) for s in (shape, (*shape[:-2], shape[-1], features), (*shape[:-1], features)))
    assert operations(matmul, x, kernel) == operations(sum_over_positions, x, results) == allowed


@pytest.mark.parametrize(
    ("version", "avx512", "allowed"),
    [((0, 10, 2), False, False), ((0, 11, 9), False, False), ((0, 12), False, True), ((0, 10, 2), True, True)],
)
def test_stacks_of_products(with_onednn, monkeypatch, version, avx512, allowed):
    """None where oneDNN's threads meet in XLA's pool, which corrupts memory; one matrix is no stack."""
    monkeypatch.setattr(jax, "__version_info__", version)
    monkeypatch.setattr(environment, "has_avx512", lambda: avx512)
    stack, one = normal(36, 512, 32), normal(1, 4096, 64)
    for arrays, count in (((stack, normal(36, 32, 32), stack), 2 * allowed), ((one, normal(1, 64, 64), one), 2)):
        assert operations(lambda x, y, z: (matmul(x, y), sum_over_positions(x, z)), *arrays) == count


def test_products_that_xla_keeps(with_onednn):
    """Those of pointwise convolutions, which `jax.checkpoint` knows, but for their sums over positions."""
    x, kernel = normal(4096, 64), normal(64, 64)
    gradients = jax.grad(lambda x, kernel: jnp.sum(jnp.sin(multiply(x, kernel))), (0, 1))
    assert operations(multiply, x, kernel) == 0
    assert operations(gradients, x, kernel) == 1
    given, expected = jax.jit(gradients)(x, kernel), jax.grad(lambda *a: jnp.sum(jnp.sin(jnp.matmul(*a))), (0, 1))(x, kernel)
    jax.tree.map(lambda a, b: assert_close(a, b, 1e-5), given, expected)


@pytest.mark.parametrize(
    "evaluate",
    [
        lambda function, x, y: jax.checkpoint(function)(x, y),
        lambda function, x, y: jax.linearize(function, x, y)[1](x, y) / 2,
        lambda function, x, y: jax.core.eval_jaxpr(*(lambda j: (j.jaxpr, j.consts))(jax.make_jaxpr(function)(x, y)), x, y)[0],
        lambda function, x, y: jax.grad(lambda z: jnp.vdot(jax.checkpoint(function)(x, y), z))(function(x, y)),
    ],
    ids=["checkpoint", "linearize", "jaxpr", "gradient of a checkpoint"],
)
def test_without_compilation(with_onednn, evaluate):
    x, kernel = normal(2, 9, 9, 16), normal(3, 3, 16, 8)
    assert_close(evaluate(lambda *a: convolve_any(*a, ONE, SAME, ONE, 1), x, kernel), exact_convolution(pad(x, SAME), kernel))
    x, y = normal(7, 5), normal(5, 6)
    assert_close(evaluate(multiply_onednn, x, y), np.asarray(x, np.float64) @ np.asarray(y, np.float64))


def test_without_jit():
    x, kernel = normal(2, 9, 9, 16), normal(3, 3, 16, 8)
    with jax.disable_jit():
        assert_close(convolve(ONE, SAME, ONE)(x, kernel), exact_convolution(pad(x, SAME), kernel))


@pytest.mark.parametrize(("shape", "kernel", "groups"), [((2, 9, 9, 16), (3, 3, 8, 4), 1), ((2, 9, 9, 16), (3, 3, 8, 5), 2)])
def test_channels_that_do_not_fit(shape, kernel, groups):
    with pytest.raises(ValueError, match="feature"):
        convolve(ONE, SAME, ONE, groups)(normal(*shape), normal(*kernel))


@pytest.mark.parametrize(("left", "right"), [((8, 6), (4, 6)), ((3, 8, 6), (2, 6, 4))])
def test_matrices_that_do_not_fit(left, right):
    with pytest.raises((TypeError, ValueError)):
        multiply_onednn(normal(*left), normal(*right))


def test_gradients_of_each_device_s_part(usual_table, with_onednn):
    """XLA's operations follow what varies over the axes of a mesh; oneDNN's are not among these."""
    mesh, spec = jax.make_mesh((1,), ("d",), (jax.sharding.AxisType.Auto,)), jax.sharding.PartitionSpec
    layer, x = Conv(64, 1), normal(2, 64, 64, 64)
    variables = layer.init(jax.random.key(0), x)

    def gradients(variables, x):
        return jax.grad(lambda variables: jnp.sum(jnp.sin(layer.apply(variables, x))))(variables)

    def of_parts(variables, x):
        return jax.shard_map(gradients, mesh=mesh, in_specs=(spec(), spec("d")), out_specs=spec())(variables, x)

    assert operations(gradients, variables, x) == 1
    assert operations(of_parts, variables, x) == 0
    jax.tree.map(lambda a, b: assert_close(a, b, 1e-5), jax.jit(of_parts)(variables, x), jax.jit(gradients)(variables, x))
