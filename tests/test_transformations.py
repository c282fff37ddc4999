"""Every transformation of JAX, on layers of each kind: equal to that of XLA's own operations."""

from collections.abc import Callable

import flax.linen as nn
import jax
import jax.numpy as jnp
import pytest

import fcn
from fcn.kernels import use
from fcn.layers import Conv, ConvTranspose, UpsampledConv, attend, max_pool, resize_bilinear
from tests.layers.references import assert_close, normal
from tests.test_contract import EAGER, SMALL
from tests.variables import random_variables, shapes_of


class TwoMaps(nn.Module):
    """A convolution of small images, enlarged, with larger ones beside them."""

    @nn.compact
    def __call__(self, x):
        return UpsampledConv(3)(x[:, ::2, ::2], [x])


class Scaled(nn.Module):
    """A function of images, whose channels are scaled first."""

    function: Callable

    @nn.compact
    def __call__(self, x):
        return self.function(x * self.param("scale", nn.initializers.ones, (x.shape[-1],)))


def attended(x):
    """Two heads of two features at 36 positions."""
    x = x[:, ::2, ::2].reshape(len(x), -1, 2, 2)
    return attend(x, jnp.sin(x), jnp.cos(x))


LAYERS = {
    "dense": Conv(3, 5, 2),
    "dilated": Conv(17, dilation=2),
    "depthwise": Conv(4, groups=4),
    "grouped": Conv(8, groups=2),
    "upsampled": UpsampledConv(3),
    "two maps": TwoMaps(),
}
OTHERS = {
    "transposed": ConvTranspose(3),
    "attention": Scaled(attended),
    "largest of windows": Scaled(lambda x: max_pool(x, 3, 2)),
    "bilinear": Scaled(lambda x: resize_bilinear(x, (24, 9))),
}


KEPT = jax.checkpoint_policies.dots_with_no_batch_dims_saveable


def transformed(apply, v, x):
    """Derivatives of all orders and modes, over one and several variables and images."""
    tangents = jax.tree.map(jnp.sin, v), jnp.cos(x)
    two = jax.tree.map(lambda leaf: jnp.stack([leaf, jnp.sin(leaf)]), v)
    each = x[:, None]

    def loss(v, x):
        return jnp.sum(jnp.sin(apply(v, x)))

    gradients = jax.grad(loss, (0, 1))
    return {
        "grad": gradients(v, x),
        "jvp": jax.jvp(apply, (v, x), tangents),
        "linearize": jax.linearize(apply, v, x)[1](*tangents),
        "jvp of grad": jax.jvp(gradients, (v, x), tangents),
        "grad of grad": jax.grad(lambda x: jnp.sum(jnp.sin(gradients(v, x)[1])))(x),
        "grad of jvp": jax.grad(lambda v: jnp.sum(jnp.sin(jax.jvp(apply, (v, x), tangents)[1])))(v),
        "vmap over variables and images": jax.vmap(jax.vmap(gradients, (None, 0)), (0, None))(two, each),
        "grad of vmap": jax.grad(lambda v: jnp.sum(jnp.sin(jax.vmap(apply, (None, 0))(v, each))))(v),
        "scan": jax.lax.scan(lambda carry, x: (carry, gradients(v, x)), 0, each)[1],
        "checkpoint": jax.grad(jax.checkpoint(loss))(v, x),
        "checkpoint with a policy": jax.grad(jax.checkpoint(loss, policy=KEPT))(v, x),
    }


def shapes_of_transformed(v, x, y):
    """What has the shapes of `transformed`: variables, images and logits."""
    of_two = jax.tree.map(lambda leaf: jnp.stack([leaf] * 2), (v, x[:1]))
    of_four = jax.tree.map(lambda leaf: jnp.stack([leaf] * 2), of_two)
    return {
        "grad": (v, x),
        "jvp": (y, y),
        "linearize": y,
        "jvp of grad": ((v, x), (v, x)),
        "grad of grad": x,
        "grad of jvp": v,
        "vmap over variables and images": of_four,
        "grad of vmap": v,
        "scan": of_two,
        "checkpoint": v,
        "checkpoint with a policy": v,
    }


@pytest.mark.parametrize("name", [*LAYERS, *OTHERS])
def test_layers(name):
    """Images have no two equal values, one of which a largest one would be."""
    layer, x = {**LAYERS, **OTHERS}[name], normal(2, 12, 12, 4)
    variables = random_variables(layer, *x.shape)
    given = jax.jit(lambda *arguments: transformed(layer.apply, *arguments))(variables, x)
    with use("xla"):
        expected = jax.jit(lambda *arguments: transformed(layer.apply, *arguments))(variables, x)
    for name, leaves in given.items():
        for a, b in zip(jax.tree.leaves(leaves), jax.tree.leaves(expected[name]), strict=True):
            assert_close(a, b, 1e-4)


@pytest.mark.parametrize("name", EAGER)
def test_networks(name):
    """One of each family takes all of them; what they give is that of its layers."""
    model, x = fcn.create_model(name, num_classes=2, **SMALL[name]), jax.ShapeDtypeStruct((2, 32, 32, 3), jnp.float32)
    variables = shapes_of(model, *x.shape)
    given = jax.eval_shape(lambda *arguments: transformed(model.apply, *arguments), variables, x)
    expected = jax.eval_shape(shapes_of_transformed, variables, x, jax.eval_shape(model.apply, variables, x))
    for kind, leaves in jax.tree.map(lambda leaf: (leaf.shape, leaf.dtype), given).items():
        assert leaves == jax.tree.map(lambda leaf: (leaf.shape, leaf.dtype), expected[kind]), kind
    assert given.keys() == expected.keys()


@pytest.mark.parametrize("name", ["dense", "two maps"])
def test_bfloat16(name):
    """Forward over reverse of several images; types stay, and numbers are XLA's but for their rounding."""
    x = jnp.asarray(normal(2, 1, 12, 12, 4), jnp.bfloat16)
    variables = jax.tree.map(lambda leaf: leaf.astype(jnp.bfloat16), random_variables(LAYERS[name], *x.shape[1:]))

    def along(x):
        gradients = jax.grad(lambda v, x: jnp.sum(jnp.sin(LAYERS[name].apply(v, x))), (0, 1))
        return jax.jvp(gradients, (variables, x), (variables, x))

    given = jax.jit(jax.vmap(along))(x)
    with use("xla"):
        expected = jax.jit(jax.vmap(along))(x)
    for a, b in zip(jax.tree.leaves(given), jax.tree.leaves(expected), strict=True):
        assert a.dtype == b.dtype == jnp.bfloat16
        assert_close(a, b, 0.03)


@pytest.mark.parametrize("name", ["dense", "depthwise", "two maps"])
def test_export_for_all_platforms(name):
    """One program for CPUs and accelerators of two makers; here it computes the gradients."""
    x = normal(2, 12, 12, 4)
    variables = random_variables(LAYERS[name], *x.shape)
    gradients = jax.jit(jax.grad(lambda v, x: jnp.sum(jnp.sin(LAYERS[name].apply(v, x))), (0, 1)))
    program = jax.export.export(gradients, platforms=["cpu", "cuda", "tpu"])(variables, x)
    for a, b in zip(jax.tree.leaves(program.call(variables, x)), jax.tree.leaves(gradients(variables, x)), strict=True):
        assert_close(a, b, 1e-5)


@pytest.mark.parametrize("name", LAYERS)
def test_one_equation_a_convolution(name):
    """And no branch for a platform."""
    x = normal(2, 12, 12, 4)
    variables = random_variables(LAYERS[name], *x.shape)

    def gradients(variables, x):
        return jax.grad(lambda v, x: jnp.sum(jnp.sin(LAYERS[name].apply(v, x))), (0, 1))(variables, x)

    names = [equation.primitive.name for equation in jax.make_jaxpr(gradients)(variables, x).eqns]
    ours = [name for name in names if name in ("convolution", "input_gradient", "kernel_gradient")]
    assert sorted(ours) == ["convolution", "input_gradient", "kernel_gradient"] and not {"cond", "platform_index"} & set(names)


@pytest.mark.parametrize("name", LAYERS)
def test_precision_where_it_is_called(name):
    """Of a convolution and its gradients, whatever holds where the program is lowered."""
    x = normal(1, 6, 6, 4)
    variables = random_variables(LAYERS[name], *x.shape)

    @jax.jit
    def gradients(variables, x):
        with jax.default_matmul_precision("highest"):
            return jax.grad(lambda v, x: jnp.sum(jnp.sin(LAYERS[name].apply(v, x))), (0, 1))(variables, x)

    text = jax.export.export(gradients, platforms=["cuda"])(variables, x).mlir_module()
    products = [line for line in text.splitlines() if "stablehlo.convolution(" in line or "stablehlo.dot_general" in line]
    assert products and all("HIGHEST" in line and "DEFAULT" not in line for line in products)


def test_double_precision_where_it_is_called():
    with jax.enable_x64(True):
        x, kernel = jnp.asarray(normal(1, 6, 6, 4), jnp.float64), jnp.asarray(normal(3, 3, 4, 2), jnp.float64)
        apply = Conv(2, use_bias=False, dtype=jnp.float64).apply
        traced = jax.jit(lambda kernel, x: apply({"params": {"kernel": kernel}}, x)).trace(kernel, x)
        expected = apply({"params": {"kernel": kernel}}, x)
    assert_close(traced.lower().compile()(kernel, x), expected, 1e-12)


@pytest.mark.parametrize("jitted", [True, False])
@pytest.mark.parametrize(("check", "other"), [("debug_nans", -2), ("debug_infs", 2)])
def test_checks_of_results(check, other, jitted):
    """Good results pass; inf - inf and inf + inf are an error that names the operation."""
    kernel = jnp.broadcast_to(jnp.array([[2.0], [other]]), (3, 3, 2, 1))
    apply = Conv(1, use_bias=False).apply

    def loss(x):
        return jnp.sum(apply({"params": {"kernel": kernel}}, x))

    gradient, x = jax.grad(loss), jnp.ones((1, 5, 5, 2))
    expected = gradient(x)
    with getattr(jax, check)(True):
        assert_close((jax.jit(gradient) if jitted else gradient)(x), expected)
        with pytest.raises(FloatingPointError, match="in convolution"):
            (jax.jit(loss) if jitted else loss)(3e38 * x)


@pytest.mark.parametrize("name", ["dense", "upsampled"])
def test_without_jit(name):
    x = normal(2, 6, 6, 4)
    variables = random_variables(LAYERS[name], *x.shape)
    gradient = jax.grad(lambda v, x: jnp.sum(jnp.sin(LAYERS[name].apply(v, x))), (0, 1))
    expected = gradient(variables, x)
    with jax.disable_jit():
        given = gradient(variables, x)
    for a, b in zip(jax.tree.leaves(given), jax.tree.leaves(expected), strict=True):
        assert_close(a, b)
