"""LinkNet against smp."""

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
from tests.parity.reference import assert_close, nchw, nhwc, torch

EXTENDED = [((65, 97), (96, 128))]
SLOW = pytest.mark.slow
SMALL = {}


def create(encoder="resnet18", **options):
    return fcn.create_model("linknet", num_classes=CLASSES, encoder=encoder, **options)


def reference(encoder="resnet18", device=None, **options):
    return smp_model("Linknet", device, encoder_name=encoder, **options)


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
        {"decoder_use_norm": False},
        pytest.param({"decoder_use_norm": {"type": "instancenorm", "affine": True}}, marks=SLOW),
        pytest.param({"encoder_depth": 3}, marks=SLOW),
        pytest.param({"encoder_depth": 4}, marks=SLOW),
    ],
    ids=str,
)
def test_options(options):
    assert_model_equal(create(**options), reference(**options), sizes=[(96, 160)])


@SLOW
def test_one_channel():
    assert_model_equal(create(**SMALL), reference(in_channels=1, **SMALL), sizes=[(64, 64)], channels=1)


def test_activations():
    """Of the logits and of the classification head; smp names the softmax over channels softmax2d."""
    options = {"encoder_depth": 3, "activation": "softmax2d", "aux_params": {"classes": 7, "activation": "sigmoid"}}
    model, net = create(**options), reference(**options)
    variables = assert_model_equal(model, net, sizes=[(64, 96)], logits=lambda result: result[0], tame="head")
    x = images((64, 96))
    logits, new = model.apply(variables, x, mutable=["class_logits"])
    with torch.inference_mode():
        expected = net(nchw(x))
    assert_close(logits, nhwc(expected[0]))
    assert_close(new["class_logits"]["logits"][0], expected[1].numpy())


def test_training():
    options = {"encoder_depth": 3}
    assert_model_gradients_equal(partial(create, **options), reference(**options), size=(32, 48))


@pytest.mark.parametrize("options", [{}, {"decoder_use_norm": False}], ids=str)
def test_parameters(options):
    for encoder in ("resnet18", "vgg11_bn"):
        assert_model_parameters_equal(create(encoder, **options), reference(encoder, "meta", **options))


def test_round_trip():
    options = {"aux_params": {"classes": 7}}
    assert_model_round_trip(create(**options), reference(**options))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"decoder_use_norm": "batch_norm"}, "unknown norm 'batch_norm'; did you mean 'batchnorm'"),
    ],
)
def test_errors(options, message):
    with pytest.raises(ValueError, match=message):
        jax.eval_shape(create(**options).init, jax.random.key(0), images((64, 64)))
