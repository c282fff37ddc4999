"""SE-ResNet and SE-ResNeXt against smp (encoders, dilation, depth) and timm (classifiers)."""

from functools import partial

import jax
import numpy as np
import pytest

import fcn
from fcn.encoders.senet import SENETS, SENet
from fcn.encoders.table import ENCODERS
from tests.parity.classifiers import assert_classifier_equal, timm
from tests.parity.encoders import (
    assert_encoder_equal,
    assert_gradients_equal,
    assert_round_trip,
    assert_tensors_equal,
    smp_encoder,
    smp_maps,
)
from tests.parity.reference import assert_close, nchw, nhwc, random_like, settle, torch

SMALLEST, GROUPED = "se_resnet50", "se_resnext50_32x4d"
BLOCKS = (1, 2, 1, 1)


@pytest.fixture
def short(monkeypatch):
    """The networks have few blocks: their compilation takes the time."""
    for name in (SMALLEST, GROUPED):
        row = SENETS[name]
        monkeypatch.setitem(ENCODERS, name, row._replace(constructor=partial(SENet, BLOCKS, **row.constructor.keywords)))


def short_reference(name, depth=5, **options):
    """Of few blocks, without the stages beyond `depth`."""
    net = smp_encoder(name, depth=depth, **options)
    for stage, count in enumerate(BLOCKS, start=1):
        layer = getattr(net, f"layer{stage}")
        del layer[count if stage < depth else 0 :]
    return net


def test_short_encoder(short):
    """Of the other kind of block; `test_classifier` has the first."""
    assert_encoder_equal(GROUPED, short_reference(GROUPED), source="smp", sizes=[(96, 160)], settled=True)


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


@pytest.mark.parametrize(("name", "stride"), [(SMALLEST, 8), (GROUPED, 16)])
def test_dilation(short, name, stride):
    net = short_reference(name, output_stride=stride)
    assert_encoder_equal(name, net, source="smp", sizes=[(64, 96)], output_stride=stride, settled=True)


@pytest.mark.parametrize("name", [SMALLEST, GROUPED])
def test_training(short, name):
    assert_gradients_equal(name, short_reference(name, depth=3), source="smp", depth=3)


def test_round_trip(short):
    assert_round_trip(SMALLEST, short_reference(SMALLEST), source="smp")


@pytest.mark.parametrize("name", SENETS)
def test_tensors(name):
    assert_tensors_equal(name, smp_encoder(name, device="meta"), source="smp")


@pytest.mark.parametrize("name", [SMALLEST, GROUPED])
def test_classifier(name):
    """Of four blocks; and its weights back to timm's names."""
    model, blocks = fcn.create_classifier(name), (1, 1, 1, 1)
    model = model.copy(encoder=model.encoder.copy(blocks=blocks))
    net = timm(f"legacy_{name.replace('se_', 'se', 1)}", layers=[*blocks])
    assert_classifier_equal(model, net, size=(65, 97), settled=True)
