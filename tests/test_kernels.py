"""`fcn.kernels.use`: networks of XLA's own operations, which compute what the others compute."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import fcn
from fcn import environment
from fcn.environment import MAX_OF_SYMBOLS, TraceContext, largest
from fcn.kernels import mode, use
from fcn.kernels.bilinear import PRIMITIVES
from fcn.layers import Conv, average_pool, max_pool
from tests.layers.references import assert_close, normal
from tests.test_contract import SMALL
from tests.variables import random_variables

CASES = {
    "unet": ({"base_features": 4, "depth": 2}, (1, 24, 36, 3)),
    "fcn8s": ({"encoder": "vgg11", "width_multiplier": 0.0625, "fc_features": 16}, (1, 33, 40, 3)),
    "deeplabv3plus": ({"encoder": "mobilenet_v2", "encoder_depth": 3}, (1, 32, 40, 3)),
    "espnet_c": ({"p": 1, "q": 1}, (1, 33, 47, 3)),
    "segformer": ({"encoder": "mit_b0", "encoder_depth": 3}, (1, 32, 32, 3)),
}
OURS = {"custom_vjp_call", "custom_vjp_call_jaxpr", "platform_index", "cond", "optimization_barrier", "ffi_call"}
OURS |= {*PRIMITIVES, "onednn_convolution", "onednn_product"}


def primitives(jaxpr):
    """The names of all operations, also inside of others."""
    names = set()
    for equation in jaxpr.eqns:
        names.add(equation.primitive.name)
        for value in jax.tree.leaves(equation.params, is_leaf=lambda value: hasattr(value, "eqns")):
            inner = getattr(value, "jaxpr", value)
            names |= primitives(inner) if hasattr(inner, "eqns") else set()
    return names


@pytest.fixture(scope="module", params=CASES)
def case(request):
    """A network, variables and images in float64: in float32 a deep one with random variables loses half of its digits."""
    options, shape = CASES[request.param]
    with jax.enable_x64(True):
        model = fcn.create_model(request.param, num_classes=5, dtype=jnp.float64, **options)
        variables = random_variables(model, *shape)
        variables = jax.tree.map(lambda leaf: jnp.asarray(leaf, jnp.float64), variables)
        yield model, variables, np.random.default_rng(0).normal(size=shape)


def test_logits(case):
    """The same function, compiled in both modes, is traced anew."""
    model, variables, images = case
    apply = jax.jit(model.apply)
    ours = apply(variables, images)
    assert primitives(jax.make_jaxpr(model.apply)(variables, images).jaxpr) & OURS
    with use("xla"):
        plain = apply(variables, images)
        names = primitives(jax.make_jaxpr(model.apply)(variables, images).jaxpr)
    assert apply._cache_size() == 2
    assert np.abs(plain - ours).max() <= 1e-6 * np.abs(ours).max()
    assert not names & OURS


def test_forward_over_reverse():
    """Second derivatives by the usual kernels, forward over reverse, are those of XLA's own, reverse over reverse."""
    model = fcn.create_model("unet", num_classes=2, **CASES["unet"][0])
    variables = random_variables(model, 1, 8, 8, 3)
    images = normal(1, 8, 8, 3)

    def loss(images):
        return jnp.sum(jnp.sin(model.apply(variables, images)))

    def along(images):
        return jax.jvp(jax.grad(loss), (images,), (images,))[1]

    def reverse(images):
        return jax.grad(lambda x: jnp.vdot(jax.grad(loss)(x), images))(images)

    with use("auto"):
        a = jax.jit(along)(images)
    with use("xla"):
        b = jax.jit(reverse)(images)
    assert_close(a, b, 2e-5)


ANY_SIZE = ["fcn8s", "attention_unet", "manet", "pan", "deeplabv3plus", "segformer", "espnet_c", "segnet", "fc_densenet103"]


def exported(name):
    """A small network, its variables and its program for any batch and sides of whole 32 pixels."""
    model = fcn.create_model(name.split()[0], num_classes=2, **SMALL[name])
    variables = random_variables(model, 1, 64, 64, 3)
    batch, height, width = jax.export.symbolic_shape("b, h, w")
    images = jax.ShapeDtypeStruct((batch, 32 * height, 32 * width, 3), jnp.float32)
    with use("xla"):
        return model, variables, jax.export.export(jax.jit(model.apply), platforms=["cpu"])(variables, images)


@pytest.mark.parametrize("name", ANY_SIZE)
def test_export_for_any_size(symbols, name):
    *_, program = exported(name)
    assert str(program.out_avals[0].shape) == "(b, 32*h, 32*w, 2)"


def test_exported_programs_compute(symbols):
    model, variables, program = exported("deeplabv3plus")
    images = normal(2, 64, 96, 3)
    assert_close(program.call(variables, images), jax.jit(model.apply)(variables, images), 1e-4)


@pytest.mark.parametrize(("name", "message"), [("pspnet", "'area' from .* numbers"), ("unet2015", "32.h pixels")])
def test_export_for_some_sizes_only(symbols, name, message):
    with pytest.raises(ValueError, match=message):
        exported(name)


POOLS = [(7, 2, 2, 0, True), (7, 3, 2, 1, True), (8, 3, 2, 1, False), (5, 2, 3, 1, True), (6, 3, 1, 1, False)]


@pytest.mark.parametrize(("size", "window", "strides", "padding", "ceil_mode"), POOLS)
def test_pools(size, window, strides, padding, ceil_mode):
    x = normal(1, size, size + 1, 2)
    functions = [lambda x: max_pool(x, window, strides, padding=padding, ceil_mode=ceil_mode)]
    functions += [lambda x: max_pool((10 * x).astype(int), window, strides, padding=padding, ceil_mode=ceil_mode)]
    functions += [lambda x: average_pool(x, window, strides, padding=padding)]
    ours = [function(x) for function in functions]
    with use("xla"):
        for function, expected in zip(functions, ours, strict=True):
            assert_close(function(x), expected)


def test_modes():
    with pytest.raises(ValueError, match="unknown mode of kernels 'plain'"):
        use("plain")
    with use("xla"), use("auto"):
        assert not mode.is_xla()
    assert not mode.is_xla()


def test_of_the_environment(monkeypatch):
    """Read when the library is loaded; a wrong one is an error where the first layer is traced, not on import."""
    monkeypatch.setattr(mode, "_mode", TraceContext("xla"))
    x, variables = normal(1, 4, 4, 2), {"params": {"kernel": normal(3, 3, 2, 2)}}
    apply = Conv(2, use_bias=False).apply
    assert primitives(jax.make_jaxpr(apply)(variables, x).jaxpr) == {"conv_general_dilated"}
    monkeypatch.setattr(mode, "_mode", TraceContext("xls"))
    with pytest.raises(ValueError, match="unknown mode of kernels 'xls'"):
        apply(variables, x)


@pytest.mark.parametrize("find", [MAX_OF_SYMBOLS, None])
def test_the_larger_of_two_symbols(symbols, find):
    (h,) = jax.export.symbolic_shape("h")
    assert largest(3, 5, find) == 5
    if find is None:
        with pytest.raises(jax.errors.InconclusiveDimensionOperation):
            largest(32 * h, 64, find)
    else:
        assert str(largest(32 * h, 64)) == "max(32*h, 64)"


def test_a_jax_without_contexts(monkeypatch):
    """Which a warning says once."""
    monkeypatch.setattr(environment, "MODES", environment.Feature("compiled functions stay"))
    context = TraceContext(1, make=None)
    with pytest.warns(UserWarning, match="compiled functions stay") as told, context(2), context(3):
        assert context.value == 3
    assert len(told) == 1
    assert context.value == 1


@pytest.mark.parametrize(
    ("window", "strides", "padding", "fits"), [(2, 2, 0, True), (3, 2, 1, True), (3, 3, 1, False), (1, 2, 0, False)]
)
def test_pools_of_any_size_with_ceil_mode(symbols, window, strides, padding, fits):
    """With PyTorch's rule that no window starts in the padding after a map, else refused."""
    (h,) = jax.export.symbolic_shape("h")

    def pool(x):
        return max_pool(x, window, strides, padding=padding, ceil_mode=True)

    with use("xla"):
        export = jax.export.export(jax.jit(pool), platforms=["cpu"])
        if not fits:
            with pytest.raises(ValueError, match="takes sizes that are numbers, not h"):
                export(jax.ShapeDtypeStruct((1, h, 8, 1), jnp.float32))
            return
        program = export(jax.ShapeDtypeStruct((1, h, 8, 1), jnp.float32))
    for size in (4, 5, 6):
        assert_close(program.call(normal(1, size, 8, 1)), pool(normal(1, size, 8, 1)))


@pytest.mark.parametrize("groups", [1, 4])
def test_valid_padding_of_any_size(symbols, groups):
    """In the usual mode, also where it is not known that the kernel fits."""
    layer, x = Conv(4, 3, padding="VALID", groups=groups), normal(1, 5, 6, 4)
    variables = random_variables(layer, *x.shape)
    (h,) = jax.export.symbolic_shape("h")
    shape = jax.ShapeDtypeStruct((1, h, 6, 4), jnp.float32)
    program = jax.export.export(jax.jit(layer.apply), platforms=["cpu"])(variables, shape)
    assert_close(program.call(variables, x), layer.apply(variables, x))
