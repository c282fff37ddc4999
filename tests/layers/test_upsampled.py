import jax
import jax.numpy as jnp
import pytest

from fcn.kernels import conditions, upsampled
from fcn.layers import Conv, UpsampledConv, resize_nearest
from tests.layers.references import assert_close, assert_same, convolution, normal


@pytest.fixture
def phases(monkeypatch):
    """Small images go by phases, too."""
    monkeypatch.setattr(conditions, "FEW", 0)


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
@pytest.mark.usefixtures("phases")
def test_equals_the_convolution_of_the_enlarged_image(shape, kernel_size, factor, pads):
    features = 40 if shape[3] == 40 else 5
    assert_same(
        lambda x, kernel: upsampled.convolve_upsampled((x,), kernel, factor, pads),
        lambda x, kernel: convolution(resize_nearest(x, factor), kernel, pads=pads),
        normal(*shape),
        normal(*kernel_size, shape[3], features),
    )


@pytest.mark.usefixtures("phases")
@pytest.mark.parametrize(("kernel_size", "factor", "others"), [(3, 2, (3,)), (3, 2, (1, 4)), (5, 3, (2,)), (3, 1, (2,))])
def test_equals_the_convolution_of_the_concatenation(kernel_size, factor, others):
    pads = ((kernel_size // 2, kernel_size // 2),) * 2

    def reference(kernel, x, *beside):
        return convolution(jnp.concatenate([resize_nearest(x, factor), *beside], -1), kernel, pads=pads)

    assert_same(
        lambda kernel, *maps: upsampled.convolve_upsampled(maps, kernel, factor, pads),
        reference,
        normal(kernel_size, kernel_size, 4 + sum(others), 5),
        normal(2, 4, 3, 4),
        *(normal(2, 4 * factor, 3 * factor, channels) for channels in others),
    )


@pytest.mark.parametrize(("side", "enlarged"), [(8, True), (9, False)])
def test_phases_are_taken_of_many_positions(side, enlarged):
    """On a CPU: one convolution of the small image; up to 256 positions, one of the enlarged image."""
    x, kernel = jnp.ones((1, side, side, 4)), jnp.ones((3, 3, 4, 8))
    convolve = jax.jit(lambda x, kernel: upsampled.convolve_upsampled((x,), kernel, 2, ((1, 1), (1, 1))))
    text = convolve.trace(x, kernel).lower(lowering_platforms=("cpu",)).as_text()
    assert text.count("stablehlo.convolution") == 1
    assert (f"tensor<1x{side}x{side}x4xf32>, tensor<2x2x4x32xf32>) ->" in text) == (not enlarged)


@pytest.mark.usefixtures("phases")
def test_bfloat16_is_rounded_once():
    """Sums in another order differ by less than a rounding to bfloat16, so that few results fall on the other side of one."""
    x, kernel = jnp.asarray(normal(2, 6, 6, 8), jnp.bfloat16), jnp.asarray(normal(3, 3, 8, 8), jnp.bfloat16)
    y = upsampled.convolve_upsampled((x,), kernel, 2, ((1, 1), (1, 1)))
    assert y.dtype == jnp.bfloat16
    exact = convolution(resize_nearest(x.astype(jnp.float32), 2), kernel.astype(jnp.float32), pads=((1, 1), (1, 1)))
    assert_close(y, exact, tolerance=2**-8)
    assert jnp.mean(y == exact.astype(jnp.bfloat16)) > 0.99


@pytest.mark.parametrize("others", [(), (3, 2)])
def test_layer_has_the_parameters_of_conv(others):
    x, beside = normal(2, 5, 6, 4), [normal(2, 10, 12, channels) for channels in others]
    layer, plain = UpsampledConv(8), Conv(8)
    variables = layer.init(jax.random.key(0), x, beside)
    together = jnp.concatenate([resize_nearest(x, 2), *beside], -1)
    shapes = jax.tree.map(jnp.shape, variables)
    assert shapes == jax.tree.map(jnp.shape, plain.init(jax.random.key(0), together))
    assert_close(layer.apply(variables, x, beside), plain.apply(variables, together))


def test_refuses_strides():
    with pytest.raises(ValueError, match=r"strides=\(2, 2\).*an UpsampledConv has 1 for all of them"):
        UpsampledConv(8, 3, 2).init(jax.random.key(0), jnp.ones((1, 4, 4, 4)))


def test_refuses_maps_of_another_size():
    with pytest.raises(ValueError, match=r"maps of shape \(1, 8, 7, 4\) beside enlarged images \[B, H, W\] = \(1, 8, 8\)"):
        UpsampledConv(8).init(jax.random.key(0), jnp.ones((1, 4, 4, 4)), [jnp.ones((1, 8, 7, 4))])


def test_nothing_is_sent_to_devices_while_a_program_is_lowered():
    layer, x = UpsampledConv(3), jnp.asarray(normal(1, 12, 12, 4))
    variables = layer.init(jax.random.key(0), x)
    gradients = jax.jit(jax.grad(lambda v, x: jnp.sum(layer.apply(v, x)), (0, 1)))
    with jax.transfer_guard("disallow"):
        kernel = gradients(variables, x)[0]["params"]["kernel"]
    assert kernel.shape == (3, 3, 4, 3)
