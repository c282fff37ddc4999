"""The models of segmentation-models-pytorch: their logits, gradients, widths, tensors and errors."""

from functools import partial

import jax
import numpy as np
import pytest

import fcn
from tests.parity.models import (
    CLASSES,
    assert_model_equal,
    assert_model_gradients_equal,
    assert_model_round_trip,
    images,
    shorten,
)
from tests.parity.smp_rows import ERRORS, NETWORKS, OPTIONS, PARAMETERS, SMALL, TRAINING, UNET3
from tests.variables import count_parameters, random_variables


@pytest.fixture
def short(monkeypatch):
    shorten(monkeypatch)


def assert_equal(row):
    """Logits, and those of the image's classes where the model has a head for them."""
    sizes, extended = ([row.size], ()) if row.extended is None else ((), [(row.size, row.extended)])
    model, net = row.create(), row.net()
    classes = "aux_params" in row.options
    variables = assert_model_equal(
        model,
        net,
        sizes=sizes,
        extended=extended,
        channels=row.channels,
        tame=row.tame,
        settled=row.settled,
        exact=row.exact,
        classes=classes,
    )
    return model, net, variables


def count_used(net, row):
    return sum(p.numel() for name, p in net.named_parameters() if not name.startswith(row.beyond))


@pytest.mark.parametrize("row", NETWORKS)
def test_networks(row):
    """One network serves logits, widths and the way back."""
    model, net, variables = assert_equal(row)
    assert sum(leaf.size for leaf in jax.tree.leaves(variables["params"])) == count_used(net, row)
    assert_model_round_trip(model, net, variables=variables, beyond=row.beyond)


@pytest.mark.parametrize("row", OPTIONS)
def test_options(short, row):
    assert_equal(row)


@pytest.mark.parametrize("row", PARAMETERS)
def test_parameters(row):
    net = row.net(None if row.encoder == "mit_b0" else "meta")  # the Mix Transformer's depths are read from a tensor
    assert count_parameters(row.create(), 1, 64, 64, 3) == count_used(net, row)


@pytest.mark.parametrize("row", TRAINING)
def test_training(short, row):
    assert_model_gradients_equal(row.create, row.net(), size=row.size)


@pytest.mark.parametrize("upsampling", [1, 2])
@pytest.mark.parametrize("name", ["fpn", "pan", "upernet", "segformer"])
def test_size_after_upsampling(name, upsampling):
    """Logits of a quarter of the image's size, times the factor, for images of any size."""
    model = fcn.create_model(name, num_classes=CLASSES, encoder="resnet18", upsampling=upsampling, **SMALL[name])
    shape = jax.eval_shape(model.init_with_output, jax.random.key(0), images((65, 97)))[0].shape
    assert shape == (1, -(-65 * upsampling // 4), -(-97 * upsampling // 4), CLASSES)


def test_the_head_for_classes_changes_no_logits():
    model = fcn.create_model("unet", num_classes=CLASSES, encoder="vgg11", aux_params={"classes": 7}, **UNET3)
    variables, x = random_variables(model, 1, 32, 48, 3), images((32, 48))
    logits, _ = jax.jit(partial(model.apply, mutable=["class_logits"]))(variables, x)
    np.testing.assert_allclose(logits, jax.jit(model.apply)(variables, x), rtol=0, atol=1e-5 * np.abs(logits).max())


@pytest.mark.parametrize(("name", "options", "message"), ERRORS)
def test_errors(name, options, message):
    with pytest.raises(ValueError, match=message):
        model = fcn.create_model(name, num_classes=CLASSES, **{"encoder": "resnet18", **options})
        jax.eval_shape(model.init, jax.random.key(0), images((64, 64)))
