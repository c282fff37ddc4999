"""Pooling, resizing and transposed convolution against PyTorch's functions, over a grid of sizes."""

import itertools

import jax
import numpy as np
import pytest
from reference import assert_close, nchw, nhwc, torch

from fcn.layers import ConvTranspose, max_pool, resize_bilinear, upsample_bilinear_fcn


def normal(*shape):
    return np.random.default_rng(shape).normal(size=shape).astype(np.float32)


@pytest.mark.parametrize("ceil_mode", [False, True])
def test_max_pool(ceil_mode):
    """Values and sizes for all small maps, windows, strides and paddings, and an error wherever PyTorch has one."""
    for size, window, strides, padding in itertools.product((1, 2, 3, 4, 5, 8), (1, 2, 3, 5), (1, 2, 3), (0, 1, 2)):
        x = normal(1, size, size + 3, 2)
        try:
            expected = torch.nn.functional.max_pool2d(nchw(x), window, strides, padding, ceil_mode=ceil_mode)
        except RuntimeError:
            with pytest.raises(ValueError, match="padding"):
                max_pool(x, window, strides, padding=padding, ceil_mode=ceil_mode)
            continue
        given = max_pool(x, window, strides, padding=padding, ceil_mode=ceil_mode)
        np.testing.assert_array_equal(given, nhwc(expected), err_msg=f"{size=} {window=} {strides=} {padding=}")


@pytest.mark.parametrize("align_corners", [False, True])
def test_resize_bilinear(align_corners):
    olds, news = [(1, 1), (5, 7), (2, 3), (33, 20)], [(1, 1), (10, 14), (3, 50), (15, 21), (99, 40), (16, 9), (40, 56)]
    for old, new in itertools.product(olds, news):
        x = normal(2, *old, 3)
        expected = torch.nn.functional.interpolate(nchw(x), new, mode="bilinear", align_corners=align_corners)
        # PyTorch finds places in float32: 33 pixels times 2^-24, times the largest difference of neighbours.
        np.testing.assert_allclose(resize_bilinear(x, new, align_corners=align_corners), nhwc(expected), rtol=0, atol=2e-5)


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
