"""PSPNet against smp."""

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

EXTENDED = [((65, 97), (72, 104))]
SLOW = pytest.mark.slow
SMALL = {"psp_out_channels": 16}


def create(encoder="resnet18", **options):
    return fcn.create_model("pspnet", num_classes=CLASSES, encoder=encoder, **options)


def reference(encoder="resnet18", device=None, **options):
    return smp_model("PSPNet", device, encoder_name=encoder, **options)


@pytest.mark.parametrize(
    ("encoder", "sizes", "extended"),
    [
        ("resnet18", [(128, 128)], EXTENDED),
        ("vgg11_bn", [(96, 160)], ()),
        pytest.param("resnet18", [(96, 160)], (), marks=SLOW),
        pytest.param("vgg11_bn", [(128, 128)], EXTENDED, marks=SLOW),
    ],
    ids=str,
)
def test_logits(encoder, sizes, extended):
    assert_model_equal(create(encoder), reference(encoder), sizes=sizes, extended=extended)


@pytest.mark.parametrize(
    "options",
    [
        pytest.param({"decoder_use_norm": False, **SMALL}, marks=SLOW),
        {"encoder_depth": 5, "upsampling": 32, **SMALL},
        pytest.param({"encoder_depth": 4, "upsampling": 16, **SMALL}, marks=SLOW),
    ],
    ids=str,
)
def test_options(options):
    assert_model_equal(create(**options), reference(**options), sizes=[(96, 160)])


@SLOW
def test_one_channel():
    assert_model_equal(create(**SMALL), reference(in_channels=1, **SMALL), sizes=[(64, 64)], channels=1)


def test_training():
    options = {"psp_dropout": 0.0, **SMALL}
    assert_model_gradients_equal(partial(create, **options), reference(**options), size=(32, 48))


@pytest.mark.parametrize("options", [{"encoder_depth": 5}, {"encoder_depth": 5, "decoder_use_norm": False}], ids=str)
def test_parameters(options):
    for encoder in ("resnet18", "vgg11_bn"):
        assert_model_parameters_equal(create(encoder, **options), reference(encoder, "meta", **options))


def test_round_trip():
    options = {"aux_params": {"classes": 7}, **SMALL}
    assert_model_round_trip(create(**options), reference(**options), beyond=("encoder.layer3", "encoder.layer4"))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"decoder_use_norm": "batch_norm"}, "unknown norm 'batch_norm'; did you mean 'batchnorm'"),
    ],
)
def test_errors(options, message):
    with pytest.raises(ValueError, match=message):
        jax.eval_shape(create(**options).init, jax.random.key(0), images((64, 64)))
