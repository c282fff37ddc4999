"""Resizing against `jax.image.resize` and a slow obvious form, FCN's upsampling against a transposed convolution."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax

from fcn.layers import LearnedBilinearUpsample, bilinear_kernel, resize_bilinear, resize_nearest, upsample_bilinear_fcn
from tests.layers.references import AXES, assert_close, assert_same, normal

SIZES = [((5, 7), (10, 21)), ((1, 2), (3, 16)), ((4, 6), (7, 11)), ((9, 3), (4, 33))]


@pytest.mark.parametrize("factor", [1, 2, 3])
def test_nearest(factor):
    def reference(x):
        return jnp.repeat(jnp.repeat(x, factor, axis=1), factor, axis=2)

    assert_same(lambda x: resize_nearest(x, factor), reference, normal(2, 3, 5, 4))
    labels = np.arange(6, dtype=np.int32).reshape(1, 2, 3, 1)
    np.testing.assert_array_equal(resize_nearest(labels, factor), reference(labels))


@pytest.mark.parametrize(("old", "new"), SIZES)
def test_bilinear_equals_jax(old, new):
    x = normal(2, *old, 3)

    def reference(x):
        return jax.image.resize(x, (2, *new, 3), "bilinear", antialias=False, precision=lax.Precision.HIGHEST)

    assert_same(lambda x: resize_bilinear(x, new), reference, x)


@pytest.mark.parametrize(("old", "new"), [*SIZES, ((5, 4), (1, 1))])
def test_bilinear_with_aligned_corners(old, new):
    """Every output pixel from its four neighbours, in float64."""
    x = normal(1, *old, 2)
    expected = np.zeros((1, *new, 2))
    for i, j in np.ndindex(*new):
        y, z = ((n * (a - 1) / (b - 1) if b > 1 else 0) for n, a, b in zip((i, j), old, new))
        top, left = min(int(y), old[0] - 1), min(int(z), old[1] - 1)
        bottom, right = min(top + 1, old[0] - 1), min(left + 1, old[1] - 1)
        upper = x[0, top, left] * (1 - z + left) + x[0, top, right] * (z - left)
        lower = x[0, bottom, left] * (1 - z + left) + x[0, bottom, right] * (z - left)
        expected[0, i, j] = upper * (1 - y + top) + lower * (y - top)
    assert_close(jax.jit(lambda x: resize_bilinear(x, new, align_corners=True))(x), expected)


@pytest.mark.parametrize("size", [(6, 9), (3, 4)])
def test_bilinear_bfloat16(size):
    """Weights and sums are float32; only the result is rounded, to 8 bits."""
    x = jnp.asarray(normal(1, 3, 4, 2), jnp.bfloat16)
    y, expected = jax.jit(lambda x: (resize_bilinear(x, size), resize_bilinear(x.astype(jnp.float32), size)))(x)
    assert y.dtype == jnp.bfloat16
    np.testing.assert_allclose(y.astype(jnp.float32), expected, rtol=2**-8, atol=1e-6)


def test_bilinear_kernel():
    np.testing.assert_array_equal(bilinear_kernel(1), [[1]])
    np.testing.assert_array_equal(bilinear_kernel(3), np.outer([0.5, 1, 0.5], [0.5, 1, 0.5]))
    np.testing.assert_array_equal(bilinear_kernel(4), np.outer([0.25, 0.75, 0.75, 0.25], [0.25, 0.75, 0.75, 0.25]))
    # All phases of a transposed convolution with stride f sum to one.
    sums = bilinear_kernel(64).reshape(2, 32, 2, 32).sum((0, 2))
    np.testing.assert_allclose(sums, 1, rtol=1e-6)


def transposed(x, kernel, factor, groups=1):
    pads = ((2 * factor - 1,) * 2,) * 2
    return lax.conv_general_dilated(
        x, kernel, (1, 1), pads, lhs_dilation=(factor, factor), dimension_numbers=AXES, feature_group_count=groups
    )


@pytest.mark.parametrize(("shape", "factor"), [((2, 3, 4, 3), 2), ((1, 1, 1, 2), 4), ((1, 2, 3, 2), 3), ((1, 3, 2, 2), 16)])
def test_fcn_upsampling(shape, factor):
    kernel = np.tile(bilinear_kernel(2 * factor)[:, :, None, None], (1, 1, 1, shape[-1]))
    x = normal(*shape)
    assert upsample_bilinear_fcn(x, factor).shape == (shape[0], (shape[1] + 1) * factor, (shape[2] + 1) * factor, shape[3])
    assert_same(lambda x: upsample_bilinear_fcn(x, factor), lambda x: transposed(x, kernel, factor, shape[-1]), x)


@pytest.mark.parametrize(("shape", "features", "factor"), [((2, 3, 4, 3), 5, 2), ((1, 1, 1, 2), 2, 4), ((1, 2, 3, 3), 2, 8)])
def test_learned_upsampling(shape, features, factor):
    layer = LearnedBilinearUpsample(factor, features)
    values = {"params": {"kernel": normal(2 * factor, 2 * factor, shape[-1], features)}}
    assert_same(layer.apply, lambda v, x: transposed(x, v["params"]["kernel"], factor), values, normal(*shape))


def test_learned_upsampling_starts_as_the_fixed_one():
    x = normal(2, 3, 4, 3)
    run = jax.jit(
        lambda x: (*LearnedBilinearUpsample(4, 3).init_with_output(jax.random.key(0), x), upsample_bilinear_fcn(x, 4))
    )
    given, variables, expected = run(x)
    assert_close(given, expected)
    kernel = variables["params"]["kernel"]
    np.testing.assert_array_equal(kernel, bilinear_kernel(8)[:, :, None, None] * np.eye(3))


@pytest.mark.parametrize(("dtype", "precision"), [("float32", "HIGHEST"), ("float16", "HIGHEST"), ("bfloat16", "HIGH")])
def test_precision_of_products(dtype, precision):
    """TF32 is enough where results have 8 bits."""
    x = jnp.zeros((1, 3, 4, 2), dtype)
    for resize in (lambda x: resize_bilinear(x, (5, 6)), lambda x: upsample_bilinear_fcn(x, 9)):
        assert jax.jit(resize).lower(x).as_text().count(f"precision = [{precision}, {precision}]") == 2


def test_errors():
    x = jnp.zeros((1, 2, 2, 1))
    for upsample in (
        resize_nearest,
        upsample_bilinear_fcn,
        lambda x, f: LearnedBilinearUpsample(f, 1).init(jax.random.key(0), x),
    ):
        with pytest.raises(ValueError, match="factor=0; upsampling takes a whole factor of at least 1"):
            upsample(x, 0)
    with pytest.raises(ValueError, match=r"size=\(0, 3\) is not \(height, width\)"):
        resize_bilinear(x, (0, 3))
    with pytest.raises(ValueError, match="size=0; a bilinear kernel has at least 1 row"):
        bilinear_kernel(0)
