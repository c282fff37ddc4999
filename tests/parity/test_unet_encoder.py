"""U-Net with an encoder against smp."""

from functools import partial

import jax
import numpy as np
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
from tests.parity.reference import assert_close, nchw, torch

ODD = (65, 97)
SLOW = pytest.mark.slow
SMALL = {"decoder_channels": (32, 24, 16, 16, 16)}


def create(encoder="resnet18", **options):
    return fcn.create_model("unet", num_classes=CLASSES, encoder=encoder, **options)


def reference(encoder="resnet18", device=None, **options):
    return smp_model("Unet", device, encoder_name=encoder, **options)


@pytest.mark.parametrize(
    ("encoder", "sizes"),
    [
        ("resnet18", [(128, 128), ODD]),
        ("vgg11_bn", [(96, 160)]),
        pytest.param("resnet18", [(96, 160)], marks=SLOW),
        pytest.param("vgg11_bn", [(128, 128), ODD], marks=SLOW),
    ],
    ids=str,
)
def test_logits(encoder, sizes):
    assert_model_equal(create(encoder), reference(encoder), sizes=sizes)


@pytest.mark.parametrize(
    "options",
    [
        {"decoder_attention_type": "scse", "decoder_interpolation": "bilinear", **SMALL},
        pytest.param({"decoder_interpolation": "bicubic", "decoder_use_norm": False, **SMALL}, marks=SLOW),
        {"decoder_use_norm": {"type": "instancenorm", "affine": True, "eps": 1e-3}, **SMALL},
        pytest.param({"encoder_depth": 3, "decoder_channels": (32, 16, 8)}, marks=SLOW),
        pytest.param(
            {"encoder_depth": 4, "decoder_channels": (32, 16, 16, 8), "decoder_interpolation": "nearest-exact"}, marks=SLOW
        ),
    ],
    ids=str,
)
def test_options(options):
    assert_model_equal(create(**options), reference(**options), sizes=[ODD], tame="attention")


@SLOW
def test_vgg_of_smaller_depth():
    options = {"encoder_depth": 3, "decoder_channels": (32, 16, 8)}
    assert_model_equal(create("vgg11", **options), reference("vgg11", **options), sizes=[ODD])


def test_one_channel():
    assert_model_equal(create(**SMALL), reference(in_channels=1, **SMALL), sizes=[(64, 64)], channels=1)


@pytest.mark.parametrize("pooling", ["avg", pytest.param("max", marks=SLOW)])
def test_classification_head(pooling):
    options = {"aux_params": {"classes": 7, "pooling": pooling, "dropout": 0.5}, **SMALL}
    net, model = reference(**options), create(**options)
    variables = assert_model_equal(model, net, sizes=[(64, 64)], logits=lambda result: result[0])
    x = images((64, 64))
    with torch.inference_mode():
        expected = net(nchw(x))[1].numpy()
    logits, new = jax.jit(partial(model.apply, mutable=["class_logits"]))(variables, x)
    assert_close(new["class_logits"]["logits"][0], expected)
    np.testing.assert_allclose(logits, jax.jit(model.apply)(variables, x), rtol=0, atol=1e-5 * np.abs(logits).max())


def test_training():
    options = {"encoder_depth": 3, "decoder_channels": (32, 16, 16), "decoder_attention_type": "scse"}
    assert_model_gradients_equal(partial(create, **options), reference(**options), size=(32, 48))


@pytest.mark.parametrize("options", [{}, {"decoder_attention_type": "scse"}, {"aux_params": {"classes": 7}}], ids=str)
def test_parameters(options):
    for encoder in ("resnet18", "vgg11_bn"):
        assert_model_parameters_equal(create(encoder, **options), reference(encoder, "meta", **options))


def test_round_trip():
    options = {"decoder_attention_type": "scse", "aux_params": {"classes": 7}, **SMALL}
    assert_model_round_trip(create(**options), reference(**options))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"decoder_channels": (8, 8)}, r"decoder_channels=\(8, 8\) has 2 entries, but encoder_depth is 5"),
        ({"decoder_attention_type": "sce"}, "unknown decoder_attention_type 'sce'; did you mean 'scse'"),
        ({"decoder_use_norm": "batch_norm"}, "unknown norm 'batch_norm'; did you mean 'batchnorm'"),
        ({"decoder_use_norm": {"type": "batchnorm", "epsilon": 1}}, "known are eps"),
        ({"decoder_interpolation": "neares"}, "unknown method of resizing 'neares'; did you mean 'nearest'"),
        ({"decoder_channels": (8,) * 5, "decoder_attention_type": "scse"}, "at least 16 channels"),
        ({"aux_params": {"num_classes": 7}}, "unknown option of aux_params 'num_classes'; did you mean 'classes'"),
        ({"aux_params": {"classes": 7, "pooling": "avgs"}}, "unknown pooling 'avgs'; did you mean 'avg'"),
    ],
)
def test_errors(options, message):
    with pytest.raises(ValueError, match=message):
        jax.eval_shape(create(**options).init, jax.random.key(0), images((64, 64)))
