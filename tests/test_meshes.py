"""Networks on meshes as `jax.make_mesh` makes them, whose axes are Explicit, and in `jax.shard_map` with its default checks."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import AxisType, NamedSharding
from jax.sharding import PartitionSpec as P

import fcn
from fcn.layers import Conv, UpsampledConv
from tests.layers.references import assert_close, normal
from tests.test_contract import EAGER, SMALL
from tests.variables import random_variables, shapes_of

pytestmark = pytest.mark.skipif(jax.device_count() < 8, reason="takes eight devices: --xla_force_host_platform_device_count=8")

FAMILIES = {
    "unet": {"base_features": 4, "depth": 1},
    "fcn8s": {"encoder": "vgg11_bn", "width_multiplier": 1 / 32, "fc_features": 8},
    "fc_densenet56": {"layers": (1, 1, 1), "growth_rate": 4, "stem_features": 6},
}


class Subject:
    """A small network; the mean of a loss and its gradients with respect to the parameters as functions of these and images."""

    def __init__(self, name):
        self.model = fcn.create_model(name, num_classes=2, **FAMILIES[name])
        self.images = np.random.default_rng(0).normal(size=(8, 16, 16, 3)).astype(np.float32)
        self.variables = random_variables(self.model, 1, 16, 16, 3)
        self.expected = jax.jit(jax.value_and_grad(self.loss))(self.variables["params"], self.images)

    def loss(self, params, images):
        return jnp.mean(jnp.sin(self.model.apply({**self.variables, "params": params}, images)))

    def assert_as_expected(self, given):
        for a, b in zip(jax.tree.leaves(given), jax.tree.leaves(self.expected), strict=True):
            assert_close(a, b, 5e-5)


@pytest.fixture(scope="module", params=FAMILIES)
def subject(request):
    return Subject(request.param)


def on_a_mesh(subject):
    mesh = jax.make_mesh((8,), ("data",), axis_types=(AxisType.Explicit,))
    params = jax.device_put(subject.variables["params"], NamedSharding(mesh, P()))
    return params, jax.device_put(subject.images, NamedSharding(mesh, P("data")))


def test_explicit_axes(subject):
    """Logits are split as the images are; values and gradients are those of one device."""
    params, images = on_a_mesh(subject)
    with jax.set_mesh(images.sharding.mesh):
        logits = jax.eval_shape(lambda p, x: subject.model.apply({**subject.variables, "params": p}, x), params, images)
        given = jax.jit(jax.value_and_grad(subject.loss))(params, images)
    assert logits.sharding.spec[0] == "data"
    subject.assert_as_expected(given)


def test_images_by_name():
    """As by place, and split as they are."""
    layer, mesh = fcn.create_model("unet", num_classes=2, **FAMILIES["unet"]), jax.make_mesh((8,), ("data",))
    variables = jax.device_put(random_variables(layer, 1, 8, 8, 3), NamedSharding(mesh, P()))
    images = jax.device_put(normal(8, 8, 8, 3), NamedSharding(mesh, P("data")))
    with jax.set_mesh(mesh):
        by_place = jax.jit(layer.apply)(variables, images)
        by_name = jax.jit(lambda variables, x: layer.apply(variables, x=x))(variables, images)
    assert jax.typeof(by_name).sharding.spec[0] == "data"
    np.testing.assert_array_equal(by_name, by_place)


def test_training_with_explicit_axes():
    """Statistics of the whole batch come back as the old ones lay, or whole on every device."""
    subject = Subject("unet")
    params, images = on_a_mesh(subject)

    def train(params, images):
        variables = {**subject.variables, "params": params}
        return subject.model.apply(variables, images, train=True, mutable=["batch_stats"])

    expected = jax.jit(train)(subject.variables["params"], subject.images)
    with jax.set_mesh(images.sharding.mesh):
        given = jax.jit(train)(params, images)
    for a, b in zip(jax.tree.leaves(given), jax.tree.leaves(expected), strict=True):
        assert_close(a, b, 2e-5)


def test_gradients_in_shard_map(subject):
    """The gradient with respect to parameters that all devices share is summed over them."""
    mesh = jax.make_mesh((8,), ("data",), axis_types=(AxisType.Auto,))

    def step(params, images):
        return jax.value_and_grad(lambda p: jax.lax.pmean(subject.loss(p, images), "data"))(params)

    mapped = jax.shard_map(step, mesh=mesh, in_specs=(P(), P("data")), out_specs=P())
    subject.assert_as_expected(jax.jit(mapped)(subject.variables["params"], subject.images))


def spread(gradients, kind):
    """Gradients of a batch on eight devices, which they share in one of the ways of JAX."""
    explicit, auto = (jax.make_mesh((8,), ("data",), axis_types=(axes,)) for axes in (AxisType.Explicit, AxisType.Auto))
    specs = {"mesh": auto, "in_specs": (P(), P("data")), "out_specs": P()}
    summed = lambda v, x: jax.lax.pmean(gradients(v, x), "data")  # noqa: E731
    if kind == "pmap":
        return lambda v, x: jax.pmap(summed, "data", in_axes=(None, 0)).lower(v, x.update(shape=(8, 1, *x.shape[1:])))
    if kind.startswith("shard_map"):
        return jax.jit(jax.shard_map(summed, **specs, check_vma=kind == "shard_map")).lower
    whole, split = NamedSharding(explicit, P()), NamedSharding(explicit, P("data"))

    def lower(v, x):
        with jax.set_mesh(explicit):
            return jax.jit(gradients).lower(jax.tree.map(lambda leaf: leaf.update(sharding=whole), v), x.update(sharding=split))

    return lower


def shapes(tree):
    return jax.tree.map(lambda leaf: leaf.shape, tree)


@pytest.mark.parametrize("name", EAGER)
def test_every_family_may_be_spread(name):
    """One of each family in the ways by which it is traced otherwise; what they give is tested above."""
    model, x = fcn.create_model(name, num_classes=2, **SMALL[name]), jax.ShapeDtypeStruct((8, 32, 32, 3), jnp.float32)
    variables = shapes_of(model, *x.shape)
    of_devices = jax.tree.map(lambda leaf: leaf.update(shape=(8, *leaf.shape)), variables)
    gradients = jax.grad(lambda v, x: jnp.mean(jnp.sin(model.apply(v, x))))
    for kind in ("Explicit", "shard_map", "shard_map without checks", "pmap"):
        lowered = spread(gradients, kind)(variables, x)
        expected = of_devices if kind == "pmap" else variables
        assert shapes(lowered.out_info) == shapes(expected), kind


@pytest.mark.parametrize("layer", [Conv(4, groups=4), Conv(8, groups=2), UpsampledConv(4), Conv(4, 3, 2)], ids=str)
def test_layers_in_shard_map(layer):
    """Depthwise, in groups, enlarged and with strides; without checks nothing is summed over devices unasked."""
    mesh = jax.make_mesh((8,), ("data",), axis_types=(AxisType.Auto,))
    x, variables = normal(8, 16, 16, 4), random_variables(layer, 1, 16, 16, 4)

    def gradients(variables, x):
        return jax.grad(lambda v, x: jnp.sum(jnp.sin(layer.apply(v, x))), argnums=(0, 1))(variables, x)

    def without_checks(variables, x):
        by_variables, by_images = gradients(variables, x)
        return jax.lax.psum(by_variables, "data"), by_images

    specs = {"mesh": mesh, "in_specs": (P(), P("data")), "out_specs": (P(), P("data"))}
    functions = jax.shard_map(gradients, **specs), jax.shard_map(without_checks, **specs, check_vma=False), gradients
    *given, expected = jax.jit(lambda *arguments: [function(*arguments) for function in functions])(variables, x)
    for results in given:
        for a, b in zip(jax.tree.leaves(results), jax.tree.leaves(expected), strict=True):
            assert_close(a, b, 2e-5)
