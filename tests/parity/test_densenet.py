"""DenseNet against smp (encoders) and torchvision (classifiers, older names of tensors)."""

import re

import jax
import numpy as np
import pytest

import fcn
from fcn.encoders.densenet import DENSENETS, DenseNet
from fcn.models.classifier import PooledClassifier
from tests.parity.encoders import (
    assert_encoder_equal,
    assert_gradients_equal,
    assert_parameters_equal,
    assert_round_trip,
    smp_encoder,
    smp_maps,
)
from tests.parity.models import CLASSES, assert_model_round_trip, smp_model
from tests.parity.reference import Undrawn, assert_close, nchw, nhwc, random_like, settle, torch, torchvision
from tests.variables import count_parameters

SMALLEST = "densenet121"
LARGE = [pytest.param(name, marks=pytest.mark.slow) for name in DENSENETS if name != SMALLEST]


def reference(name, **options):
    with Undrawn():
        return smp_encoder(name, **options)


def shallow(name):
    """The network up to stride 8."""
    net = reference(name, depth=3)
    for unused in ("denseblock3", "transition3", "denseblock4", "norm5"):
        delattr(net.features, unused)
    del net.features.transition2.conv
    return net


@pytest.mark.parametrize("name", [pytest.param(SMALLEST, marks=pytest.mark.slow), *LARGE])
def test_encoder(name):
    """`test_classifier_and_its_maps` tests the smallest by default."""
    assert_encoder_equal(name, reference(name), source="smp", sizes=[(128, 128), (96, 160)], settled=True)


def test_classifier_and_its_maps():
    """In one, since compilation takes the time. Maps of an odd size are smaller than the stride says."""
    with Undrawn():
        net = torchvision().models.densenet121()
    encoder = reference(SMALLEST)
    net.load_state_dict(random_like(net.state_dict()))
    x = np.random.default_rng(0).normal(size=(2, 65, 97, 3)).astype(np.float32)
    settle(net, x)
    encoder.load_state_dict(dict(net.state_dict()))
    with torch.inference_mode():
        expected, maps = net(nchw(x)).numpy(), smp_maps(encoder.eval(), nchw(x))
    model = fcn.create_classifier(SMALLEST)
    assert count_parameters(model, 1, 64, 64, 3) == sum(p.numel() for p in net.parameters())
    variables = fcn.from_torch(model, net.state_dict(), source="torchvision")
    apply = jax.jit(lambda v, x: model.apply(v, x, capture_intermediates=lambda module, _: module.name == "encoder"))
    logits, captured = apply(variables, x)
    assert_close(logits, expected)
    given = captured["intermediates"]["encoder"]["__call__"][0]
    assert tuple(m.shape[-1] for m in given) == DENSENETS[SMALLEST].channels
    assert [m.shape[1:3] for m in given] == [(33, 49), (17, 25), (8, 12), (4, 6), (2, 3)]
    for ours, theirs in zip(given, maps, strict=True):
        assert_close(ours, nhwc(theirs))
    net.load_state_dict(fcn.to_torch(model, variables, source="torchvision"), strict=True)


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
    encoder = DenseNet((1, 1, 1, 1), dropout_rate=1.0, depth=3)
    x = np.random.default_rng(0).normal(size=(1, 32, 32, 3)).astype(np.float32)
    variables = encoder.init(jax.random.key(0), x)
    maps, _ = encoder.apply(variables, x, train=True, rngs={"dropout": jax.random.key(1)}, mutable=["batch_stats"])
    assert (np.asarray(maps[1][..., 64:]) == 0).all() and (np.asarray(maps[1][..., :64]) != 0).any()


def test_depth():
    assert_encoder_equal(SMALLEST, shallow(SMALLEST), source="smp", sizes=[(64, 96)], depth=3, settled=True)


def test_training():
    """Up to stride 8: the compilation of more takes long."""
    assert_gradients_equal(SMALLEST, shallow(SMALLEST), source="smp", depth=3)


def test_round_trip():
    net = reference(SMALLEST)
    net.load_state_dict = lambda state, strict: torch.nn.Module.load_state_dict(net, state, strict=strict)
    assert_round_trip(SMALLEST, net, source="smp")


def test_in_a_model():
    options = {"decoder_channels": (8, 8, 8, 8, 8)}
    net = smp_model("Unet", encoder_name=SMALLEST, **options)
    assert_model_round_trip(fcn.create_model("unet", num_classes=CLASSES, encoder=SMALLEST, **options), net)


@pytest.mark.parametrize("name", DENSENETS)
def test_parameters(name):
    assert_parameters_equal(name, smp_encoder(name, device="meta"))


def test_no_dilation():
    with pytest.raises(ValueError, match="cannot be dilated"):
        fcn.create_encoder(SMALLEST, output_stride=16).init(jax.random.key(0), np.zeros((1, 64, 64, 3), np.float32))
