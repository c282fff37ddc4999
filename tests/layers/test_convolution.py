"""Conv against `nn.Conv`: values and gradients by input, kernel and bias, in every form."""

from functools import partial

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jaxtyping import TypeCheckError

from fcn.kernels import dense_convolution, forms, fours, grouped, pairs
from fcn.layers import Conv
from fcn.layers import convolution as module
from tests.layers.references import assert_close, assert_same, convolution, normal


def variables(layer, *shape):
    """Random values for all parameters."""
    shapes = jax.eval_shape(layer.init, jax.random.key(0), jnp.zeros(shape))
    return jax.tree.map(lambda leaf: jnp.asarray(normal(*leaf.shape, seed=3)), shapes)


def flax(layer):
    """The plain layer with the same parameters."""
    sizes = {"kernel_size": module.pair(layer.kernel_size), "strides": layer.strides, "kernel_dilation": layer.dilation}
    padding = layer.padding if not isinstance(layer.padding, int) else ((layer.padding,) * 2,) * 2
    return nn.Conv(
        layer.features, padding=padding, feature_group_count=layer.groups, use_bias=layer.use_bias, dtype=layer.dtype, **sizes
    )


LAYERS = [
    ("native", Conv(5), (2, 13, 9, 3)),
    ("native", Conv(5), (1, 1, 1, 3)),
    ("native", Conv(5, (2, 3), padding=2), (2, 13, 9, 3)),
    ("native", Conv(5, 3, 2, ((9, 8), (0, 9))), (2, 3, 9, 3)),
    ("tiles", Conv(32), (2, 13, 18, 32)),
    ("tiles", Conv(32, padding="VALID", use_bias=False), (1, 14, 15, 32)),
    ("tiles", Conv(18, padding=((2, 0), (0, 3))), (1, 17, 12, 60)),
    ("rows", Conv(32), (2, 13, 18, 32)),
    ("rows", Conv(18, padding=((2, 0), (0, 2))), (1, 17, 12, 60)),
    ("im2col", Conv(18, 5), (1, 20, 21, 2)),
    ("im2col", Conv(20, 3, 2), (2, 20, 21, 3)),
    ("im2col", Conv(20, 3, dilation=3), (1, 20, 17, 3)),
    ("im2col", Conv(20, 3, 2, 1), (1, 9, 10, 3)),
    ("tiles", Conv(17, dilation=2), (1, 13, 18, 16)),
    ("rows", Conv(17, dilation=(3, 2)), (2, 13, 18, 16)),
    ("taps", Conv(17, dilation=2), (1, 13, 18, 16)),
    ("taps", Conv(17, (3, 2), dilation=(12, 9), padding=11), (2, 9, 10, 16)),
    ("taps", Conv(17, 3, dilation=(6, 1), padding=((7, 6), (0, 1))), (1, 9, 10, 16)),
    ("shifts", Conv(5), (2, 13, 9, 16)),
    ("shifts", Conv(5, (2, 5), padding=((2, 0), (0, 3))), (1, 9, 10, 16)),
    ("shifts", Conv(5, (3, 2), dilation=(2, 9), padding=11), (2, 9, 10, 16)),
    ("fours", Conv(20, (3, 5), padding=((2, 0), (0, 3))), (2, 13, 9, 3)),
    ("fours", Conv(20, 3, (2, 3)), (1, 20, 21, 7)),
    ("fours", Conv(27, dilation=(3, 2)), (1, 20, 21, 5)),
    ("fours", Conv(50, 3, 2), (1, 12, 9, 17)),
    ("pairs", Conv(5), (2, 13, 9, 3)),
    ("pairs", Conv(16, (2, 5), padding=((2, 0), (0, 3))), (1, 9, 10, 16)),
    ("pairs", Conv(5, 3, padding="VALID"), (2, 13, 8, 3)),
    ("strips", Conv(34, 7, 2), (2, 40, 31, 3)),
    ("folded", Conv(5, 7, 2), (2, 20, 31, 3)),
    ("folded", Conv(5, (4, 5), (2, 3), ((0, 4), (2, 0))), (1, 13, 14, 4)),
    ("folded", Conv(16, 3, 2, 1), (2, 21, 14, 3)),
    ("strips", Conv(64, 3, 2, "VALID"), (2, 131, 140, 3)),
    ("strips", Conv(27), (1, 30, 21, 17)),
    ("strips", Conv(3), (1, 40, 700, 2)),
    ("strips", Conv(5, (2, 7), (5, 2), "VALID"), (1, 41, 600, 2)),
    ("strips", Conv(5, 7, (3, 2), ((0, 4), (3, 1))), (1, 41, 30, 2)),
    ("strips", Conv(5, (7, 2), (4, 5), "VALID"), (1, 41, 30, 2)),
    ("strips", Conv(5), (2, 70, 64, 3)),
    ("strips", Conv(5, padding=((2, 0), (0, 3))), (1, 13, 9, 3)),
    ("im2col", Conv(20, 5, 2, 2), (1, 33, 20, 3)),
    ("im2col", Conv(20, (1, 3), (3, 2), "VALID"), (1, 20, 21, 3)),
    ("pointwise", Conv(6, 1), (2, 5, 7, 3)),
    ("pointwise", Conv(6, 1, 2), (2, 5, 8, 3)),
    ("pointwise", Conv(6, 1, (2, 3), ((1, 2), (0, 1))), (2, 5, 8, 3)),
    ("products", Conv(6, 3, groups=2), (2, 5, 8, 4)),
    ("products", Conv(6, 1, groups=2), (2, 5, 8, 4)),
    ("products", Conv(24, 3, 2, groups=6), (2, 9, 8, 12)),
    ("products", Conv(40, (3, 5), padding=((0, 3), (2, 1)), dilation=(2, 1), groups=2), (1, 9, 10, 34)),
    ("products", Conv(32, 3, (2, 3), "VALID", groups=8), (1, 12, 12, 32)),
    ("blocks", Conv(6, 1, groups=2), (2, 15, 18, 4)),
    ("blocks", Conv(36, groups=6), (3, 9, 10, 30)),
    ("blocks", Conv(48, groups=3), (2, 13, 14, 48)),
    ("blocks", Conv(64, 3, 2, groups=8), (2, 35, 24, 32)),
    ("blocks", Conv(40, (3, 5), padding=((0, 3), (2, 1)), dilation=(2, 1), groups=2), (4, 9, 10, 34)),
    ("blocks", Conv(32, 3, (2, 3), "VALID", groups=8), (2, 39, 32, 32)),
    ("blocks", Conv(40, groups=5), (2, 13, 14, 40)),
    ("blocks", Conv(8, groups=8), (2, 13, 14, 64)),
    ("blocks of tiles", Conv(64, groups=4), (2, 13, 14, 64)),
    *((form, Conv(18), (0, 13, 9, 16)) for form in ("native", "tiles", "rows", "im2col", "taps")),
    *((form, Conv(18), (0, 13, 9, 16)) for form in ("shifts", "fours", "pairs", "strips", "folded")),
    ("products", Conv(18, groups=2), (0, 13, 9, 16)),
    *((form, Conv(18, dilation=7, padding="VALID"), (1, 13, 9, 16)) for form in ("native", "im2col", "taps", "shifts")),
    ("products", Conv(18, dilation=7, padding="VALID", groups=2), (1, 13, 9, 16)),
]


@pytest.fixture
def take(monkeypatch):
    """Convolutions and gradients of all sizes take this form."""

    def take(form):
        monkeypatch.setattr(dense_convolution, "convolution_form", lambda *_: form)
        monkeypatch.setattr(dense_convolution, "gradient_form", lambda *_: form)

    return take


@pytest.mark.parametrize(("form", "layer", "shape"), LAYERS, ids=lambda value: value if isinstance(value, str) else "")
def test_equals_flax(take, monkeypatch, form, layer, shape):
    """float32 sums differ by rounding; Winograd's by ten times that."""
    if form in ("native", "rows", "tiles", "im2col", "taps", "shifts", "fours", "pairs", "strips", "folded"):
        take(form)
    elif form == "blocks of tiles":
        take("tiles")
    elif layer.groups > 1:
        monkeypatch.setattr(grouped, "convolve_blocks" if form == "products" else "convolve_products", None)
    reference = flax(layer)
    assert_same(layer.apply, reference.apply, variables(layer, *shape), normal(*shape), tolerance=2e-5)
    ours, theirs = (jax.eval_shape(m.init, jax.random.key(0), jnp.zeros(shape)) for m in (layer, reference))
    assert ours == theirs


@pytest.mark.parametrize(
    ("form", "groups"),
    [
        *((form, 1) for form in ("native", "rows", "tiles", "im2col", "taps", "shifts", "fours", "pairs", "strips")),
        *((form, 2) for form in ("products", "blocks")),
    ],
)
def test_bfloat16(take, form, groups):
    """Values and gradients are those of the rounded inputs in float32, rounded: 8 bits."""
    if groups == 1:
        take(form)
    images = 2 if form == "blocks" else 1
    x, kernel = (jnp.asarray(a, jnp.bfloat16) for a in (normal(images, 14, 13, 18), normal(3, 3, 18 // groups, 16)))
    settings = ((1, 1), ((1, 1), (1, 1)), (1, 1), groups)

    def run(convolve, *arguments):
        y, pull = jax.vjp(convolve, *arguments)
        return (y, *pull(jnp.ones_like(y)))

    given = jax.jit(partial(run, lambda x, kernel: module.convolve(x, kernel, *settings)))(x, kernel)
    reference = jax.jit(partial(run, lambda x, kernel: convolution(x, kernel, *settings)))
    expected = reference(x.astype(jnp.float32), kernel.astype(jnp.float32))
    for a, b in zip(given, expected):
        assert a.dtype == jnp.bfloat16
        assert_close(a.astype(jnp.float32), b, 2**-8)


@pytest.mark.parametrize("padding", ["SAME", "VALID", ((2, 0), (0, 3)), 3])
def test_pairs_with_another_row(take, monkeypatch, padding):
    """Where one device has all processors, before JAX 0.12, a row more is computed and cut off."""
    monkeypatch.setattr(pairs, "leaves_processors_idle", lambda: True)
    take("pairs")
    layer = Conv(5, padding=padding)
    assert_same(layer.apply, flax(layer).apply, variables(layer, 2, 13, 9, 3), normal(2, 13, 9, 3), tolerance=2e-5)


SAME, ONE = ((1, 1), (1, 1)), (1, 1)


def run_by_one_device(monkeypatch, before_0_12):
    """The choice that one device makes, with JAX of before or since 0.12."""
    monkeypatch.setattr(jax, "device_count", lambda: 1)
    for place in (forms, fours, pairs):
        monkeypatch.setattr(place, "BEFORE_0_12", before_0_12)


@pytest.mark.parametrize(
    ("form", "shape", "kernel", "strides", "pads", "dilation"),
    [
        ("tiles", (2, 96, 96, 64), (3, 3, 64, 64), ONE, SAME, ONE),
        ("rows", (2, 14, 14, 256), (3, 3, 256, 256), ONE, SAME, ONE),
        ("native", (2, 96, 96, 3), (3, 3, 3, 64), ONE, SAME, ONE),
        ("native", (2, 96, 96, 64), (3, 3, 64, 64), (2, 2), SAME, ONE),
        ("tiles", (2, 96, 96, 64), (3, 3, 64, 64), ONE, ((2, 2), (2, 2)), (2, 2)),
        ("taps", (2, 32, 32, 64), (3, 3, 64, 64), ONE, ((12, 12), (12, 12)), (12, 12)),
        ("taps", (2, 96, 96, 64), (5, 5, 64, 64), ONE, ((4, 4), (4, 4)), (2, 2)),
        ("taps", (4, 256, 256, 32), (5, 5, 32, 32), ONE, ((4, 4), (4, 4)), (2, 2)),
        ("fours", (2, 28, 28, 25), (3, 3, 25, 25), ONE, ((4, 4), (4, 4)), (4, 4)),
        ("im2col", (2, 28, 28, 24), (3, 3, 24, 24), ONE, ((4, 4), (4, 4)), (4, 4)),
        ("im2col", (2, 56, 56, 12), (3, 3, 12, 12), ONE, ((16, 16), (16, 16)), (16, 16)),
        ("native", (2, 512, 512, 12), (3, 3, 12, 12), ONE, ((2, 2), (2, 2)), (2, 2)),
        ("native", (2, 96, 96, 3), (3, 3, 3, 64), ONE, ((2, 2), (2, 2)), (2, 2)),
        ("im2col", (1, 15, 15, 512), (7, 7, 512, 4096), ONE, ((0, 0), (0, 0)), ONE),
        ("im2col", (1, 16, 16, 256), (3, 3, 256, 512), (2, 2), SAME, ONE),
        ("im2col", (1, 2, 2, 512), (3, 3, 512, 512), ONE, SAME, ONE),
        ("native", (2, 96, 96, 64), (5, 5, 64, 64), ONE, SAME, ONE),
        ("native", (2, 96, 96, 64), (3, 3, 64, 64), ONE, ((-1, 1), (1, 1)), ONE),
        ("fours", (2, 224, 224, 3), (3, 3, 3, 32), (2, 2), SAME, ONE),
        ("fours", (1, 3, 3, 3), (3, 3, 3, 24), ONE, SAME, ONE),
        ("native", (1, 3, 3, 12), (3, 3, 12, 32), ONE, SAME, ONE),
        ("rows", (2, 56, 56, 14), (3, 3, 14, 180), ONE, SAME, ONE),
        ("pairs", (2, 224, 224, 21), (3, 3, 21, 12), ONE, SAME, ONE),
        ("native", (2, 224, 224, 14), (3, 3, 14, 32), ONE, SAME, ONE),
        ("fours", (2, 224, 224, 14), (3, 3, 14, 36), ONE, SAME, ONE),
        ("strips", (2, 224, 224, 18), (3, 3, 18, 40), ONE, SAME, ONE),
        ("fours", (2, 56, 56, 131), (3, 3, 131, 25), (2, 2), SAME, ONE),
        ("fours", (2, 112, 112, 48), (3, 3, 48, 49), (2, 2), SAME, ONE),
        ("fours", (2, 56, 56, 64), (3, 3, 64, 120), (2, 2), SAME, ONE),
        ("native", (2, 56, 56, 64), (3, 3, 64, 128), (2, 2), SAME, ONE),
        ("native", (2, 56, 56, 131), (3, 3, 131, 24), (2, 2), SAME, ONE),
        ("native", (2, 56, 56, 131), (3, 3, 131, 44), (2, 2), SAME, ONE),
        ("native", (2, 56, 56, 15), (3, 3, 15, 60), (2, 2), SAME, ONE),
        ("folded", (2, 224, 224, 3), (3, 3, 3, 16), (2, 2), SAME, ONE),
        ("native", (2, 224, 224, 5), (3, 3, 5, 16), (2, 2), SAME, ONE),
        ("native", (2, 224, 224, 3), (3, 3, 3, 16), (2, 1), SAME, ONE),
        ("native", (2, 224, 224, 3), (3, 3, 3, 16), (2, 2), ((2, 2), (2, 2)), (2, 2)),
        ("strips", (2, 224, 224, 3), (3, 3, 3, 64), (2, 2), ((0, 0), (0, 0)), ONE),
        ("native", (2, 224, 224, 3), (3, 3, 3, 48), (2, 2), SAME, ONE),
        ("native", (2, 224, 224, 3), (5, 5, 3, 64), (2, 2), SAME, ONE),
        ("strips", (1, 224, 224, 3), (7, 7, 3, 64), (2, 2), ((3, 3), (3, 3)), ONE),
        ("pairs", (2, 224, 224, 16), (3, 3, 16, 21), ONE, SAME, ONE),
        ("strips", (2, 224, 224, 32), (3, 3, 32, 16), ONE, SAME, ONE),
        ("pairs", (2, 224, 224, 16), (3, 3, 16, 16), ONE, SAME, ONE),
        ("native", (2, 28, 28, 16), (3, 3, 16, 16), ONE, SAME, ONE),
        ("strips", (2, 224, 224, 16), (3, 3, 16, 32), ONE, SAME, ONE),
        ("strips", (2, 224, 224, 16), (3, 3, 16, 25), ONE, SAME, ONE),
        ("shifts", (2, 112, 112, 16), (3, 3, 16, 4), ONE, SAME, ONE),
        ("pairs", (2, 224, 224, 16), (3, 3, 16, 4), ONE, SAME, ONE),
        ("shifts", (2, 224, 224, 16), (3, 3, 16, 3), ONE, SAME, ONE),
        ("native", (2, 224, 224, 12), (3, 3, 12, 32), ONE, SAME, ONE),
        ("native", (2, 224, 224, 16), (3, 3, 16, 21), (2, 2), SAME, ONE),
        ("pairs", (2, 112, 112, 16), (3, 3, 16, 21), ONE, SAME, ONE),
        ("pairs", (2, 512, 512, 16), (3, 3, 16, 21), ONE, SAME, ONE),
        ("rows", (2, 112, 112, 16), (3, 3, 16, 25), ONE, SAME, ONE),
        ("rows", (2, 512, 512, 16), (3, 3, 16, 25), ONE, SAME, ONE),
        ("fours", (2, 28, 28, 21), (3, 3, 21, 12), ONE, SAME, ONE),
        ("tiles", (2, 224, 224, 56), (3, 3, 56, 56), ONE, SAME, ONE),
        ("native", (64, 128, 128, 3), (7, 7, 3, 64), (2, 2), ((3, 3), (3, 3)), ONE),
        ("native", (2, 1024, 1024, 3), (7, 7, 3, 64), (2, 2), ((3, 3), (3, 3)), ONE),
        ("native", (2, 8192, 64, 3), (7, 7, 3, 64), (2, 2), ((3, 3), (3, 3)), ONE),
        ("fours", (2, 224, 224, 3), (7, 7, 3, 32), (4, 4), ((3, 3), (3, 3)), ONE),
        ("shifts", (2, 224, 224, 96), (3, 3, 96, 12), ONE, SAME, ONE),
        ("shifts", (2, 56, 56, 96), (3, 3, 96, 16), ONE, SAME, ONE),
        ("native", (2, 224, 224, 96), (3, 3, 96, 16), ONE, SAME, ONE),
        ("fours", (2, 56, 56, 35), (3, 3, 35, 12), ONE, SAME, ONE),
        ("native", (2, 56, 56, 36), (3, 3, 36, 13), ONE, SAME, ONE),
        ("native", (2, 56, 56, 96), (3, 3, 96, 12), (2, 2), SAME, ONE),
    ],
)
def test_choice_of_the_convolution(usual_forms, monkeypatch, form, shape, kernel, strides, pads, dilation):
    run_by_one_device(monkeypatch, before_0_12=True)
    assert dense_convolution.convolution_form(shape, kernel, strides, pads, dilation) == form


@pytest.mark.parametrize(
    ("form", "shape", "kernel", "strides", "pads", "dilation"),
    [
        ("native", (2, 224, 224, 3), (3, 3, 3, 32), ONE, SAME, ONE),
        ("native", (1, 224, 224, 3), (7, 7, 3, 64), (2, 2), ((3, 3), (3, 3)), ONE),
        ("native", (2, 224, 224, 16), (3, 3, 16, 21), ONE, SAME, ONE),
        ("pairs", (2, 224, 224, 16), (3, 3, 16, 16), ONE, SAME, ONE),
        ("native", (1, 224, 224, 3), (3, 3, 3, 64), (2, 2), SAME, ONE),
        ("folded", (1, 224, 224, 3), (3, 3, 3, 16), (2, 2), SAME, ONE),
        ("fours", (2, 28, 28, 25), (3, 3, 25, 25), ONE, ((4, 4), (4, 4)), (4, 4)),
        ("im2col", (2, 28, 28, 23), (3, 3, 23, 23), ONE, ((4, 4), (4, 4)), (4, 4)),
    ],
)
def test_choice_of_the_convolution_since_jax_0_12(usual_forms, monkeypatch, form, shape, kernel, strides, pads, dilation):
    run_by_one_device(monkeypatch, before_0_12=False)
    assert dense_convolution.convolution_form(shape, kernel, strides, pads, dilation) == form


@pytest.mark.parametrize(
    ("form", "kernel", "strides", "pads"),
    [
        ("shifts", (3, 3, 12, 96), ONE, SAME),
        ("rows", (3, 3, 96, 16), ONE, SAME),
        ("rows", (3, 3, 96, 12), ONE, SAME),
        ("native", (3, 3, 60, 12), ONE, SAME),
        ("native", (3, 3, 64, 64), (2, 2), SAME),
        ("native", (3, 3, 64, 64), ONE, ((3, 3), (1, 1))),
    ],
)
def test_choice_of_the_gradient_by_the_input(usual_forms, form, kernel, strides, pads):
    """That of the convolution which it is, from the features to the channels."""
    shapes = (2, 56, 56, kernel[2]), kernel, (2, 56 // strides[0], 56 // strides[1], kernel[3])
    assert dense_convolution._input_gradient_form(*shapes, strides, pads, ONE) == form


@pytest.mark.parametrize(
    ("form", "kernel", "output", "strides", "dilation"),
    [
        ("im2col", (5, 5, 3, 16), (16, 128, 128, 16), ONE, ONE),
        ("native", (5, 5, 3, 16), (1, 128, 128, 16), ONE, ONE),
        ("tiles", (3, 3, 17, 17), (4, 64, 64, 17), ONE, ONE),
        ("tiles", (3, 3, 16, 33), (4, 64, 64, 33), ONE, ONE),
        ("shifts", (3, 3, 16, 32), (4, 64, 64, 32), ONE, ONE),
        ("tiles", (3, 3, 16, 32), (4, 64, 64, 32), ONE, (2, 2)),
        ("shifts", (3, 3, 16, 16), (4, 64, 64, 16), ONE, ONE),
        ("shifts", (3, 3, 180, 12), (2, 56, 56, 12), ONE, ONE),
        ("shifts", (3, 3, 12, 12), (2, 28, 28, 12), ONE, (8, 8)),
        ("shifts", (7, 7, 512, 1), (2, 7, 7, 1), ONE, ONE),
        ("im2col", (3, 3, 16, 16), (4, 64, 64, 16), (2, 2), ONE),
        ("im2col", (3, 3, 3, 33), (8, 256, 256, 33), ONE, ONE),
        ("shifts", (3, 3, 3, 32), (8, 256, 256, 32), ONE, ONE),
        ("tiles", (3, 3, 32, 32), (8, 90, 120, 32), ONE, ONE),
        ("rows", (3, 3, 256, 256), (2, 14, 14, 256), ONE, ONE),
        ("im2col", (3, 3, 512, 512), (1, 8, 8, 512), ONE, ONE),
        ("im2col", (3, 3, 512, 512), (1, 2, 2, 512), ONE, ONE),
        ("im2col", (3, 3, 3, 64), (8, 256, 256, 64), ONE, ONE),
        ("im2col", (5, 5, 64, 64), (8, 90, 120, 64), ONE, ONE),
        ("tiles", (3, 3, 64, 64), (8, 90, 120, 64), ONE, (2, 2)),
        ("taps", (3, 3, 64, 64), (8, 30, 30, 64), ONE, (8, 8)),
        ("im2col", (3, 3, 128, 256), (1, 11, 15, 256), (2, 2), ONE),
        ("im2col", (7, 7, 3, 64), (8, 128, 128, 64), (2, 2), ONE),
        ("im2col", (3, 3, 128, 256), (8, 11, 15, 256), (2, 2), ONE),
        ("native", (5, 5, 32, 32), (2, 28, 28, 32), ONE, ONE),
        ("native", (7, 7, 512, 4096), (1, 7, 7, 4096), ONE, ONE),
    ],
)
def test_choice_of_the_gradient(usual_forms, monkeypatch, form, kernel, output, strides, dilation):
    monkeypatch.setattr(jax, "device_count", lambda: 1)
    assert dense_convolution.gradient_form(kernel, output, strides, dilation) == form


@pytest.mark.parametrize(
    ("form", "kernel", "output"),
    [
        ("im2col", (3, 3, 3, 16), (16, 128, 128, 16)),
        ("native", (3, 3, 3, 16), (1, 128, 128, 16)),
        ("tiles", (3, 3, 16, 17), (4, 64, 64, 17)),
        ("tiles", (3, 3, 16, 32), (4, 64, 64, 32)),
        ("im2col", (3, 3, 3, 9), (8, 256, 256, 9)),
        ("shifts", (3, 3, 3, 8), (8, 256, 256, 8)),
    ],
)
def test_choice_of_the_gradient_on_several_devices(usual_forms, monkeypatch, form, kernel, output):
    """There are no blocks that stay in the cache."""
    monkeypatch.setattr(jax, "device_count", lambda: 2)
    assert dense_convolution.gradient_form(kernel, output, ONE, ONE) == form


def test_wide_padding(take):
    """Padding by 3 makes the mirrored padding negative: the gradient by the input is XLA's."""
    take("tiles")
    layer, shape = Conv(16, padding=3), (1, 9, 10, 16)
    assert_same(layer.apply, flax(layer).apply, variables(layer, *shape), normal(*shape), tolerance=2e-5)


def test_an_output_larger_than_the_input_is_not_taken_for_a_kernel():
    """XLA would exchange the two in the gradient by the kernel: on a CPU 110 ms instead of 4 (64 to 128 at 2 x 56x56), and on a
    GPU 96 ms instead of 0.4 (3 to 64 at 8 x 512x512 with padding 100)."""
    x, layer = normal(1, 8, 8, 4), Conv(4, 2, padding=1)
    gradient = jax.jit(jax.grad(lambda variables: jnp.sum(layer.apply(variables, x) ** 2)))
    program = gradient.lower(variables(layer, 1, 8, 8, 4)).compile().as_text()
    assert "rhs_reversal" not in program if jax.default_backend() == "cpu" else "convBackwardFilter" in program


def test_types():
    """`dtype` decides the output's type, NumPy arrays are taken, parameters keep their own type."""
    x = np.arange(2 * 4 * 4 * 3, dtype=np.float64).reshape(2, 4, 4, 3)
    layer = Conv(4, dtype=jnp.bfloat16)
    values = variables(layer, *x.shape)
    assert {leaf.dtype for leaf in jax.tree.leaves(values)} == {np.dtype(np.float32)}
    assert jax.eval_shape(layer.apply, values, x).dtype == jnp.bfloat16
    assert jax.eval_shape(Conv(4).apply, values, x).dtype == jnp.float32
    narrow = jax.eval_shape(Conv(4, param_dtype=jnp.bfloat16).init, jax.random.key(0), x)
    assert {leaf.dtype for leaf in jax.tree.leaves(narrow)} == {np.dtype(jnp.bfloat16)}


def test_the_kernel_starts_with_he_variance():
    kernel = Conv(256).init(jax.random.key(0), jnp.zeros((1, 1, 1, 64)))["params"]["kernel"]
    np.testing.assert_allclose(np.std(kernel), np.sqrt(2 / (9 * 64)), rtol=0.01)  # 147456 draws: 0.2 % standard error


@pytest.mark.parametrize(
    ("form", "images", "groups"),
    [
        *((form, 1, 1) for form in ("im2col", "rows", "tiles", "taps", "shifts", "fours", "strips")),
        ("products", 1, 2),
        ("tiles", 9, 2),
    ],
)
def test_second_derivatives(take, form, images, groups):
    """The gradient of the gradient's norm, and its derivative along a direction in forward mode."""
    take(form)
    x, kernel = jnp.asarray(normal(images, 5, 6, 16)), jnp.asarray(normal(3, 3, 16 // groups, 18))
    settings = ((1, 1), ((1, 1), (1, 1)), (1, 1), groups)

    def seconds(convolve):
        gradient = jax.grad(lambda kernel: jnp.sum(convolve(x, kernel, *settings) ** 3))
        penalty = jax.grad(lambda kernel: jnp.sum(gradient(kernel) ** 2))
        return lambda kernel: (penalty(kernel), jax.jvp(gradient, (kernel,), (kernel[::-1],))[1])

    given, expected = (jax.jit(seconds(convolve))(kernel) for convolve in (module.convolve, convolution))
    for a, b in zip(given, expected, strict=True):
        assert_close(a, b, 2e-5)


def test_errors():
    def init(layer, *shape):
        jax.eval_shape(layer.init, jax.random.key(0), jnp.zeros(shape))

    with pytest.raises((ValueError, TypeCheckError), match=r"4, ?4, ?3"):  # the latter where annotations are checked
        init(Conv(4), 4, 4, 3)
    with pytest.raises(ValueError, match=r"groups=2 must divide the channels of input \(3\) and output \(4\)"):
        init(Conv(4, groups=2), 1, 4, 4, 3)
    with pytest.raises((ValueError, TypeCheckError), match=r"uint8|u8"):
        Conv(4).init(jax.random.key(0), jnp.zeros((1, 4, 4, 3), jnp.uint8))
    with pytest.raises(ValueError, match=r"takes 3 channels, not 4: an input \[B, H, W, C\] of shape \(1, 3, 4, 4\)"):
        Conv(4).apply(Conv(4).init(jax.random.key(0), jnp.zeros((1, 4, 4, 3))), jnp.zeros((1, 3, 4, 4)))
    with pytest.raises(ValueError, match=r"unknown padding 'same'; give 'SAME', 'VALID', a number"):
        init(Conv(4, padding="same"), 1, 4, 4, 3)


def lowered(layer, *shape, platform):
    """The gradients' program for a platform, which need not be there."""
    gradient = jax.jit(jax.grad(lambda v, x: jnp.sum(layer.apply(v, x) ** 2), argnums=(0, 1)))
    return gradient.trace(variables(layer, *shape), jnp.zeros(shape)).lower(lowering_platforms=(platform,)).as_text()


def operations(layer, *shape, platform):
    """How many convolutions and products a layer and its gradients are."""
    text = lowered(layer, *shape, platform=platform)
    return [text.count(f"stablehlo.{name}") for name in ("convolution", "dot_general")]


@pytest.mark.parametrize("layer", [Conv(20), Conv(16, groups=16), Conv(16, groups=2)])
def test_accelerators_keep_xlas_convolutions(take, layer):
    """A GPU's program has convolutions only, the CPU's none."""
    take("tiles")
    assert operations(layer, 2, 12, 12, 16, platform="cuda") == [3, 0]
    convolutions, products = operations(layer, 2, 12, 12, 16, platform="cpu")
    assert convolutions == 0
    assert (products > 0) == (layer.groups < 16)  # depthwise ones are sums


@pytest.mark.parametrize(
    ("layer", "shape", "gpu", "tpu"),
    [
        (Conv(60, 5, padding="VALID"), (1, 19, 20, 64), [0, 3], [3, 0]),  # 240 positions for 60 features
        (Conv(59, 5, padding="VALID"), (1, 19, 20, 64), [3, 0], [3, 0]),
        (Conv(60, 5, padding="VALID"), (1, 19, 20, 63), [3, 0], [3, 0]),
        (Conv(60, (4, 6), padding="VALID"), (1, 18, 21, 64), [3, 0], [3, 0]),
        (Conv(16, groups=16, dilation=2), (1, 9, 9, 16), [0, 0], [3, 0]),
    ],
)
def test_what_gpus_compute_otherwise(layer, shape, gpu, tpu):
    """Large kernels for few positions are products; dilated depthwise convolutions are sums."""
    assert operations(layer, *shape, platform="cuda") == gpu
    assert operations(layer, *shape, platform="tpu") == tpu


@pytest.mark.parametrize(
    ("layer", "channels", "folded"),
    [
        (Conv(8, 7, 2, dtype="bfloat16"), 3, True),
        (Conv(8, 7, 2), 3, False),
        (Conv(8, 7, 2, dtype="bfloat16"), 5, False),
        (Conv(8, 7, 4, dtype="bfloat16"), 3, False),
        (Conv(8, 3, 2, dtype="bfloat16"), 3, False),
        (Conv(8, 7, 2, dilation=2, dtype="bfloat16"), 3, False),
    ],
)
def test_gpus_fold_strided_images(layer, channels, folded):
    """Of 16 bits, for large kernels with stride 2: 4x4 taps of 16 channels in place of 7x7 of 3."""
    for platform in ("cuda", "tpu"):
        text = lowered(layer, 1, 28, 28, channels, platform=platform)
        assert ("tensor<4x4x16x8xbf16>" in text) == (folded and platform == "cuda")


@pytest.mark.parametrize("dtype", [jnp.float32, jnp.bfloat16])
@pytest.mark.parametrize(
    ("form", "layer", "shape"),
    [
        ("wide", Conv(6, 5, padding="VALID"), (2, 9, 8, 7)),
        ("wide", Conv(6, (3, 4), 2, ((2, 1), (0, 3))), (2, 9, 8, 7)),
        ("wide", Conv(6, (2, 3), dilation=(3, 2), padding=2), (1, 9, 8, 7)),
        ("folded", Conv(6, 7, 2), (2, 20, 31, 3)),
        ("folded", Conv(6, (4, 5), (2, 3), ((0, 4), (2, 0))), (1, 13, 14, 4)),
    ],
)
def test_the_forms_of_large_kernels_on_gpus(form, layer, shape, dtype):
    """Values and gradients; with the same rounded numbers those in bfloat16 differ by the rounding of results and windows."""
    kernel_size, strides, dilation = (module.pair(v) for v in (layer.kernel_size, layer.strides, layer.dilation))
    pads = module.explicit_padding(layer.padding, shape[1:3], kernel_size, strides, dilation)
    x, kernel = (jnp.asarray(normal(*sizes, seed=2), dtype) for sizes in (shape, (*kernel_size, shape[-1], layer.features)))
    settings = {"strides": strides, "pads": pads, "dilation": dilation}
    expected, pull = jax.vjp(partial(convolution, **settings), x.astype(jnp.float32), kernel.astype(jnp.float32))
    dy = jnp.asarray(normal(*expected.shape, seed=4), dtype)
    y = dense_convolution.convolution_in_form(form, **settings)(x, kernel)
    dx = dense_convolution._input_gradient_in_form(form, x.shape, kernel.shape, **settings)(dy, kernel)
    dkernel = dense_convolution.kernel_gradient_in_form(form, kernel.shape, **settings)(x, dy)
    tolerance = 2e-6 if dtype == jnp.float32 else 2**-8
    for given, exact in zip((y, dx, dkernel), (expected, *pull(dy.astype(jnp.float32)))):
        assert given.dtype == dtype
        assert_close(given, exact, tolerance)


@pytest.mark.parametrize(
    ("kernel_size", "pads", "dilation", "shape"),
    [
        ((3, 3), ((2, 2), (2, 2)), (2, 2), (2, 9, 8, 5)),
        ((3, 2), ((0, 3), (1, 0)), (3, 1), (1, 9, 8, 5)),
        ((2, 3), ((9, 9), (7, 7)), (9, 7), (2, 4, 3, 5)),
    ],
)
def test_the_kernel_gradient_of_images_apart(kernel_size, pads, dilation, shape):
    """On GPUs; XLA takes the plain form of such a gradient for a convolution with strides whose kernel is the image."""
    x, kernel = normal(*shape), normal(*kernel_size, shape[-1], 6)
    y, pull = jax.vjp(lambda kernel: convolution(x, kernel, pads=pads, dilation=dilation), kernel)
    dy = normal(*y.shape, seed=4)
    gradient = dense_convolution.kernel_gradient_in_form("apart", kernel.shape, (1, 1), pads, dilation)
    assert_close(jax.jit(gradient)(x, dy), *pull(dy))
    layer = Conv(6, kernel_size, padding=pads, dilation=dilation)
    strided = [lowered(layer, *shape, platform=p).count(f"stride = [{dilation[0]}, {dilation[1]}]") for p in ("cuda", "tpu")]
    assert strided == [0, 1]


def test_strides_of_pointwise_convolutions_are_arrays_of_their_own_on_gpus():
    layer = Conv(8, 1, 2)
    barriers = [lowered(layer, 1, 8, 8, 4, platform=p).count("optimization_barrier") for p in ("cuda", "tpu")]
    assert barriers == [2, 0]  # the pixels and the gradient by them
    assert_same(layer.apply, flax(layer).apply, variables(layer, 1, 7, 8, 4), normal(1, 7, 8, 4))


@pytest.mark.parametrize(("side", "convolutions"), [(16, 0), (17, 4)])
def test_blocks_of_groups(side, convolutions):
    """On a CPU, few positions take no convolution, more take one for each block of four groups of four channels."""
    layer, x = Conv(64, groups=16), jax.ShapeDtypeStruct((1, side, side, 64), jnp.float32)
    params = jax.eval_shape(layer.init, jax.random.key(0), x)
    program = jax.jit(layer.apply).trace(params, x).lower(lowering_platforms=("cpu",)).as_text()
    assert program.count("stablehlo.convolution") == convolutions
