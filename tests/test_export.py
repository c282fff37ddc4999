"""Programs for any size of batch (`jax.export`)."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import export

import fcn
from fcn.layers import Conv, ConvTranspose, UpsampledConv, upsample_bilinear_fcn
from tests.layers.references import assert_close


def for_any_batch(function, variables, *shapes):
    """The function of variables and batches of these shapes [H, W, C], exported for all numbers of images."""
    (batch,) = export.symbolic_shape("batch")
    arguments = [jax.ShapeDtypeStruct((batch, *shape), jnp.float32) for shape in shapes]
    return export.export(jax.jit(function))(variables, *arguments)


@pytest.mark.parametrize(
    "layer",
    [
        Conv(32),
        Conv(32, dilation=2),
        Conv(24, 5, 2),
        Conv(32, groups=4),
        Conv(32, groups=32),
        Conv(24, 1),
        ConvTranspose(6),
        UpsampledConv(16),
    ],
    ids=lambda layer: (
        f"{type(layer).__name__} {layer.features} {layer.kernel_size} {layer.strides} {layer.groups}"
        f" {getattr(layer, 'dilation', 1)}"
    ),
)
def test_layers_and_their_gradients(layer):
    images = np.random.default_rng(0).normal(size=(3, 20, 18, 32)).astype(np.float32)
    variables = layer.init(jax.random.key(0), images)

    def gradients(variables, x):
        return jax.value_and_grad(lambda variables, x: jnp.sum(layer.apply(variables, x) ** 2), (0, 1))(variables, x)

    exported = for_any_batch(gradients, variables, images.shape[1:])
    for batch in (images[:1], images):
        given, expected = exported.call(variables, batch), jax.jit(gradients)(variables, batch)
        for a, b in zip(jax.tree.leaves(given), jax.tree.leaves(expected)):
            assert_close(a, b)


@pytest.mark.parametrize("layer", [Conv(8, padding="VALID"), Conv(8, 7, padding="VALID"), Conv(8, 2, 2, padding="VALID")])
def test_any_size_of_images(layer):
    batch, height, width = export.symbolic_shape("batch, height, width")
    images = np.random.default_rng(0).normal(size=(2, 20, 18, 16)).astype(np.float32)
    variables = layer.init(jax.random.key(0), images)
    exported = export.export(jax.jit(layer.apply))(variables, jax.ShapeDtypeStruct((batch, height, width, 16), jnp.float32))
    for part in (images, images[:1, :9, :14]):
        assert_close(exported.call(variables, part), layer.apply(variables, part))


@pytest.mark.parametrize("factor", [2, 9])
def test_upsampling_of_any_size(factor):
    """By phases, and by a product with a matrix that depends on the size."""
    batch, height, width = export.symbolic_shape("batch, height, width")
    images = np.random.default_rng(0).normal(size=(2, 4, 3, 2)).astype(np.float32)
    upsample = jax.jit(lambda x: upsample_bilinear_fcn(x, factor))
    exported = export.export(upsample)(jax.ShapeDtypeStruct((batch, height, width, 2), jnp.float32))
    for part in (images, images[:1, :1, :2]):
        assert_close(exported.call(part), upsample(part))


@pytest.mark.parametrize("encoder", ["resnet18", "mobilenet_v2"])
def test_networks(encoder):
    """The forms differ, and so does the rounding of each layer."""
    model = fcn.create_model("unet", num_classes=3, encoder=encoder)
    images = np.random.default_rng(0).normal(size=(2, 64, 96, 3)).astype(np.float32)
    variables = model.init(jax.random.key(0), images)
    exported = for_any_batch(model.apply, variables, images.shape[1:])
    for batch in (images[:1], images):
        expected = jax.jit(model.apply)(variables, batch)
        assert_close(exported.call(variables, batch), expected, tolerance=2e-5)
