"""`Network.init` against Flax's own."""

from functools import partial

import flax
import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax.traverse_util import flatten_dict

import fcn
from fcn.layers import BatchNorm, Conv, Network
from fcn.layers.network import initialise
from fcn.registry import CLASSIFIERS

MODELS = {
    "unet": {"base_features": 16, "depth": 3},
    "fcn8s": {"encoder": "vgg11", "width_multiplier": 1 / 16, "fc_features": 32, "learned_upsampling": True},
    "dpt": {"encoder": "vit_small_patch16", "encoder_depth": 2, "encoder_output_indices": (0, 1)}
    | {"decoder_intermediate_channels": (8, 12), "decoder_fusion_channels": 16},
    "segformer": {"encoder": "mit_b0", "encoder_depth": 3, "aux_params": {"classes": 3}},
}
KEY = jax.random.key(0)


@pytest.mark.parametrize("name", MODELS)
def test_variables_are_those_of_flax(name):
    """The same tree; what is not random is equal, and what is random has the same deviation."""
    model, images = fcn.create_model(name, num_classes=4, **MODELS[name]), jnp.zeros((1, 64, 64, 3))
    expected = flatten_dict(jax.tree.map(np.asarray, jax.jit(lambda: nn.Module.init(model, KEY, images))()))
    given = flatten_dict(jax.tree.map(np.asarray, model.init(KEY, images)))
    assert given.keys() == expected.keys()
    for path, value in expected.items():
        assert (given[path].shape, given[path].dtype) == (value.shape, value.dtype)
        if np.std(value) == 0 or value.ndim == 1 or "upscore" in path[1]:
            np.testing.assert_array_equal(given[path], value, err_msg=path)
        elif value.size > 5000:  # five standard errors of the deviation of 5,000 normal draws
            np.testing.assert_allclose(np.std(given[path]), np.std(value), rtol=0.05, err_msg=path)
            assert not np.array_equal(given[path], value)
    jax.tree.map(np.testing.assert_array_equal, flatten_dict(jax.jit(model.init)(KEY, images)), given)


def test_inside_a_program_that_holds_the_key():
    """The key need not be an argument of what is compiled or traced."""
    model, images = fcn.create_model("unet", num_classes=4, **MODELS["unet"]), jnp.zeros((1, 32, 32, 3))
    expected = model.init(KEY, images)
    jax.tree.map(np.testing.assert_array_equal, jax.jit(lambda images: model.init(KEY, images))(images), expected)
    shapes = jax.eval_shape(partial(model.init, KEY), images)
    assert shapes == jax.tree.map(lambda array: jax.ShapeDtypeStruct(array.shape, array.dtype), expected)


def test_every_model_and_encoder_is_one():
    models = [fcn.create_model(name, num_classes=2) for name in fcn.list_models()]
    encoders = [fcn.create_encoder(name) for name in fcn.list_encoders()]
    classifiers = [fcn.create_classifier(name) for name in CLASSIFIERS]
    assert all(isinstance(model, Network) for model in models + encoders + classifiers)


class Mixed(Network):
    """With what `Network` does not know: other initialisers, a rng of its own, another method."""

    @nn.compact
    def __call__(self, x, *, train=False):
        x = BatchNorm()(Conv(4, 3, kernel_init=nn.initializers.normal(3.0))(x), train=train)
        noise = self.variable("noise", "start", lambda: jax.random.normal(self.make_rng("other"), (5,)))
        scale = self.param("scale", lambda key, x: jnp.arange(4.0) + x.shape[1], x)
        return x * scale + noise.value.mean()

    @nn.compact
    def other(self, x):
        return Conv(2, 1, name="only")(x)


def test_what_is_not_known_is_as_in_flax():
    images = jnp.ones((1, 8, 6, 3))
    rngs = {"params": KEY, "other": jax.random.key(5)}
    for given, expected in (
        (Mixed().init(rngs, images), nn.Module.init(Mixed(), rngs, images)),
        (jax.jit(Mixed().init)(rngs, images), nn.Module.init(Mixed(), rngs, images)),
    ):
        # The same operations, but for the order in which compiled ones round.
        jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-6), given, expected)
    assert Mixed().init(KEY, images, method="other").keys() == {"params"}
    with pytest.raises(flax.errors.InvalidRngError, match="params"):
        Mixed().init({"other": KEY}, images)


def test_types():
    model = fcn.create_encoder("resnet20_cifar", param_dtype=jnp.bfloat16)
    kernel = model.init(KEY, jnp.zeros((1, 32, 32, 3)))["params"]["layer3_1"]["conv2"]["kernel"]
    assert kernel.dtype == jnp.bfloat16
    # Five standard errors of the deviation of 36,864 draws.
    np.testing.assert_allclose(np.std(kernel.astype(jnp.float32)), np.sqrt(2 / (9 * 64)), rtol=0.02)


def test_donating_is_safe():
    """The kernels may share memory before they are used; each is one's own."""
    variables = fcn.create_encoder("resnet20_cifar").init(KEY, jnp.zeros((1, 32, 32, 3)))
    params = variables["params"]
    first, second = params["layer1_0"]["conv1"]["kernel"], params["layer1_0"]["conv2"]["kernel"]
    kept = np.array(second)
    overwrite = jax.jit(lambda kernel: kernel * 0 + 7, donate_argnums=0)
    assert (np.asarray(overwrite(first)) == 7).all()
    np.testing.assert_array_equal(second, kept)


def test_of_an_optimizer():
    params = {"a": jnp.ones((3, 2)), "b": jnp.ones(4, jnp.bfloat16)}
    tx = optax.chain(optax.clip_by_global_norm(1.0), optax.adamw(1e-3), optax.trace(0.9))
    given, expected = initialise(lambda: tx.init(params), KEY), tx.init(params)
    assert jax.tree.structure(given) == jax.tree.structure(expected)
    for a, b in zip(jax.tree.leaves(given), jax.tree.leaves(expected)):
        assert a.dtype == b.dtype
        np.testing.assert_array_equal(a, b)
