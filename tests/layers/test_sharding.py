"""The layers over eight devices: the same values as on one, whichever way the batch is split."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import AxisType, NamedSharding, PartitionSpec

from fcn.kernels import bilinear, im2col
from fcn.layers import (
    Conv,
    ConvTranspose,
    LearnedBilinearUpsample,
    UpsampledConv,
    max_pool,
    resize_bilinear,
    upsample_bilinear_fcn,
)
from tests.layers.references import assert_close, normal

pytestmark = pytest.mark.skipif(jax.device_count() < 8, reason="takes eight devices: --xla_force_host_platform_device_count=8")

LAYERS = {
    "native": Conv(8),
    "tiles": Conv(17),
    "rows": Conv(18),
    "im2col": Conv(19),
    "im2col, strided": Conv(19, 3, 2),
    "taps": Conv(16, dilation=3),
    "shifts": Conv(15),
    "shifts of one feature": Conv(1),
    "grouped": Conv(8, groups=2),
    "grouped, few positions": Conv(8, 3, 4, groups=2),
    "pointwise": Conv(8, 1),
    "pointwise, few features": Conv(2, 1),
    "depthwise": Conv(4, groups=4),
    "transposed": ConvTranspose(4),
    "transposed, overlapping": ConvTranspose(4, 4, 2, 1),
    "upsampled": UpsampledConv(8),
    "learned upsampling": LearnedBilinearUpsample(2, 4),
}
FUNCTIONS = {
    "max_pool": lambda x: max_pool(x, 3, 2, padding=1),
    "bilinear x2": lambda x: resize_bilinear(x, (32, 24)),
    "bilinear": lambda x: resize_bilinear(x, (21, 35)),
    "fcn": lambda x: upsample_bilinear_fcn(x, 2),
}
SHAPE = (8, 16, 12, 4)


@pytest.fixture
def algorithms(choosing):
    """By the number of features, so that small layers take all of them."""
    names = {15: "kn2row", 16: "taps", 17: "tiles", 18: "rows"}
    by_kernel = names | {1: "kn2row", 19: "im2col"}

    def name_of(call):
        if call.layer != "dense" or call.operation == "input_gradient":
            return None
        name = by_kernel.get(call.features) if call.operation == "kernel_gradient" else names.get(call.most)
        return name or "native"

    choosing(name_of)


def gradients(variables, inputs):
    """Every layer and function on its own input: all gradients with respect to variables and inputs."""

    def loss(variables, inputs):
        outputs = [layer.apply(variables[name], inputs[name]) for name, layer in LAYERS.items()]
        outputs += [function(inputs[name]) for name, function in FUNCTIONS.items()]
        return sum(jnp.sum(jnp.sin(y)) for y in outputs)

    return jax.grad(loss, argnums=(0, 1))(variables, inputs)


def random_arguments():
    inputs = {name: normal(*SHAPE, seed=seed) for seed, name in enumerate((*LAYERS, *FUNCTIONS))}
    shapes = {name: jax.eval_shape(layer.init, jax.random.key(0), inputs[name]) for name, layer in LAYERS.items()}
    return jax.tree.map(lambda leaf: normal(*leaf.shape, seed=1), shapes), inputs


def assert_all_close(given, expected):
    """Sums in another order, and Winograd's rounding."""
    assert jax.tree.structure(given) == jax.tree.structure(expected)
    for (path, a), b in zip(jax.tree.leaves_with_path(given), jax.tree.leaves(expected)):
        try:
            assert_close(a, b, 2e-5)
        except AssertionError as error:
            error.add_note(jax.tree_util.keystr(path))
            raise


def mesh(*sides):
    axes = ("data", "height")[: len(sides)]
    return jax.make_mesh(sides, axes, axis_types=(AxisType.Auto,) * len(sides))


def split(arguments, grid):
    """Variables on all devices, inputs split over batch (and rows)."""
    variables, inputs = arguments
    replicated = NamedSharding(grid, PartitionSpec())
    return jax.device_put(variables, replicated), jax.device_put(inputs, NamedSharding(grid, PartitionSpec(*grid.axis_names)))


def test_sharded_jit_and_pmap(algorithms):
    """On one device; the batch over eight devices; batch and rows over 4 x 2; pmap."""
    arguments = variables, inputs = random_arguments()
    expected = jax.jit(gradients)(*arguments)
    for grid in (mesh(8), mesh(4, 2)):
        assert_all_close(jax.jit(gradients)(*split(arguments, grid)), expected)
    by_device, by_input = jax.pmap(gradients, in_axes=(None, 0))(variables, jax.tree.map(lambda x: x[:, None], inputs))
    summed = jax.tree.map(lambda leaf: np.sum(leaf, 0), by_device)
    assert_all_close((summed, jax.tree.map(lambda leaf: leaf[:, 0], by_input)), expected)


def test_a_loop_over_blocks_is_right_when_sharded(algorithms, monkeypatch):
    """It communicates in every turn, which is why several devices take one block, but its sums are right."""
    monkeypatch.setattr(bilinear, "has_one_device", lambda: True)
    monkeypatch.setattr(im2col, "_blocks", lambda rows, _: (2, -(-rows // 2)))
    monkeypatch.setitem(globals(), "FUNCTIONS", {})
    monkeypatch.setitem(globals(), "LAYERS", {name: LAYERS[name] for name in ("im2col",)})
    arguments = random_arguments()
    assert_all_close(jax.jit(gradients)(*split(arguments, mesh(4, 2))), jax.jit(gradients)(*arguments))
