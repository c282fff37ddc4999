"""UPerNet against smp."""

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
SMALL = {"decoder_channels": 16}


def create(encoder="resnet18", **options):
    return fcn.create_model("upernet", num_classes=CLASSES, encoder=encoder, **options)


def reference(encoder="resnet18", device=None, **options):
    return smp_model("UPerNet", device, encoder_name={"convnext_tiny": "tu-convnext_tiny"}.get(encoder, encoder), **options)


def test_logits():
    assert_model_equal(create(), reference(), sizes=[(128, 128)], extended=EXTENDED)


def test_mix_transformer():
    assert_model_equal(create("mit_b0", **SMALL), reference("mit_b0", **SMALL), sizes=[(128, 128), (96, 160)])


@SLOW
@pytest.mark.parametrize("encoder", ["mit_b0", "convnext_tiny"])
def test_other_encoders(encoder):
    assert_model_equal(create(encoder), reference(encoder))


@pytest.mark.parametrize(
    ("encoder", "options"),
    [
        ("resnet18", {"encoder_depth": 3, "decoder_use_norm": False}),
        pytest.param("mit_b0", {"encoder_depth": 4, "decoder_use_norm": {"type": "batchnorm", "eps": 1e-3}}, marks=SLOW),
        pytest.param("vgg11", {"encoder_depth": 3}, marks=SLOW),
    ],
    ids=str,
)
def test_options(encoder, options):
    assert_model_equal(create(encoder, **options, **SMALL), reference(encoder, **options, **SMALL), sizes=[(64, 96)])


def test_upsampling_and_one_channel():
    options = {"encoder_depth": 3, **SMALL}
    for upsampling in (1, 2):
        model = create(upsampling=upsampling, **options)
        shape = jax.eval_shape(model.init_with_output, jax.random.key(0), images((65, 97)))[0].shape
        assert shape == (1, -(-65 * upsampling // 4), -(-97 * upsampling // 4), CLASSES)
    assert_model_equal(model, reference(upsampling=2, in_channels=1, **options), sizes=[(64, 96)], channels=1)


def test_training():
    options = {"encoder_depth": 3, **SMALL}
    assert_model_gradients_equal(partial(create, **options), reference(**options), size=(32, 48))


@pytest.mark.parametrize("encoder", ["resnet18", "mit_b0", "convnext_tiny", "vgg11_bn"])
def test_parameters(encoder):
    device = None if encoder.startswith("mit") else "meta"
    assert_model_parameters_equal(create(encoder), reference(encoder, device))


def test_round_trip():
    options = {"aux_params": {"classes": 7}, **SMALL}
    assert_model_round_trip(create(**options), reference(**options))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"encoder_depth": 2}, "depth is 2"),
        ({"decoder_use_norm": "batch_norm"}, "unknown norm 'batch_norm'; did you mean 'batchnorm'"),
    ],
)
def test_errors(options, message):
    with pytest.raises(ValueError, match=message):
        jax.eval_shape(create(**options).init, jax.random.key(0), images((64, 64)))
