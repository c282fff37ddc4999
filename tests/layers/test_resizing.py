"""Resizing by name against PyTorch's `interpolate`."""

import numpy as np
import pytest

from fcn.layers import resize
from fcn.layers.resizing import METHODS, _nearest
from tests.parity.reference import assert_close, nchw, nhwc, torch


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("size", [(10, 14), (9, 13), (11, 15), (5, 7), (3, 2), (1, 1), (40, 21)])
def test_equals_interpolate(method, size):
    x = np.random.default_rng(0).normal(size=(2, 5, 7, 3)).astype(np.float32)
    expected = nhwc(torch.nn.functional.interpolate(nchw(x), size=size, mode=method))
    assert_close(resize(x, size, method), expected, relative=1e-6)


def test_nearest_pixels_at_every_size():
    """Also where float32 decides between two pixels."""
    for old in (1, 3, 29, 64):
        pixels = torch.arange(old, dtype=torch.float32)[None, None]
        for new in range(1, 150):
            for method, place in (("nearest", 0.0), ("nearest-exact", 0.5)):
                expected = torch.nn.functional.interpolate(pixels, size=new, mode=method)[0, 0]
                np.testing.assert_array_equal(_nearest(old, new, place), expected.numpy())


def test_errors():
    with pytest.raises(ValueError, match="did you mean 'nearest'"):
        resize(np.zeros((1, 2, 2, 1)), (4, 4), "neares")
    with pytest.raises(ValueError, match="at least 1"):
        resize(np.zeros((1, 2, 2, 1)), (0, 4), "area")
