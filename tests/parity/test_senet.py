"""SE-ResNet and SE-ResNeXt against smp (encoders, dilation, depth) and timm (classifiers)."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import fcn
from fcn.classifiers.dense import PooledClassifier
from fcn.encoders.senet import SENETS, SENet
from fcn.encoders.table import ENCODERS
from tests.parity.classifiers import assert_classifier_equal, timm
from tests.parity.encoders import (
    assert_encoder_equal,
    assert_gradients_equal,
    assert_parameters_equal,
    assert_round_trip,
    smp_encoder,
    smp_maps,
)
from tests.parity.reference import Undrawn, assert_close, nchw, nhwc, random_like, settle, torch

SMALLEST, GROUPED = "se_resnet50", "se_resnext50_32x4d"
BLOCKS = (1, 2, 1, 1)
SLOW = [pytest.param(name, marks=pytest.mark.slow) for name in SENETS if name != SMALLEST]


@pytest.fixture
def short(monkeypatch):
    """The networks have few blocks: their compilation takes the time."""
    for name in (SMALLEST, GROUPED):
        row = SENETS[name]
        monkeypatch.setitem(ENCODERS, name, row._replace(constructor=partial(SENet, BLOCKS, **row.constructor.keywords)))


def reference(name, **options):
    with Undrawn():
        return smp_encoder(name, **options)


def short_reference(name, depth=5, **options):
    """Of few blocks, without the stages beyond `depth`."""
    net = reference(name, depth=depth, **options)
    for stage, count in enumerate(BLOCKS, start=1):
        layer = getattr(net, f"layer{stage}")
        del layer[count if stage < depth else 0 :]
    return net


def test_short_encoder(short):
    """Of the other kind of block; `test_classifier` has the first."""
    assert_encoder_equal(GROUPED, short_reference(GROUPED), source="smp", sizes=[(96, 160)], settled=True)


@pytest.mark.slow
@pytest.mark.parametrize("name", [SMALLEST, GROUPED])
def test_encoder(name):
    """At sizes whose maps of stride 2 are even; of others, see below."""
    assert_encoder_equal(name, reference(name), source="smp", sizes=[(96, 160)], settled=True)


@pytest.mark.slow
@pytest.mark.parametrize("name", [name for name in SENETS if name not in (SMALLEST, GROUPED)])
def test_deeper_encoder(name):
    """In float64: over so many blocks, PyTorch's own float32 is 3e-4 away from it."""
    net = reference(name)
    net.load_state_dict(random_like(net.state_dict()))
    settle(net)
    net = net.double()
    x = np.random.default_rng(0).normal(size=(1, 63, 99, 3))
    with torch.inference_mode():
        expected = [nhwc(m) for m in smp_maps(net, nchw(x))]
    with jax.enable_x64(True):
        encoder = fcn.create_encoder(name, dtype=jnp.float64, param_dtype=jnp.float64)
        given = jax.jit(encoder.apply)(fcn.from_torch(encoder, net.state_dict(), source="smp"), x)
    for ours, theirs in zip(given, expected, strict=True):
        assert_close(ours, theirs)


def test_odd_sizes(short):
    """Windows of the max-pool that reach over the border, and maps that are smaller than the stride says."""
    net = short_reference(GROUPED, depth=3)
    net.load_state_dict(random_like(net.state_dict()))
    settle(net)
    encoder = fcn.create_encoder(GROUPED, depth=3)
    variables = fcn.from_torch(encoder, net.state_dict(), source="smp")
    x = np.random.default_rng(0).normal(size=(1, 65, 97, 3)).astype(np.float32)
    with torch.inference_mode():
        expected = [nhwc(m) for m in smp_maps(net, nchw(x))]
    given = jax.jit(encoder.apply)(variables, x)
    assert [m.shape[1:3] for m in given] == [(33, 49), (16, 24), (8, 12)]
    for ours, theirs in zip(given, expected, strict=True):
        assert_close(ours, theirs)


@pytest.mark.parametrize("size", [(1, 1), (2, 5)])
def test_tiny_images(size):
    encoder = fcn.create_encoder(SMALLEST, depth=3)
    maps, _ = jax.eval_shape(encoder.init_with_output, jax.random.key(0), np.zeros((1, *size, 3), np.float32))
    assert [m.shape[1] for m in maps] == [1, 1, 1]


@pytest.mark.parametrize(("name", "stride"), [(SMALLEST, 8), pytest.param(GROUPED, 16, marks=pytest.mark.slow)])
def test_dilation(short, name, stride):
    net = short_reference(name, output_stride=stride)
    assert_encoder_equal(name, net, source="smp", sizes=[(64, 96)], output_stride=stride, settled=True)


@pytest.mark.parametrize("name", [SMALLEST, pytest.param(GROUPED, marks=pytest.mark.slow)])
def test_training(short, name):
    assert_gradients_equal(name, short_reference(name, depth=3), source="smp", depth=3)


def test_round_trip(short):
    assert_round_trip(SMALLEST, short_reference(SMALLEST), source="smp")


@pytest.mark.parametrize("name", [SMALLEST, *SLOW])
def test_parameters(name):
    assert_parameters_equal(name, smp_encoder(name, device="meta"))


def test_classifier():
    """Of four blocks; and its weights back to timm's names."""
    net = timm("legacy_seresnet50", layers=[1, 1, 1, 1])
    model = PooledClassifier(SENet((1, 1, 1, 1)), 1000, "last_linear")
    assert_classifier_equal(model, net, size=(65, 97), settled=True)


@pytest.mark.slow
@pytest.mark.parametrize("name", [SMALLEST, GROUPED])
def test_full_classifier(name):
    net = timm(f"legacy_{name.replace('se_', 'se', 1)}")
    assert_classifier_equal(fcn.create_classifier(name), net, size=(65, 97), settled=True)
