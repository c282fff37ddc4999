"""Depthwise convolution against XLA's grouped convolution."""

import jax
import jax.numpy as jnp
import pytest

from fcn.kernels.convolution import convolve
from fcn.layers import Conv
from tests.layers.references import assert_close, assert_same, convolution, normal


@pytest.mark.parametrize(
    ("shape", "kernel_size", "multiplier", "strides", "pads", "dilation"),
    [
        ((2, 9, 12, 6), (3, 3), 1, (1, 1), ((1, 1), (1, 1)), (1, 1)),
        ((2, 9, 10, 3), (5, 2), 1, (1, 1), ((3, 0), (1, 0)), (2, 1)),
        ((1, 5, 6, 3), (3, 3), 1, (1, 1), ((3, 1), (1, 4)), (1, 1)),  # more zeros than the kernel reaches
        ((1, 1, 1, 3), (3, 3), 1, (1, 1), ((1, 1), (1, 1)), (1, 1)),
        ((1, 5, 6, 3), (3, 3), 1, (1, 1), ((-1, 1), (1, 0)), (1, 1)),  # images of which a row is cut off
        ((1, 2, 2, 4), (5, 5), 1, (1, 1), ((0, 0), (0, 0)), (1, 1)),  # no room for the kernel
        ((2, 10, 7, 4), (3, 3), 2, (2, 2), ((0, 1), (1, 1)), (1, 1)),
        ((1, 11, 12, 5), (5, 2), 1, (1, 3), ((4, 4), (0, 1)), (2, 1)),
        ((1, 4, 5, 3), (1, 1), 3, (2, 1), ((0, 0), (0, 0)), (1, 1)),
    ],
)
def test_equals_grouped_convolution(shape, kernel_size, multiplier, strides, pads, dilation):
    channels = shape[-1]
    x, kernel = normal(*shape), normal(*kernel_size, 1, channels * multiplier, seed=1)

    def ours(x, kernel):
        return convolve(x, kernel, strides, pads, dilation, channels)

    assert_same(ours, lambda x, kernel: convolution(x, kernel, strides, pads, dilation, channels), x, kernel)


def test_the_layer_takes_it():
    layer, x = Conv(8, groups=4), normal(1, 6, 5, 4)
    values = {"params": {"kernel": normal(3, 3, 1, 8), "bias": normal(8)}}
    expected = convolution(x, values["params"]["kernel"], pads=((1, 1), (1, 1)), groups=4) + values["params"]["bias"]
    assert_close(layer.apply(values, x), expected)


def test_bfloat16_is_summed_in_float32():
    """300 positions of ones, which a sum in bfloat16 could not count beyond 256."""
    x, kernel = jnp.ones((1, 15, 20, 2), jnp.bfloat16), jnp.ones((1, 1, 1, 2), jnp.bfloat16)

    def run(x, kernel):
        y, pull = jax.vjp(lambda x, kernel: convolve(x, kernel, (1, 1), ((0, 0), (0, 0)), (1, 1), 2), x, kernel)
        return y, *pull(jnp.ones_like(y))

    y, dx, dkernel = jax.jit(run)(x, kernel)
    assert y.dtype == dx.dtype == dkernel.dtype == jnp.bfloat16
    assert dkernel.astype(jnp.float32).tolist() == [[[[300.0, 300.0]]]]
