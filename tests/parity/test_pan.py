"""PAN against smp."""

from functools import partial

import jax
import pytest

import fcn
from tests.parity.models import (
    CLASSES,
    assert_model_equal,
    assert_model_gradients_equal,
    assert_model_parameters_equal,
    assert_model_round_trip,
    images,
    smp_model,
)

SLOW = pytest.mark.slow
SMALL = {"decoder_channels": 8}


def create(encoder="resnet18", **options):
    return fcn.create_model("pan", num_classes=CLASSES, encoder=encoder, **options)


def reference(encoder="resnet18", device=None, **options):
    return smp_model("PAN", device, encoder_name=encoder, **options)


def test_logits():
    """Sides of a multiple of 16, at least 128."""
    assert_model_equal(create(), reference(), sizes=[(128, 128)], extended=[((33, 145), (128, 160))])


def test_vgg():
    """It cannot be dilated, in smp either."""
    options = {"encoder_depth": 4, "encoder_output_stride": 32}
    assert_model_equal(create("vgg11_bn", **options), reference("vgg11_bn", **options), sizes=[(128, 128), (128, 160)])


@SLOW
@pytest.mark.parametrize("encoder", ["vgg11_bn", "resnext50_32x4d", "mit_b0"])
def test_other_encoders(encoder):
    """At stride 32 a side has at least 256 pixels."""
    options = {} if encoder == "resnext50_32x4d" else {"encoder_output_stride": 32}
    assert_model_equal(create(encoder, **options), reference(encoder, **options), sizes=[(256, 256), (256, 288)])


@pytest.mark.parametrize(
    ("encoder", "options"),
    [
        ("resnet18", {"encoder_depth": 3, "decoder_interpolation": "nearest"}),
        pytest.param("resnet18", {"encoder_depth": 4, "decoder_interpolation": "bicubic"}, marks=SLOW),
        pytest.param("vgg11", {"encoder_depth": 3, "encoder_output_stride": 32, "decoder_interpolation": "area"}, marks=SLOW),
    ],
    ids=str,
)
def test_options(encoder, options):
    assert_model_equal(create(encoder, **options, **SMALL), reference(encoder, **options, **SMALL), sizes=[(128, 144)])


def test_upsampling_and_one_channel():
    options = {"encoder_depth": 3, **SMALL}
    for upsampling in (1, 2):
        model = create(upsampling=upsampling, **options)
        shape = jax.eval_shape(model.init_with_output, jax.random.key(0), images((65, 97)))[0].shape
        assert shape == (1, -(-65 * upsampling // 4), -(-97 * upsampling // 4), CLASSES)
    assert_model_equal(model, reference(upsampling=2, in_channels=1, **options), sizes=[(128, 144)], channels=1)


def test_training():
    options = {"encoder_depth": 3, **SMALL}
    assert_model_gradients_equal(partial(create, **options), reference(**options))


def test_parameters():
    for encoder, output_stride in (("resnet18", 16), ("resnext50_32x4d", 16), ("vgg11_bn", 32), ("mit_b0", 32)):
        options = {"encoder_output_stride": output_stride}
        device = None if encoder.startswith("mit") else "meta"
        assert_model_parameters_equal(create(encoder, **options), reference(encoder, device, **options))


def test_round_trip():
    options = {"aux_params": {"classes": 7}, **SMALL}
    assert_model_round_trip(create(**options), reference(**options))


@pytest.mark.parametrize(
    ("encoder", "options", "message"),
    [
        ("resnet18", {"encoder_depth": 2}, "depth is 2"),
        ("resnet18", {"encoder_output_stride": 8}, "encoder_output_stride is 8; choose 16 or 32"),
        ("resnet18", {"decoder_interpolation": "bilinea"}, "unknown method of resizing 'bilinea'; did you mean 'bilinear'"),
        ("vgg11", {}, "cannot be dilated"),
    ],
)
def test_errors(encoder, options, message):
    with pytest.raises(ValueError, match=message):
        jax.eval_shape(create(encoder, **options).init, jax.random.key(0), images((64, 64)))
