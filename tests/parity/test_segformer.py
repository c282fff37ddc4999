"""SegFormer against smp."""

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
SMALL = {"decoder_segmentation_channels": 16}


def create(encoder="resnet18", **options):
    return fcn.create_model("segformer", num_classes=CLASSES, encoder=encoder, **options)


def reference(encoder="resnet18", device=None, **options):
    return smp_model("Segformer", device, encoder_name=encoder, **options)


def test_logits():
    assert_model_equal(create(), reference(), sizes=[(128, 128), (96, 160)], extended=EXTENDED)


@pytest.mark.parametrize("sizes", [[(96, 160)], pytest.param([(128, 128), (160, 96)], marks=pytest.mark.slow)], ids=str)
def test_mix_transformer(sizes):
    assert_model_equal(create("mit_b0"), reference("mit_b0"), sizes=sizes)


@pytest.mark.slow
@pytest.mark.parametrize(("encoder", "depth"), [("resnet18", 4), ("mit_b0", 4), ("vgg11", 3)])
def test_depth(encoder, depth):
    options = {"encoder_depth": depth, **SMALL}
    assert_model_equal(create(encoder, **options), reference(encoder, **options), sizes=[(64, 96)])


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


@pytest.mark.parametrize("encoder", ["resnet18", "mit_b0", "vgg11_bn"])
def test_parameters(encoder):
    device = None if encoder.startswith("mit") else "meta"
    assert_model_parameters_equal(create(encoder), reference(encoder, device))


def test_round_trip():
    options = {"aux_params": {"classes": 7}, **SMALL}
    assert_model_round_trip(create("mit_b0", **options), reference("mit_b0", **options))


def test_errors():
    with pytest.raises(ValueError, match="depth is 2"):
        jax.eval_shape(create(encoder_depth=2).init, jax.random.key(0), images((64, 64)))
