import jax
import jax.numpy as jnp
import pytest

from fcn.layers import Conv, UpsampledConv, resize_nearest, upsampled
from tests.layers.references import assert_close, assert_same, convolution, normal


@pytest.mark.parametrize(
    ("shape", "kernel_size", "factor", "pads"),
    [
        ((2, 5, 4, 3), (3, 3), 2, ((1, 1), (1, 1))),
        ((1, 1, 1, 3), (3, 3), 2, ((1, 1), (1, 1))),
        ((0, 4, 3, 2), (3, 3), 2, ((1, 1), (1, 1))),
        ((1, 4, 3, 2), (3, 3), 3, ((1, 1), (1, 1))),
        ((1, 4, 3, 2), (5, 1), 2, ((2, 2), (0, 0))),
        ((1, 4, 3, 2), (2, 4), 2, ((0, 1), (1, 2))),
        ((1, 4, 3, 2), (1, 1), 4, ((0, 0), (0, 0))),
        ((1, 4, 3, 2), (3, 3), 2, ((0, 0), (1, 1))),
        ((1, 4, 3, 2), (3, 3), 1, ((1, 1), (1, 1))),
        ((1, 4, 3, 40), (3, 3), 2, ((1, 1), (1, 1))),
    ],
)
def test_equals_the_convolution_of_the_enlarged_image(shape, kernel_size, factor, pads):
    features = 40 if shape[3] == 40 else 5
    assert_same(
        lambda x, kernel: upsampled.convolve_upsampled(x, kernel, factor, pads),
        lambda x, kernel: convolution(resize_nearest(x, factor), kernel, pads=pads),
        normal(*shape),
        normal(*kernel_size, shape[3], features),
    )


def test_phases_are_taken_on_a_cpu():
    """Four convolutions of 3x4 pixels where there are few features; none of the enlarged image."""
    x, kernel = jnp.ones((1, 3, 4, 8)), jnp.ones((3, 3, 8, 8))
    text = jax.jit(lambda x, kernel: upsampled.convolve_upsampled(x, kernel, 2, ((1, 1), (1, 1)))).lower(x, kernel).as_text()
    assert text.count("stablehlo.convolution") == 4
    assert "1x6x8x8xf32>, tensor<3x3" not in text


def test_bfloat16_is_rounded_once():
    """Sums in another order differ by less than a rounding to bfloat16, so that few results fall on the other side of one."""
    x, kernel = jnp.asarray(normal(2, 6, 6, 8), jnp.bfloat16), jnp.asarray(normal(3, 3, 8, 8), jnp.bfloat16)
    y = upsampled.convolve_upsampled(x, kernel, 2, ((1, 1), (1, 1)))
    assert y.dtype == jnp.bfloat16
    exact = convolution(resize_nearest(x.astype(jnp.float32), 2), kernel.astype(jnp.float32), pads=((1, 1), (1, 1)))
    assert_close(y, exact, tolerance=2**-8)
    assert jnp.mean(y == exact.astype(jnp.bfloat16)) > 0.99


def test_layer_has_the_parameters_of_conv():
    x = normal(2, 5, 6, 4)
    layer, plain = UpsampledConv(8), Conv(8)
    variables = layer.init(jax.random.key(0), x)
    shapes = jax.tree.map(jnp.shape, variables)
    assert shapes == jax.tree.map(jnp.shape, plain.init(jax.random.key(0), resize_nearest(x, 2)))
    assert_close(layer.apply(variables, x), plain.apply(variables, resize_nearest(x, 2)))


def test_refuses_strides():
    with pytest.raises(ValueError, match=r"strides=\(2, 2\).*has 1 for all of them"):
        UpsampledConv(8, 3, 2).init(jax.random.key(0), jnp.ones((1, 4, 4, 4)))
