"""FPN against smp."""

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
SMALL = {"decoder_pyramid_channels": 16, "decoder_segmentation_channels": 32}


def create(encoder="resnet18", **options):
    return fcn.create_model("fpn", num_classes=CLASSES, encoder=encoder, **options)


def reference(encoder="resnet18", device=None, **options):
    return smp_model("FPN", device, encoder_name=encoder, **options)


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
        {"decoder_merge_policy": "cat", "decoder_interpolation": "bilinear", **SMALL},
    ],
    ids=str,
)
def test_options(options):
    assert_model_equal(create(**options), reference(**options), sizes=[(96, 160)])


@SLOW
def test_one_channel():
    assert_model_equal(create(**SMALL), reference(in_channels=1, **SMALL), sizes=[(64, 64)], channels=1)


def test_training():
    options = {"decoder_dropout": 0.0, "encoder_depth": 3, "upsampling": 1, **SMALL}
    assert_model_gradients_equal(partial(create, **options), reference(**options), size=(32, 48))


@pytest.mark.parametrize("options", [{}, {"decoder_merge_policy": "cat"}], ids=str)
def test_parameters(options):
    for encoder in ("resnet18", "vgg11_bn"):
        assert_model_parameters_equal(create(encoder, **options), reference(encoder, "meta", **options))


def test_round_trip():
    options = {"aux_params": {"classes": 7}, **SMALL}
    assert_model_round_trip(create(**options), reference(**options))


@pytest.mark.parametrize(
    ("encoder", "depth"), [("resnet18", 3), *(pytest.param(*row, marks=SLOW) for row in (("resnet18", 4), ("vgg11_bn", 3)))]
)
def test_depth(encoder, depth):
    """The logits have the image's size; in smp the factor must be given."""
    net = reference(encoder, encoder_depth=depth, upsampling=2 ** (depth - 3), **SMALL)
    assert_model_equal(create(encoder, encoder_depth=depth, **SMALL), net, sizes=[(96, 160)])


@pytest.mark.parametrize("upsampling", [1, pytest.param(2, marks=SLOW)])
def test_upsampling(upsampling):
    options = {"upsampling": upsampling, **SMALL}
    model, net = create(**options), reference(**options)
    assert_model_equal(model, net, sizes=[(96, 160)])
    shape = jax.eval_shape(model.init_with_output, jax.random.key(0), images((65, 97)))[0].shape
    assert shape == (1, -(-65 * upsampling // 4), -(-97 * upsampling // 4), CLASSES)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"decoder_merge_policy": "ad"}, "unknown decoder_merge_policy 'ad'; did you mean 'add'"),
    ],
)
def test_errors(options, message):
    with pytest.raises(ValueError, match=message):
        jax.eval_shape(create(**options).init, jax.random.key(0), images((64, 64)))
