"""The layers over eight devices: the same values as on one, whichever way the batch is split."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import AxisType, NamedSharding, PartitionSpec
from references import assert_close, normal

from fcn.layers import (
    Conv,
    ConvTranspose,
    LearnedBilinearUpsample,
    kernel_gradient,
    max_pool,
    resize_bilinear,
    upsample_bilinear_fcn,
)
from fcn.layers import convolution as module

pytestmark = pytest.mark.skipif(jax.device_count() < 8, reason="takes eight devices: --xla_force_host_platform_device_count=8")

LAYERS = {
    "native": Conv(8),
    "winograd": Conv(8),
    "im2col": Conv(8),
    "im2col, strided": Conv(8, 3, 2),
    "pointwise": Conv(8, 1),
    "depthwise": Conv(4, groups=4),
    "transposed": ConvTranspose(4),
    "transposed, overlapping": ConvTranspose(4, 4, 2, 1),
    "learned upsampling": LearnedBilinearUpsample(2, 4),
}
FUNCTIONS = {
    "max_pool": lambda x: max_pool(x, 3, 2, padding=1),
    "bilinear x2": lambda x: resize_bilinear(x, (32, 24)),
    "bilinear": lambda x: resize_bilinear(x, (21, 35)),
    "fcn": lambda x: upsample_bilinear_fcn(x, 2),
}
SHAPE = (8, 16, 12, 4)


def network():
    """One loss that all layers and functions take part in, on their own."""
    x = normal(*SHAPE)
    values = {name: layer.init(jax.random.key(1), x) for name, layer in LAYERS.items()}

    def loss(values, x, name):
        y = LAYERS[name].apply(values[name], x) if name in LAYERS else FUNCTIONS[name](x)
        return jnp.sum(jnp.sin(y))

    return values, x, loss


def mesh(*sides):
    axes = ("data", "height")[: len(sides)]
    return jax.make_mesh(sides, axes, axis_types=(AxisType.Auto,) * len(sides))


def force(monkeypatch, name):
    form = name.split(",")[0]
    monkeypatch.setattr(module, "cpu_gradient_form", lambda *_: form if form in ("winograd", "im2col") else "native")


@pytest.mark.parametrize("name", [*LAYERS, *FUNCTIONS])
def test_sharded_jit_and_pmap(monkeypatch, name):
    """Gradients by parameters and input on one device, with the batch over eight, batch and rows over 4 x 2, and by pmap."""
    force(monkeypatch, name)
    values, x, loss = network()
    values = {name: values[name]} if name in values else {}
    gradient = jax.value_and_grad(lambda values, x: loss(values, x, name), argnums=(0, 1))
    expected = jax.tree.leaves(jax.jit(gradient)(values, x))
    for grid, spec in ((mesh(8), PartitionSpec("data")), (mesh(4, 2), PartitionSpec("data", "height"))):
        replicated = jax.device_put(values, NamedSharding(grid, PartitionSpec()))
        given = jax.jit(gradient)(replicated, jax.device_put(x, NamedSharding(grid, spec)))
        for a, b in zip(jax.tree.leaves(given), expected, strict=True):
            assert_close(a, b, 2e-5)  # sums in another order, Winograd's rounding
    total, (by_values, by_x) = jax.pmap(gradient, in_axes=(None, 0))(values, x.reshape(8, 1, *SHAPE[1:]))
    summed = jax.tree.map(lambda leaf: np.sum(leaf, 0), (total, by_values))
    for a, b in zip(jax.tree.leaves((summed, by_x.reshape(SHAPE))), expected, strict=True):
        assert_close(a, b, 2e-5)


@pytest.mark.parametrize("name", ["winograd", "im2col"])
def test_a_loop_over_blocks_is_right_when_sharded(monkeypatch, name):
    """It communicates in every turn, which is why several devices take one block, but its sums are right."""
    force(monkeypatch, name)
    monkeypatch.setattr(kernel_gradient, "_blocks", lambda rows, _: (2, -(-rows // 2)))
    values, x, loss = network()
    gradient = jax.grad(lambda values, x: loss(values, x, name))
    expected = jax.jit(gradient)(values, x)
    grid = mesh(4, 2)
    given = jax.jit(gradient)(values, jax.device_put(x, NamedSharding(grid, PartitionSpec("data", "height"))))
    assert_close(given[name]["params"]["kernel"], expected[name]["params"]["kernel"], 2e-5)
