"""Net surgery: classifiers as convolutions, and the stages of FCN training."""

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax.traverse_util import flatten_dict, unflatten_dict

import fcn
from fcn.classifiers.dense import FlattenClassifier
from fcn.layers import Conv, max_pool, upsample_bilinear_fcn
from fcn.surgery import convolutionalize, dense_to_convolution, transfer
from tests.variables import random_variables

NARROW = {"width_multiplier": 1 / 16, "fc_features": 8}


class ValidEncoder(nn.Module):
    """Valid convolutions only: stride 4, and a 26 x 18 image gives a map of 5 x 3."""

    @nn.compact
    def __call__(self, x, *, train=False):
        x = max_pool(nn.relu(Conv(4, 3, padding="VALID", name="conv1")(x)), 2)
        return max_pool(nn.relu(Conv(5, 3, padding="VALID", name="conv2")(x)), 2)


def test_slid_classifier():
    """With valid convolutions the map of scores is the classifier slid over the image, place by place."""
    model = FlattenClassifier(ValidEncoder(), num_classes=3, hidden=(7,), window=(5, 3))
    variables = random_variables(model, 1, 26, 18, 2)
    network, converted = convolutionalize(model, variables)
    apply = jax.jit(model.apply)
    image = jax.random.normal(jax.random.key(0), (2, 43, 39, 2))
    scores = jax.jit(network.apply)(converted, image)
    assert scores.shape == (2, 5, 6, 3) and scores.dtype == jnp.float32
    tolerance = 1e-5 * np.abs(scores).max()
    for i in range(5):
        for j in range(6):
            crop = image[:, 4 * i : 4 * i + 26, 4 * j : 4 * j + 18]
            np.testing.assert_allclose(scores[:, i, j], apply(variables, crop), rtol=0, atol=tolerance)


@pytest.mark.parametrize("name", ["vgg11", "vgg13_bn"])
def test_vgg(name):
    """Equal scores at the training size; on a larger image its dense layers slid over the map of the whole image.

    VGG pads its convolutions, so that a crop and the same pixels within an image have different maps near the crop's border.
    """
    model = fcn.create_classifier(name, num_classes=5, **NARROW)
    variables = random_variables(model, 1, 224, 224, 3)
    network, converted = convolutionalize(model, variables)
    apply = jax.jit(network.apply)
    image = jax.random.normal(jax.random.key(0), (1, 224, 224, 3))
    expected = jax.jit(model.apply)(variables, image)
    np.testing.assert_allclose(apply(converted, image)[:, 0, 0], expected, rtol=0, atol=1e-5 * np.abs(expected).max())

    image = jax.random.normal(jax.random.key(1), (1, 270, 300, 3))
    scores = apply(converted, image)
    assert scores.shape == (1, 8 - 6, 9 - 6, 5)
    encoder = {key: value["encoder"] for key, value in variables.items() if "encoder" in value}
    pool5 = np.asarray(jax.jit(model.encoder.apply)(encoder, image)[-1])
    dense = variables["params"]
    for i in range(2):
        for j in range(3):
            h = pool5[:, i : i + 7, j : j + 7].reshape(1, -1)
            for layer in ("fc6", "fc7"):
                h = np.maximum(h @ dense[layer]["kernel"] + dense[layer]["bias"], 0)
            expected = h @ dense["fc8"]["kernel"] + dense["fc8"]["bias"]
            np.testing.assert_allclose(scores[:, i, j], expected, rtol=0, atol=1e-5 * np.abs(scores).max())


def test_paper_sizes():
    """VGG16's fc6 is a 7x7 convolution of 102.76 M parameters; 500 x 500 pixels give a map of 9 x 9 scores."""
    model = fcn.create_classifier("vgg16")
    shapes = jax.eval_shape(model.init, jax.random.key(0), jnp.zeros((1, 224, 224, 3)))
    converted = jax.eval_shape(lambda variables: convolutionalize(model, variables)[1], shapes)
    network, _ = convolutionalize(model, jax.tree.map(lambda leaf: np.broadcast_to(np.float32(0), leaf.shape), shapes))
    fc6 = converted["params"]["fc6"]
    assert fc6["kernel"].shape == (7, 7, 512, 4096)
    assert fc6["kernel"].size + fc6["bias"].size == 102_764_544
    scores = jax.eval_shape(network.apply, converted, jax.ShapeDtypeStruct((1, 500, 500, 3), jnp.float32))
    assert scores.shape == (1, 9, 9, 1000)


def test_errors_of_convolutionalize():
    model = fcn.create_classifier("vgg11", num_classes=2, **NARROW)
    variables = random_variables(model, 1, 32, 32, 3)
    network, converted = convolutionalize(model, variables)
    with pytest.raises(ValueError, match=r"an image of 223 x 300 has a feature map of 6 x 9; the window .* at least 7 x 7"):
        jax.eval_shape(network.apply, converted, jnp.zeros((1, 223, 300, 3)))
    with pytest.raises(ValueError, match="only a FlattenClassifier can be made convolutional, not a UNet"):
        convolutionalize(fcn.create_model("unet", num_classes=2), {})
    with pytest.raises(ValueError, match="a dense layer of 50 inputs does not fit a window of 7 x 7 cells"):
        dense_to_convolution(jnp.zeros((50, 2)), (7, 7))


def stages(**options):
    return [fcn.create_model(f"fcn{stride}s", num_classes=4, encoder="vgg11_bn", **NARROW, **options) for stride in (32, 16, 8)]


@pytest.mark.parametrize("learned", [False, True])
def test_stages_copy_what_is_shared(learned):
    coarse, middle, fine = stages(learned_upsampling=learned)
    first = random_variables(coarse, 1, 32, 32, 3)
    second = transfer(first, middle)
    third = transfer(jax.tree.map(lambda leaf: leaf + 1, second), fine)
    new = [
        {"score_pool4", *(("upscore2", "upscore16") if learned else ())},
        {"score_pool3", *(("upscore_pool4", "upscore8") if learned else ())},
    ]
    for before, after, offset, names in ((first, second, 0, new[0]), (second, third, 1, new[1])):
        assert set(after["params"]) - set(before["params"]) == names
        for path, leaf in flatten_dict(after).items():
            if path[1] not in names:
                np.testing.assert_array_equal(leaf, flatten_dict(before)[path] + offset)
    assert not np.any(second["params"]["score_pool4"]["kernel"]) and not np.any(third["params"]["score_pool3"]["kernel"])


@pytest.mark.parametrize("dimensions", [1, 3])
def test_signals_and_volumes(dimensions):
    shallow, deeper = (fcn.create_model("meshnet", num_classes=2, features=2, dilations=(1,) * layers) for layers in (1, 2))
    given = flatten_dict(random_variables(shallow, 1, *(4,) * dimensions, 2))
    found = flatten_dict(transfer(unflatten_dict(given), deeper))
    assert found[("params", "conv_1", "kernel")].shape == (*(3,) * dimensions, 2, 2)
    for path, leaf in given.items():
        np.testing.assert_array_equal(found[path], leaf)


def test_a_new_stage_starts_from_the_last_scores():
    """With the new scores at zero FCN-16s upsamples the scores of fc7 by 2 and 16, FCN-8s by 2, 2 and 8."""
    coarse, middle, fine = stages()
    image = jax.random.normal(jax.random.key(0), (1, 40, 65, 3))
    variables = random_variables(coarse, *image.shape)

    @jax.jit
    def scores_of_fc7(variables):
        _, captured = coarse.apply(
            variables, image, capture_intermediates=lambda module, _: module.name == "score_fr", mutable=["intermediates"]
        )
        return captured["intermediates"]["score_fr"]["__call__"][0]

    scores = upsample_bilinear_fcn(scores_of_fc7(variables), 2)
    variables = transfer(variables, middle)
    expected = upsample_bilinear_fcn(scores, 16)[:, 27 : 27 + 40, 27 : 27 + 65]
    tolerance = 1e-5 * np.abs(expected).max()
    np.testing.assert_allclose(jax.jit(middle.apply)(variables, image), expected, rtol=0, atol=tolerance)
    expected = upsample_bilinear_fcn(upsample_bilinear_fcn(scores, 2), 8)[:, 31 : 31 + 40, 31 : 31 + 65]
    np.testing.assert_allclose(jax.jit(fine.apply)(transfer(variables, fine), image), expected, rtol=0, atol=tolerance)


def test_vgg_to_fcn32s():
    """The first stage: convolutions, fc6 and fc7 of an image classifier; its own scores are dropped."""
    classifier = fcn.create_classifier("vgg11_bn", num_classes=10, **NARROW)
    _, converted = convolutionalize(classifier, random_variables(classifier, 1, 32, 32, 3))
    variables = transfer(converted, stages()[0])
    assert set(variables["params"]) == {"encoder", "fc6", "fc7", "score_fr"}
    for part in ("encoder", "fc6", "fc7"):
        jax.tree.map(np.testing.assert_array_equal, variables["params"][part], converted["params"][part])
    jax.tree.map(np.testing.assert_array_equal, variables["batch_stats"], converted["batch_stats"])
    assert not np.any(variables["params"]["score_fr"]["kernel"])


def test_errors_of_transfer():
    coarse, middle, _ = stages()
    variables = random_variables(coarse, 1, 32, 32, 3)
    other = fcn.create_model("fcn16s", num_classes=5, encoder="vgg11_bn", **NARROW)
    with pytest.raises(ValueError) as error:
        transfer(variables, other)
    assert str(error.value).splitlines() == [
        "these variables do not fit:",
        "  params/score_fr/bias: [4] given, [5] wanted",
        "  params/score_fr/kernel: [1, 1, 8, 4] given, [1, 1, 8, 5] wanted",
    ]
    with pytest.raises(ValueError, match="no name of theirs is one of the model's"):
        transfer({"params": {"head": {"kernel": jnp.zeros((1, 1, 2, 3))}}}, middle)
