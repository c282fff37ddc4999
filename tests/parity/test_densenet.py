"""DenseNet against smp (encoders) and torchvision (classifiers, older names of tensors)."""

import re
from functools import partial

import jax
import numpy as np
import pytest

import fcn
from fcn.classifiers.dense import PooledClassifier
from fcn.encoders.densenet import DENSENETS, DenseNet
from fcn.encoders.table import ENCODERS
from tests.parity.encoders import (
    assert_encoder_equal,
    assert_gradients_equal,
    assert_tensors_equal,
    smp_encoder,
    smp_maps,
)
from tests.parity.models import CLASSES, assert_model_round_trip, smp_model
from tests.parity.reference import Undrawn, assert_close, nchw, nhwc, random_like, settle, torch, torchvision
from tests.variables import count_parameters, random_variables

SMALLEST = "densenet121"
DESIGN, CHANNELS = ((2, 1, 2, 1), 8, 16), (16, 32, 24, 28, 22)


@pytest.fixture
def short(monkeypatch):
    """The network has few layers: their compilation takes the time."""
    row = DENSENETS[SMALLEST]
    monkeypatch.setitem(ENCODERS, SMALLEST, row._replace(constructor=partial(DenseNet, *DESIGN), channels=CHANNELS))


def short_reference(depth=5):
    """smp's encoder of few layers, without those beyond `depth`."""
    blocks, growth_rate, features = DESIGN
    options = {"block_config": blocks, "growth_rate": growth_rate, "num_init_features": features}
    net = type(smp_encoder(SMALLEST, "meta"))([3, *CHANNELS], depth, **options)
    if depth == 3:
        for unused in ("denseblock3", "transition3", "denseblock4", "norm5"):
            delattr(net.features, unused)
        del net.features.transition2.conv
    return net


def test_short_encoder(short):
    assert_encoder_equal(SMALLEST, short_reference(), source="smp", sizes=[(96, 160)], settled=True)


def test_classifier_and_its_maps():
    """torchvision's, with smp's maps. Maps of an odd size are smaller than the stride says."""
    blocks, growth_rate, features = DESIGN
    with Undrawn():
        net = torchvision().models.DenseNet(growth_rate, blocks, features)
    encoder = short_reference()
    net.load_state_dict(random_like(net.state_dict()))
    x = np.random.default_rng(0).normal(size=(2, 65, 97, 3)).astype(np.float32)
    settle(net, x)
    encoder.load_state_dict(dict(net.state_dict()))
    with torch.inference_mode():
        expected, maps = net(nchw(x)).numpy(), smp_maps(encoder.eval(), nchw(x))
    model = PooledClassifier(DenseNet(*DESIGN), 1000, "classifier", relu=True)
    assert count_parameters(model, 1, 64, 64, 3) == sum(p.numel() for p in net.parameters())
    variables = fcn.from_torch(model, net.state_dict(), source="torchvision")
    apply = jax.jit(lambda v, x: model.apply(v, x, capture_intermediates=lambda module, _: module.name == "encoder"))
    logits, captured = apply(variables, x)
    assert_close(logits, expected)
    given = captured["intermediates"]["encoder"]["__call__"][0]
    assert tuple(m.shape[-1] for m in given) == CHANNELS
    assert [m.shape[1:3] for m in given] == [(33, 49), (17, 25), (8, 12), (4, 6), (2, 3)]
    for ours, theirs in zip(given, maps, strict=True):
        assert_close(ours, nhwc(theirs))
    net.load_state_dict(fcn.to_torch(model, variables, source="torchvision"), strict=True)


def test_registered_classifier():
    model = fcn.create_classifier(SMALLEST)
    with torch.device("meta"):
        net = torchvision().models.densenet121()
    assert (model.relu, model.head) == (True, "classifier")
    assert count_parameters(model, 1, 64, 64, 3) == sum(p.numel() for p in net.parameters())


@pytest.mark.parametrize("prefix", ["", "encoder."])
def test_older_names(prefix):
    """torchvision's published files call `norm1` of a layer `norm.1`."""
    model = PooledClassifier(DenseNet((1, 2, 1, 1), 4, 8), 5, "classifier")
    if prefix:
        model = fcn.create_model("unet", num_classes=CLASSES, encoder=SMALLEST, encoder_depth=3, decoder_channels=(8, 8, 8))
    source = "smp" if prefix else "torchvision"
    images = np.zeros((1, 64, 64, 3), np.float32)
    variables = jax.tree.map(lambda leaf: np.full(leaf.shape, 0.5), jax.eval_shape(model.init, jax.random.key(0), images))
    tensors = fcn.to_torch(model, variables, source=source)
    older = {re.sub(r"(denselayer\d+\.(?:norm|conv))(\d)", r"\1.\2", name): tensor for name, tensor in tensors.items()}
    assert f"{prefix}features.denseblock2.denselayer1.norm.1.weight" in older
    given = fcn.from_torch(model, older, source=source)
    jax.tree.map(np.testing.assert_array_equal, given, variables)


@pytest.mark.parametrize("size", [(1, 1), (3, 5)])
def test_tiny_images(size):
    encoder = DenseNet((1, 1, 1, 1))
    maps, _ = jax.eval_shape(encoder.init_with_output, jax.random.key(0), np.zeros((1, *size, 3), np.float32))
    assert [m.shape[1] for m in maps] == [-(-size[0] // 2), 1, 1, 1, 1]


def test_dropout():
    """After each layer, in training alone."""
    encoder = DenseNet((1, 1, 1, 1), 4, 8, dropout_rate=1.0, depth=3)
    x = np.random.default_rng(0).normal(size=(1, 32, 32, 3)).astype(np.float32)
    variables = random_variables(encoder, *x.shape)
    rngs = {"dropout": jax.random.key(1)}
    apply = jax.jit(lambda variables: encoder.apply(variables, x, train=True, rngs=rngs, mutable=["batch_stats"])[0])
    deviations = np.asarray(apply(variables)[1]).std((0, 1, 2))
    assert (deviations[:8] > 0.1).any() and (deviations[8:] < 1e-6).all()


def test_depth(short):
    assert_encoder_equal(SMALLEST, short_reference(depth=3), source="smp", sizes=[(64, 96)], depth=3, settled=True)


def test_training(short):
    assert_gradients_equal(SMALLEST, short_reference(depth=3), source="smp", depth=3)


@pytest.mark.slow
def test_in_a_model():
    options = {"decoder_channels": (8, 8, 8, 8, 8)}
    net = smp_model("Unet", encoder_name=SMALLEST, **options)
    assert_model_round_trip(fcn.create_model("unet", num_classes=CLASSES, encoder=SMALLEST, **options), net)


@pytest.mark.parametrize("name", DENSENETS)
def test_tensors(name):
    assert_tensors_equal(name, smp_encoder(name, device="meta"), source="smp")


def test_no_dilation():
    with pytest.raises(ValueError, match="cannot be dilated"):
        fcn.create_encoder(SMALLEST, output_stride=16).init(jax.random.key(0), np.zeros((1, 64, 64, 3), np.float32))
