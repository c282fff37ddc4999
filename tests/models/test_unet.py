"""The modern U-Net against the same network written with plain lax operations, and its counts."""

from itertools import pairwise

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import fcn
from fcn.encoders.table import ENCODERS
from fcn.models.unet import TwoConvolutions
from tests.variables import count_parameters, random_variables, shapes_of


def closed_form(inputs, classes, base=64, depth=4, largest=10**9):
    """9 a b + 2 b weights for a 3x3 convolution with BatchNorm, 4 a b + b for a transposed one, a b + b for the head."""
    features = [min(base * 2**level, largest) for level in range(depth + 1)]
    down = [inputs, *features]
    total = sum(9 * a * b + 2 * b + 9 * b * b + 2 * b for a, b in zip(down, features))
    for b, a in pairwise(features):
        total += 4 * a * b + b + 9 * 2 * b * b + 2 * b + 9 * b * b + 2 * b
    return total + base * classes + classes


def test_published_parameter_count():
    """31.04 M in common implementations with three input channels (31,037,633 with one class)."""
    assert count_parameters(fcn.create_model("unet", num_classes=1), 1, 32, 32, 3) == 31_037_633
    assert count_parameters(fcn.create_model("unet", num_classes=2), 1, 32, 32, 3) == 31_037_698


def test_with_nnunet_s_norm_and_heads_it_has_as_many_parameters_as_nnunet():
    """33,471,820 of a plain one of 7 stages, less the head of weight 0, which is not here: 512 * 2 + 2."""
    options = {"base_features": 32, "depth": 6, "max_features": 512, "norm": "instance", "deep_supervision": True}
    assert count_parameters(fcn.create_model("unet", num_classes=2, **options), 1, 64, 64, 1) == 33_471_820 - 1_026


def test_norm_and_activation_are_those_that_are_asked_for():
    """A block as written out; the same of an image whatever else is in its batch, in training as well."""
    block = TwoConvolutions(4, use_bias=True, norm="instance", activation="leaky_relu")
    x = np.random.default_rng(0).normal(size=(2, 6, 5, 3)).astype(np.float32)
    variables = block.init(jax.random.key(0), x)
    assert list(variables) == ["params"] and list(variables["params"]["block0"]) == ["conv", "norm"]
    expected = x
    for part in ("block0", "block1"):
        kernel = variables["params"][part]["conv"]["kernel"]
        expected = jax.lax.conv_general_dilated(expected, kernel, (1, 1), "SAME", dimension_numbers=("NHWC", "HWIO", "NHWC"))
        expected = np.asarray(expected - expected.mean((1, 2), keepdims=True)) / np.sqrt(
            expected.var((1, 2), keepdims=True) + 1e-5
        )
        expected = np.where(expected > 0, expected, 0.01 * expected)
    np.testing.assert_allclose(block.apply(variables, x, train=True), expected, atol=1e-5)
    np.testing.assert_allclose(block.apply(variables, x[:1]), expected[:1], atol=1e-5)


def test_the_stem_is_normalised_as_the_rest_is():
    options = {"base_features": 2, "depth": 1, "stem_stride": 2, "norm": "instance"}
    params = shapes_of(fcn.create_model("unet", num_classes=2, **options), 1, 8, 8, 3)["params"]
    assert params["stem_conv"].keys() == {"kernel", "bias"} and params["stem_norm"].keys() == {"scale", "bias"}
    with pytest.raises(ValueError, match="option norm of model 'unet' is 'layer'; it must be Literal"):
        fcn.create_model("unet", num_classes=2, norm="layer")


@pytest.mark.parametrize(
    ("inputs", "classes", "base", "depth", "largest"),
    [(1, 2, 64, 4, None), (4, 5, 8, 3, 20), (3, 1, 6, 1, None)],
)
def test_parameter_counts(inputs, classes, base, depth, largest):
    model = fcn.create_model("unet", num_classes=classes, base_features=base, depth=depth, max_features=largest)
    assert count_parameters(model, 1, 16, 16, inputs) == closed_form(inputs, classes, base, depth, largest or 10**9)


def test_no_layer_exceeds_max_features():
    model = fcn.create_model("unet", num_classes=2, base_features=8, depth=3, max_features=20)
    params = shapes_of(model, 1, 16, 16, 3)["params"]
    widths = [params[f"encoder{level}"]["block1"]["conv"]["kernel"].shape[-1] for level in range(4)]
    assert widths == [8, 16, 20, 20]


def plain_unet(variables, x, depth, stem_stride=1):
    """Figure 1 with same padding and BatchNorm, layer by layer, for sizes that divide by stem_stride * 2**depth."""
    params, stats = variables["params"], variables["batch_stats"]

    def conv(x, kernel, stride=1, padding="SAME"):
        return jax.lax.conv_general_dilated(x, kernel, (stride, stride), padding, dimension_numbers=("NHWC", "HWIO", "NHWC"))

    def norm_relu(x, p, s):
        return jnp.maximum((x - s["mean"]) / jnp.sqrt(s["var"] + 1e-5) * p["scale"] + p["bias"], 0)

    def block(x, name):
        for part in ("block0", "block1"):
            p = params[name][part]
            x = norm_relu(conv(x, p["conv"]["kernel"]), p["bn"], stats[name][part]["bn"])
        return x

    def up(x, p):
        return jax.lax.conv_transpose(x, p["kernel"], (2, 2), "VALID", dimension_numbers=("NHWC", "HWIO", "NHWC")) + p["bias"]

    if stem_stride > 1:
        x = conv(x, params["stem_conv"]["kernel"], stem_stride, "SAME")
        x = norm_relu(x, params["stem_bn"], stats["stem_bn"])
    skips = []
    for level in range(depth):
        skips.append(block(x, f"encoder{level}"))
        x = jax.lax.reduce_window(skips[-1], -jnp.inf, jax.lax.max, (1, 2, 2, 1), (1, 2, 2, 1), "VALID")
    x = block(x, f"encoder{depth}")
    for level in reversed(range(depth)):
        x = block(jnp.concatenate([skips[level], up(x, params[f"up{level}"])], axis=-1), f"decoder{level}")
    x = x @ params["head"]["kernel"][0, 0] + params["head"]["bias"]
    return jax.image.resize(x, (x.shape[0], stem_stride * x.shape[1], stem_stride * x.shape[2], x.shape[3]), "bilinear")


@pytest.mark.parametrize(("size", "stem_stride"), [((16, 24), 1), ((13, 17), 1), ((24, 24), 3), ((1, 26), 3)])
def test_logits(size, stem_stride):
    """Equal to the plain network, at other sizes to that on the image extended at its lower and right border."""
    model = fcn.create_model("unet", num_classes=3, base_features=4, depth=2, stem_stride=stem_stride)
    height, width = size
    x = jax.random.normal(jax.random.key(0), (2, height, width, 5))
    variables = random_variables(model, *x.shape)
    multiple = 4 * stem_stride
    larger = jnp.pad(x, ((0, 0), (0, -height % multiple), (0, -width % multiple), (0, 0)), mode="edge")
    expected = jax.jit(plain_unet, static_argnums=(2, 3))(variables, larger, 2, stem_stride)[:, :height, :width]
    given = jax.jit(model.apply)(variables, x)
    np.testing.assert_allclose(given, expected, rtol=0, atol=1e-5 * np.abs(expected).max())


def test_dropout_is_before_the_head():
    """With a rate near 1 only the bias of the head is left in training."""
    model = fcn.create_model("unet", num_classes=3, base_features=4, depth=1, dropout_rate=0.999999)
    x = jax.random.normal(jax.random.key(0), (1, 8, 8, 3))
    variables = random_variables(model, *x.shape)
    train = jax.jit(lambda key: model.apply(variables, x, train=True, mutable=["batch_stats"], rngs={"dropout": key})[0])
    bias = variables["params"]["head"]["bias"]
    np.testing.assert_allclose(train(jax.random.key(0)), jnp.broadcast_to(bias, (1, 8, 8, 3)), rtol=1e-6)
    assert not np.allclose(jax.jit(model.apply)(variables, x), bias)


@pytest.mark.parametrize("model", ["unet", "unetplusplus"])
@pytest.mark.parametrize("ends_in_pool", [True, False])
def test_an_encoder_of_another_name_that_ends_in_a_pool_gets_the_convolutions_at_the_coarsest_stride(
    model, ends_in_pool, monkeypatch
):
    monkeypatch.setitem(ENCODERS, "mine", ENCODERS["vgg11"]._replace(ends_in_pool=ends_in_pool))
    decoder = shapes_of(fcn.create_model(model, num_classes=2, encoder="mine"), 1, 32, 32, 3)["params"]["decoder"]
    assert [name for name in decoder if name.startswith("center")] == ["center_0", "center_1"] * ends_in_pool
