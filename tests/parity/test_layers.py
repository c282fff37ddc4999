"""Pooling, resizing and transposed convolution against PyTorch's functions, over a grid of sizes."""

import itertools
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from fcn.layers import ConvTranspose, max_pool, resize_bilinear, upsample_bilinear_fcn
from tests.parity.reference import assert_close, nchw, nhwc, torch


def normal(*shape):
    return np.random.default_rng(shape).normal(size=shape).astype(np.float32)


@pytest.mark.parametrize("ceil_mode", [False, True])
def test_max_pool(ceil_mode):
    """The number of windows for all small maps, windows, strides and paddings, and an error wherever PyTorch has one."""
    for size, window, strides, padding in itertools.product((1, 2, 3, 4, 5, 8), (1, 2, 3, 5), (1, 2, 3), (0, 1, 2)):
        settings = {"strides": strides, "padding": padding, "ceil_mode": ceil_mode}
        pool = partial(max_pool, window=window, **settings)
        try:
            expected = torch.nn.functional.max_pool2d(torch.zeros(1, 1, size, size + 3), window, strides, padding, 1, ceil_mode)
        except RuntimeError:
            with pytest.raises(ValueError, match="padding"):
                jax.eval_shape(pool, jnp.zeros((1, size, size + 3, 1)))
            continue
        given = jax.eval_shape(pool, jnp.zeros((1, size, size + 3, 1)))
        assert given.shape[1:3] == expected.shape[2:], (size, window, settings)


@pytest.mark.parametrize("settings", [(2, 2, 0, True), (3, 2, 1, False), (3, 2, 1, True), (3, 3, 1, True), (5, 1, 2, False)])
def test_max_pool_values(settings):
    window, strides, padding, ceil_mode = settings
    x = normal(2, 7, 8, 3)
    expected = torch.nn.functional.max_pool2d(nchw(x), window, strides, padding, 1, ceil_mode)
    given = jax.jit(partial(max_pool, window=window, strides=strides, padding=padding, ceil_mode=ceil_mode))(x)
    np.testing.assert_array_equal(given, nhwc(expected))


@pytest.mark.parametrize("align_corners", [False, True])
def test_resize_bilinear(align_corners):
    olds, news = [(1, 1), (5, 7), (33, 20)], [(1, 1), (10, 14), (3, 50), (99, 40), (16, 9)]
    for old, new in itertools.product(olds, news):
        x = normal(2, *old, 3)
        expected = torch.nn.functional.interpolate(nchw(x), new, mode="bilinear", align_corners=align_corners)
        # PyTorch finds places in float32: 33 pixels times 2^-24, times the largest difference of neighbours.
        given = jax.jit(partial(resize_bilinear, size=new, align_corners=align_corners))(x)
        np.testing.assert_allclose(given, nhwc(expected), rtol=0, atol=2e-5)


def test_upsample_bilinear_fcn():
    x = normal(2, 5, 4, 3)
    kernel = torch.tensor([0.25, 0.75, 0.75, 0.25])
    kernel = (kernel[:, None] * kernel).expand(3, 1, 4, 4)
    expected = torch.nn.functional.conv_transpose2d(nchw(x), kernel, stride=2, groups=3)
    assert_close(upsample_bilinear_fcn(x, 2), nhwc(expected))


@pytest.mark.parametrize(
    ("kernel_size", "strides", "padding", "groups"), [(2, 2, 0, 1), (4, 2, 1, 1), (3, 2, 1, 2), (3, 1, 1, 1)]
)
def test_conv_transpose(kernel_size, strides, padding, groups):
    layer, x = ConvTranspose(4, kernel_size, strides, padding, groups), normal(2, 5, 4, 6)
    variables = layer.init(jax.random.key(0), x)
    kernel = np.asarray(variables["params"]["kernel"])[::-1, ::-1]  # PyTorch's is turned by 180 degrees
    kernel = np.concatenate([part.transpose(2, 3, 0, 1) for part in np.split(kernel, groups, axis=3)])
    expected = torch.nn.functional.conv_transpose2d(nchw(x), torch.tensor(kernel), None, strides, padding, groups=groups)
    assert_close(layer.apply(variables, x), nhwc(expected))
