"""VGG encoders without PyTorch: shapes, small images, pooling rules. Parity with torchvision is in tests/parity."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import fcn
from fcn.encoders.padding import extend
from tests.variables import count_parameters, random_variables, shapes_of

PARAMETERS = {  # torchvision's classifiers, as published
    "vgg11": 132_863_336,
    "vgg13": 133_047_848,
    "vgg16": 138_357_544,
    "vgg19": 143_667_240,
    "vgg11_bn": 132_868_840,
    "vgg13_bn": 133_053_736,
    "vgg16_bn": 138_365_992,
    "vgg19_bn": 143_678_248,
}


@pytest.mark.parametrize(("name", "count"), PARAMETERS.items())
def test_published_parameter_counts(name, count):
    assert count_parameters(fcn.create_classifier(name), 1, 224, 224, 3) == count


@pytest.mark.parametrize("name", PARAMETERS)
def test_maps(name):
    """Strides 1 to 32, 64 to 512 channels."""
    encoder = fcn.create_encoder(name)
    images = jax.ShapeDtypeStruct((2, 97, 64, 3), jnp.float32)
    maps = jax.eval_shape(encoder.apply, shapes_of(encoder, 1, 32, 32, 3), images)
    sizes = [(97, 64, 64), (48, 32, 128), (24, 16, 256), (12, 8, 512), (6, 4, 512), (3, 2, 512)]
    assert [m.shape for m in maps] == [(2, *size) for size in sizes]


@pytest.mark.parametrize("depth", [3, 4])
def test_depth(depth):
    """The last map is the end of a stage, as wide as at full depth."""
    encoder = fcn.create_encoder("vgg11", depth=depth)
    full, _ = jax.eval_shape(fcn.create_encoder("vgg11").init_with_output, jax.random.key(0), jnp.ones((1, 64, 32, 3)))
    maps, _ = jax.eval_shape(encoder.init_with_output, jax.random.key(0), jnp.ones((1, 64, 32, 3)))
    assert [m.shape for m in maps] == [m.shape for m in full[: depth + 1]]


def test_images_under_32_pixels_are_extended():
    encoder = fcn.create_encoder("vgg11", width_multiplier=1 / 32)
    x = jax.random.normal(jax.random.key(1), (2, 1, 40, 3))
    variables = random_variables(encoder, *x.shape)
    apply = jax.jit(encoder.apply)
    maps = apply(variables, x)
    assert [m.shape[1:3] for m in maps] == [(32, 40), (16, 20), (8, 10), (4, 5), (2, 2), (1, 1)]
    for given, expected in zip(maps, apply(variables, jnp.repeat(x, 32, axis=1))):
        np.testing.assert_array_equal(given, expected)


def test_ceil_mode_keeps_partial_windows():
    encoder = fcn.create_encoder("vgg11", width_multiplier=1 / 32, ceil_mode=True, input_padding=100)
    x = jnp.ones((1, 1, 33, 3))
    maps, _ = jax.eval_shape(encoder.init_with_output, jax.random.key(0), x)
    assert [m.shape[1:3] for m in maps] == [(199, 231), (100, 116), (50, 58), (25, 29), (13, 15), (7, 8)]


def test_extend_repeats_the_border():
    x = jnp.arange(6.0).reshape(1, 2, 3, 1)
    np.testing.assert_array_equal(extend(x, 3, 5)[0, :, :, 0], [[0, 1, 2, 2, 2], [3, 4, 5, 5, 5], [3, 4, 5, 5, 5]])


@pytest.mark.parametrize("size", [(1, 1), (33, 47), (224, 260)])
def test_classifier_averages_to_its_window(size):
    """Adaptive average pooling against a loop over its cells; on a map of 7x7 it does nothing."""
    model = fcn.create_classifier("vgg11", num_classes=3, width_multiplier=1 / 32, fc_features=5)
    x = jax.random.normal(jax.random.key(1), (2, *size, 3))
    variables = random_variables(model, *x.shape)
    params = variables["params"]
    last = np.asarray(jax.jit(model.encoder.apply)({"params": params["encoder"]}, x)[-1])
    (h, w), h7, w7 = last.shape[1:3], range(7), range(7)
    rows = [slice(i * h // 7, -(-(i + 1) * h // 7)) for i in h7]
    columns = [slice(j * w // 7, -(-(j + 1) * w // 7)) for j in w7]
    cells = np.stack([np.stack([last[:, r, c].mean(axis=(1, 2)) for c in columns], 1) for r in rows], 1)
    y = np.maximum(cells.reshape(2, -1) @ params["fc6"]["kernel"] + params["fc6"]["bias"], 0)
    y = np.maximum(y @ params["fc7"]["kernel"] + params["fc7"]["bias"], 0)
    expected = y @ params["fc8"]["kernel"] + params["fc8"]["bias"]
    np.testing.assert_allclose(jax.jit(model.apply)(variables, x), expected, rtol=0, atol=1e-5 * np.abs(expected).max())


def test_classifier_in_training():
    """Dropout on the dense layers, BatchNorm statistics in the encoder, and scores in float32."""
    options = {"num_classes": 3, "width_multiplier": 1 / 32, "fc_features": 32}
    model = fcn.create_classifier("vgg11_bn", dtype=jnp.bfloat16, **options)
    x = jax.random.normal(jax.random.key(1), (2, 64, 64, 3))
    variables = random_variables(model, *x.shape)
    evaluated = jax.jit(model.apply)(variables, x)
    train = jax.jit(lambda v: model.apply(v, x, train=True, mutable=["batch_stats"], rngs={"dropout": jax.random.key(2)}))
    trained, new = train(variables)
    assert evaluated.dtype == trained.dtype == jnp.float32
    assert evaluated.shape == (2, 3) and not np.array_equal(evaluated, trained)
    assert list(new) == ["batch_stats"] and list(new["batch_stats"]) == ["encoder"]
