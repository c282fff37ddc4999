"""ConvTranspose against XLA's convolution of the dilated input, and against `nn.ConvTranspose`."""

import flax.linen as nn
import jax
import jax.numpy as jnp
import pytest
from jax import lax

from fcn.kernels.padding import per_dimension
from fcn.layers import ConvTranspose
from tests.layers.references import assert_close, assert_same, convolution, normal


def reference(layer):
    """Zeros between the pixels of the input, then an ordinary convolution."""
    (kh, kw), strides, (ph, pw) = (per_dimension(v, 2) for v in (layer.kernel_size, layer.strides, layer.padding))
    pads = ((kh - 1 - ph,) * 2, (kw - 1 - pw,) * 2)

    def apply(variables, x):
        between = ((0, 0, 0), *((0, 0, stride - 1) for stride in strides), (0, 0, 0))
        y = convolution(lax.pad(x, 0.0, between), variables["params"]["kernel"], pads=pads, groups=layer.groups)
        return y + variables["params"].get("bias", 0)

    return apply


@pytest.mark.parametrize(
    ("layer", "shape"),
    [
        (ConvTranspose(4), (2, 5, 7, 3)),
        (ConvTranspose(4), (1, 1, 1, 3)),
        (ConvTranspose(4, 4, 4, use_bias=False), (1, 3, 2, 5)),
        (ConvTranspose(4, 4, 2, 1), (2, 5, 4, 3)),
        (ConvTranspose(4, 3, 2, 1), (2, 5, 4, 3)),
        (ConvTranspose(4, (5, 3), (2, 3), (1, 0)), (2, 5, 4, 3)),
        (ConvTranspose(4, 3, 1, 1), (1, 5, 4, 3)),
        (ConvTranspose(4, 1, 3), (1, 5, 4, 3)),
        (ConvTranspose(6, 4, 2, 1, groups=2), (1, 3, 4, 4)),
        (ConvTranspose(8, 4, 2, 1, groups=4), (1, 3, 4, 4)),
        (ConvTranspose(3, 16, 8, 4), (1, 2, 3, 3)),
    ],
)
def test_equals_the_convolution_of_the_dilated_input(layer, shape):
    shapes = jax.eval_shape(layer.init, jax.random.key(0), jnp.zeros(shape))
    values = jax.tree.map(lambda leaf: normal(*leaf.shape, seed=1), shapes)
    (kh, kw), (sh, sw), (ph, pw) = (per_dimension(v, 2) for v in (layer.kernel_size, layer.strides, layer.padding))
    y = jax.eval_shape(layer.apply, values, jnp.zeros(shape))
    assert y.shape == (shape[0], (shape[1] - 1) * sh + kh - 2 * ph, (shape[2] - 1) * sw + kw - 2 * pw, layer.features)
    assert_same(layer.apply, reference(layer), values, normal(*shape))


@pytest.mark.parametrize("size", [2, 3])
def test_equals_flax(size):
    """The same parameters, and the same values, as `nn.ConvTranspose`."""
    ours, theirs = ConvTranspose(4, size, 2), nn.ConvTranspose(4, (size, size), (2, 2), "VALID")
    x = normal(1, 3, 4, 3)
    values = theirs.init(jax.random.key(0), x)
    assert jax.eval_shape(ours.init, jax.random.key(0), x) == jax.eval_shape(theirs.init, jax.random.key(0), x)
    assert_close(ours.apply(values, x), theirs.apply(values, x))


def test_errors():
    def init(layer, *shape):
        jax.eval_shape(layer.init, jax.random.key(0), jnp.zeros(shape))

    with pytest.raises(ValueError, match="padding=1 leaves nothing of an output of 2x2"):
        init(ConvTranspose(4, padding=1), 1, 1, 1, 3)
    with pytest.raises(ValueError, match=r"groups=2 must divide the channels of input \(3\)"):
        init(ConvTranspose(4, groups=2), 1, 2, 2, 3)
