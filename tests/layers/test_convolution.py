"""Conv against `nn.Conv`: values and gradients with respect to input, kernel and bias, by every algorithm."""

from functools import partial

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jaxtyping import TypeCheckError

from fcn.kernels import dense_convolution
from fcn.kernels.call import Problem
from fcn.layers import Conv
from fcn.layers import convolution as module
from tests.layers.references import assert_close, assert_same, convolution, normal


def variables(layer, *shape):
    """Random values for all parameters."""
    shapes = jax.eval_shape(layer.init, jax.random.key(0), jnp.zeros(shape))
    return jax.tree.map(lambda leaf: jnp.asarray(normal(*leaf.shape, seed=3)), shapes)


def flax(layer):
    """The plain layer with the same parameters."""
    sizes = {
        "kernel_size": module.per_dimension(layer.kernel_size, 2),
        "strides": layer.strides,
        "kernel_dilation": layer.dilation,
    }
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
    ("kn2row", Conv(5), (2, 13, 9, 16)),
    ("kn2row", Conv(5, (2, 5), padding=((2, 0), (0, 3))), (1, 9, 10, 16)),
    ("kn2row", Conv(5, (3, 2), dilation=(2, 9), padding=11), (2, 9, 10, 16)),
    ("padded channels", Conv(20, (3, 5), padding=((2, 0), (0, 3))), (2, 13, 9, 3)),
    ("padded channels", Conv(20, 3, (2, 3)), (1, 20, 21, 7)),
    ("padded channels", Conv(27, dilation=(3, 2)), (1, 20, 21, 5)),
    ("padded channels", Conv(50, 3, 2), (1, 12, 9, 17)),
    ("pairs", Conv(5), (2, 13, 9, 3)),
    *(("pairs and a row", Conv(5, padding=p), (2, 13, 9, 3)) for p in ("SAME", "VALID", ((2, 0), (0, 3)), 3)),
    ("pairs", Conv(16, (2, 5), padding=((2, 0), (0, 3))), (1, 9, 10, 16)),
    ("pairs", Conv(5, 3, padding="VALID"), (2, 13, 8, 3)),
    ("strips", Conv(34, 7, 2), (2, 40, 31, 3)),
    ("space to depth", Conv(5, 7, 2), (2, 20, 31, 3)),
    ("space to depth", Conv(5, (4, 5), (2, 3), ((0, 4), (2, 0))), (1, 13, 14, 4)),
    ("space to depth", Conv(16, 3, 2, 1), (2, 21, 14, 3)),
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
    ("block products", Conv(6, 3, groups=2), (2, 5, 8, 4)),
    ("block products", Conv(6, 1, groups=2), (2, 5, 8, 4)),
    ("block products", Conv(24, 3, 2, groups=6), (2, 9, 8, 12)),
    ("block products", Conv(40, (3, 5), padding=((0, 3), (2, 1)), dilation=(2, 1), groups=2), (1, 9, 10, 34)),
    ("block products", Conv(32, 3, (2, 3), "VALID", groups=8), (1, 12, 12, 32)),
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
    *((form, Conv(18), (0, 13, 9, 16)) for form in ("kn2row", "padded channels", "pairs", "strips", "space to depth")),
    ("block products", Conv(18, groups=2), (0, 13, 9, 16)),
    *((form, Conv(18, dilation=7, padding="VALID"), (1, 13, 9, 16)) for form in ("native", "im2col", "taps", "kn2row")),
    ("block products", Conv(18, dilation=7, padding="VALID", groups=2), (1, 13, 9, 16)),
]


@pytest.fixture
def take(choosing):
    """Convolutions without groups, and their kernel gradients, of all sizes are computed by this algorithm."""
    return lambda name: choosing(lambda call: name if call.layer == "dense" and call.operation != "input_gradient" else None)


@pytest.fixture
def take_in_groups(choosing):
    """Convolutions in groups of all sizes are computed by this algorithm."""
    return lambda name: choosing(lambda call: name if call.layer == "grouped" and call.operation != "kernel_gradient" else None)


@pytest.mark.parametrize(("form", "layer", "shape"), LAYERS, ids=lambda value: value if isinstance(value, str) else "")
def test_equals_flax(take, take_in_groups, form, layer, shape):
    """float32 sums differ by rounding; Winograd's by ten times that."""
    if layer.groups > 1 and form != "blocks of tiles":
        take_in_groups(form)
    elif form != "pointwise":
        take(form.removeprefix("blocks of "))
    reference = flax(layer)
    assert_same(layer.apply, reference.apply, variables(layer, *shape), normal(*shape), tolerance=2e-5)
    ours, theirs = (jax.eval_shape(m.init, jax.random.key(0), jnp.zeros(shape)) for m in (layer, reference))
    assert ours == theirs


@pytest.mark.parametrize(
    ("form", "groups"),
    [
        *((form, 1) for form in ("native", "rows", "tiles", "im2col", "taps", "kn2row", "padded channels", "pairs", "strips")),
        *((form, 2) for form in ("block products", "blocks")),
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


def test_wide_padding(take):
    """Padding by 3 makes the mirrored padding negative: the input gradient is XLA's."""
    take("tiles")
    layer, shape = Conv(16, padding=3), (1, 9, 10, 16)
    assert_same(layer.apply, flax(layer).apply, variables(layer, *shape), normal(*shape), tolerance=2e-5)


def test_an_output_larger_than_the_input_is_not_taken_for_a_kernel():
    """XLA would exchange the two in the kernel gradient: on a CPU 110 ms instead of 4 (64 to 128 at 2 x 56x56), and on a
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
        *((form, 1, 1) for form in ("im2col", "rows", "tiles", "taps", "kn2row", "padded channels", "strips")),
        ("block products", 1, 2),
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

    with pytest.raises((ValueError, TypeCheckError), match=r"4, ?3"):  # the latter where annotations are checked
        init(Conv(4), 4, 3)
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
        ("space to depth", Conv(6, 7, 2), (2, 20, 31, 3)),
        ("space to depth", Conv(6, (4, 5), (2, 3), ((0, 4), (2, 0))), (1, 13, 14, 4)),
    ],
)
def test_the_forms_of_large_kernels_on_gpus(form, layer, shape, dtype):
    """Values and gradients; with the same rounded numbers those in bfloat16 differ by the rounding of results and windows."""
    kernel_size, strides, dilation = (module.per_dimension(v, 2) for v in (layer.kernel_size, layer.strides, layer.dilation))
    pads = module.explicit_padding(layer.padding, shape[1:3], kernel_size, strides, dilation)
    x, kernel = (jnp.asarray(normal(*sizes, seed=2), dtype) for sizes in (shape, (*kernel_size, shape[-1], layer.features)))
    settings = {"strides": strides, "pads": pads, "dilation": dilation}
    expected, pull = jax.vjp(partial(convolution, **settings), x.astype(jnp.float32), kernel.astype(jnp.float32))
    dy = jnp.asarray(normal(*expected.shape, seed=4), dtype)
    problem = Problem((x.shape,), kernel.shape, x.dtype, **settings)
    operands = ("convolution", x, kernel), ("input_gradient", dy, kernel), ("kernel_gradient", x, dy)
    results = jax.tree.leaves([dense_convolution.function(name, form, problem)(*arrays) for name, *arrays in operands])
    tolerance = 2e-6 if dtype == jnp.float32 else 2**-8
    for given, exact in zip(results, (expected, *pull(dy.astype(jnp.float32))), strict=True):
        assert given.dtype == dtype
        assert_close(given, exact, tolerance)


def test_strides_of_pointwise_convolutions_are_arrays_of_their_own_on_gpus():
    layer = Conv(8, 1, 2)
    barriers = [lowered(layer, 1, 8, 8, 4, platform=p).count("optimization_barrier") for p in ("cuda", "tpu")]
    assert barriers == [2, 0]  # the pixels and the gradient with respect to them
    assert_same(layer.apply, flax(layer).apply, variables(layer, 1, 7, 8, 4), normal(1, 7, 8, 4))


@pytest.mark.parametrize(("side", "convolutions"), [(16, 0), (17, 4)])
def test_blocks_of_groups(side, convolutions):
    """On a CPU, few positions take no convolution, more take one for each block of four groups of four channels."""
    layer, x = Conv(64, groups=16), jax.ShapeDtypeStruct((1, side, side, 64), jnp.float32)
    params = jax.eval_shape(layer.init, jax.random.key(0), x)
    program = jax.jit(layer.apply).trace(params, x).lower(lowering_platforms=("cpu",)).as_text()
    assert program.count("stablehlo.convolution") == convolutions
