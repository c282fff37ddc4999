"""DeepLabV3 and DeepLabV3+ against smp."""

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

NAMES = {"deeplabv3": "DeepLabV3", "deeplabv3plus": "DeepLabV3Plus"}
SMALL = {"decoder_channels": 16, "decoder_atrous_rates": (2, 4, 6)}
both = pytest.mark.parametrize("name", NAMES)


def create(name, encoder="resnet18", **options):
    return fcn.create_model(name, num_classes=CLASSES, encoder=encoder, **options)


def reference(name, encoder="resnet18", device=None, **options):
    return smp_model(NAMES[name], device, encoder_name=encoder, **options)


@both
def test_logits(name):
    extended = [((65, 97), (72, 104) if name == "deeplabv3" else (80, 112))]
    assert_model_equal(create(name, **SMALL), reference(name, **SMALL), sizes=[(128, 128), (96, 160)], extended=extended)


@both
@pytest.mark.parametrize("encoder", ["mobilenet_v2", pytest.param("resnext50_32x4d", marks=pytest.mark.slow)])
def test_other_encoders(name, encoder):
    options = {"encoder_depth": 4, "encoder_output_stride": 8, **SMALL}
    assert_model_equal(
        create(name, encoder, **options), reference(name, encoder, **options), sizes=[(128, 128), (64, 96)], settled=True
    )


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("deeplabv3", {"encoder_output_stride": 16, "decoder_aspp_separable": True, "upsampling": 4}),
        ("deeplabv3", {"encoder_depth": 3, "decoder_channels": 24}),
        ("deeplabv3plus", {"encoder_output_stride": 8, "decoder_aspp_separable": False, "upsampling": 2}),
        ("deeplabv3plus", {"encoder_depth": 3, "decoder_atrous_rates": (1, 2, 3)}),
    ],
    ids=str,
)
def test_options(name, options):
    options = SMALL | options
    assert_model_equal(create(name, **options), reference(name, **options), sizes=[(64, 96)])


@both
def test_one_channel(name):
    assert_model_equal(create(name, **SMALL), reference(name, in_channels=1, **SMALL), sizes=[(64, 64)], channels=1)


@both
def test_training(name):
    options = {"encoder_depth": 3, "decoder_aspp_dropout": 0.0, **SMALL}
    assert_model_gradients_equal(partial(create, name, **options), reference(name, **options))


@both
@pytest.mark.parametrize("encoder", ["resnet18", "resnet34", "mobilenet_v2"])
def test_parameters(name, encoder):
    assert_model_parameters_equal(create(name, encoder), reference(name, encoder, "meta"))


@both
def test_round_trip(name):
    options = {"aux_params": {"classes": 7}, **SMALL}
    assert_model_round_trip(create(name, **options), reference(name, **options))


@both
@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"encoder_output_stride": 32}, "encoder_output_stride is 32; choose 8 or 16"),
        ({"encoder": "vgg11"}, "this encoder cannot be dilated"),
    ],
    ids=str,
)
def test_errors(name, options, message):
    with pytest.raises(ValueError, match=message):
        jax.eval_shape(create(name, **options).init, jax.random.key(0), images((64, 64)))
