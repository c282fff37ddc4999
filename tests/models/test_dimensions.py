"""Networks for signals and volumes: what they say of an image is what they say of a volume all of whose slices are that image.

So it is where kernels see the slice alone that they stand on, and steps up give both new slices the same.
"""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax.traverse_util import flatten_dict, unflatten_dict

import fcn
from fcn.layers import Network
from tests.variables import random_variables

SMALL = {
    "unet": (9, {"base_features": 2, "depth": 1, "stem_stride": 2}),
    "attention_unet": (9, {"base_features": 2, "depth": 2}),
    "attention_unet common": (9, {"base_features": 2, "depth": 1, "variant": "common"}),
    "fc_densenet103": (8, {"layers": (1, 1, 1), "growth_rate": 2, "stem_features": 3}),
    "segnet": (1, {"encoder": "vgg11", "width_multiplier": 1 / 32}),
}
"""Number of slices, and options. SegNet unpools to one slice of two; FC-DenseNet steps up to all of an even number."""
UP = ("up0", "up1", "transition_up0")


def with_another_dimension(path, leaf):
    """A kernel [..., C, O] for one more dimension, the last one."""
    if path[-1] != "kernel":
        return leaf
    *sides, _, _ = leaf.shape
    size = sides[-1]
    taps = np.eye(size)[(size - 1) // 2]  # the middle one
    if path[1] in UP and size < 4 and path[-2] in UP:
        taps = np.arange(size) >= size - 2  # for a step up: those of the position itself and of the next
    return np.expand_dims(leaf, -3) * taps[:, None, None].astype(np.float32)


@pytest.mark.parametrize("rank", [1, 2])
@pytest.mark.parametrize("name", SMALL)
def test_a_repeated_input(name, rank):
    slices, options = SMALL[name]
    model = fcn.create_model(name.split()[0], num_classes=3, **options)
    x = np.random.default_rng(0).normal(size=(2, *(11, 13)[:rank], 2)).astype(np.float32)
    variables = random_variables(model, *x.shape)
    more = unflatten_dict({path: with_another_dimension(path, leaf) for path, leaf in flatten_dict(variables).items()})
    expected = jax.jit(model.apply)(variables, x)
    given = jax.jit(model.apply)(more, jnp.repeat(x[..., None, :], slices, axis=-2))
    assert given.shape == (*x.shape[:-1], slices, 3)
    scale = np.abs(expected).max()
    np.testing.assert_allclose(given, np.broadcast_to(expected[..., None, :], given.shape), rtol=0, atol=2e-5 * scale)


class _Anything(Network):
    def __call__(self, values, *, train=False):
        return 2 * values


def test_a_network_of_ones_own_takes_what_it_takes():
    np.testing.assert_array_equal(_Anything().apply({}, np.arange(3)), [0, 2, 4])
    assert _Anything().init(jax.random.key(0), np.zeros((1, 2, 2, 2, 2, 1))) == {}


def test_other_networks_take_images():
    volume = np.zeros((1, 8, 8, 8, 3), np.float32)
    with pytest.raises(ValueError, match=r"DeepLabV3 takes images \[B, H, W, C\], not an array of shape \(1, 8, 8, 8, 3\)"):
        fcn.create_model("deeplabv3", num_classes=2).init(jax.random.key(0), volume)
    with pytest.raises(ValueError, match=r"takes signals .* or images .* or volumes .*, not an array of shape \(8, 8\)"):
        fcn.create_model("unet", num_classes=2).init(jax.random.key(0), volume[0, 0, :, :, 0])
