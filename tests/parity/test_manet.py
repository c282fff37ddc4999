"""MA-Net against smp."""

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

EXTENDED = [((65, 97), (96, 128))]
SLOW = pytest.mark.slow
SMALL = {"decoder_channels": (32, 24, 16, 16, 16), "decoder_pab_channels": 8}


def create(encoder="resnet18", **options):
    return fcn.create_model("manet", num_classes=CLASSES, encoder=encoder, **options)


def reference(encoder="resnet18", device=None, **options):
    return smp_model("MAnet", device, encoder_name=encoder, **options)


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
        {"decoder_interpolation": "bilinear", **SMALL},
        pytest.param({"decoder_use_norm": False, **SMALL}, marks=SLOW),
        pytest.param({"encoder_depth": 3, "decoder_channels": (32, 16, 8)}, marks=SLOW),
        pytest.param({"encoder_depth": 4, "decoder_channels": (32, 16, 16, 8)}, marks=SLOW),
    ],
    ids=str,
)
def test_options(options):
    assert_model_equal(create(**options), reference(**options), sizes=[(96, 160)])


@SLOW
def test_one_channel():
    assert_model_equal(create(**SMALL), reference(in_channels=1, **SMALL), sizes=[(64, 64)], channels=1)


def test_training():
    options = {"encoder_depth": 3, "decoder_channels": (32, 16, 16)}
    assert_model_gradients_equal(partial(create, **options), reference(**options), size=(32, 48))


@pytest.mark.parametrize("options", [{}, SMALL], ids=str)
def test_parameters(options):
    for encoder in ("resnet18", "vgg11_bn"):
        assert_model_parameters_equal(create(encoder, **options), reference(encoder, "meta", **options))


def test_round_trip():
    options = {"aux_params": {"classes": 7}, **SMALL}
    assert_model_round_trip(create(**options), reference(**options))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"decoder_channels": (8, 8)}, r"decoder_channels=\(8, 8\) has 2 entries, but encoder_depth is 5"),
    ],
)
def test_errors(options, message):
    with pytest.raises(ValueError, match=message):
        jax.eval_shape(create(**options).init, jax.random.key(0), images((64, 64)))
