"""MobileNetV2 against torchvision and smp, which have the same names: maps, widths, dilation, depth, classifier."""

import jax
import numpy as np
import pytest

import fcn
from tests.parity.encoders import (
    assert_encoder_equal,
    assert_gradients_equal,
    assert_round_trip,
    assert_tensors_equal,
    smp_encoder,
)
from tests.parity.reference import assert_close, nchw, random_like, settle, torch, torchvision
from tests.variables import count_parameters

NAME = "mobilenet_v2"


@pytest.mark.parametrize("size", [(96, 160), pytest.param((129, 161), marks=pytest.mark.slow)])
def test_encoder(size):
    assert_encoder_equal(NAME, smp_encoder(NAME), source="smp", sizes=[size], settled=True)


@pytest.mark.parametrize("output_stride", [16, pytest.param(8, marks=pytest.mark.slow)])
def test_dilation(output_stride):
    net = smp_encoder(NAME, output_stride=output_stride)
    assert_encoder_equal(NAME, net, source="smp", sizes=[(65, 97)], output_stride=output_stride, settled=True)


def shallow():
    """The network up to stride 8."""
    net = smp_encoder(NAME, depth=3)
    net.features = net.features[:7]
    return net


def test_depth():
    assert_encoder_equal(NAME, shallow(), source="smp", sizes=[(65, 97)], depth=3, settled=True)


def test_training():
    """Of six blocks, of each kind; their compilation takes the time."""
    assert_gradients_equal(NAME, shallow(), source="smp", depth=3)


def test_round_trip():
    assert_round_trip(NAME, smp_encoder(NAME), source="smp")


def test_tensors():
    assert_tensors_equal(NAME, smp_encoder(NAME, "meta"), source="smp")


@pytest.mark.parametrize("width", [0.35, 0.75, 1.4])
def test_widths(width):
    """Classifiers of all widths have as many parameters as torchvision's."""
    with torch.device("meta"):
        net = torchvision().models.mobilenet_v2(width_mult=width)
    count = count_parameters(fcn.create_classifier(NAME, width=width), 1, 64, 64, 3)
    assert count == sum(p.numel() for p in net.parameters())


def test_classifier():
    net = torchvision().models.mobilenet_v2(width_mult=0.5).eval()
    net.load_state_dict(random_like(net.state_dict()))
    model = fcn.create_classifier(NAME, width=0.5)
    x = np.random.default_rng(0).normal(size=(2, 65, 97, 3)).astype(np.float32)
    settle(net, x)
    with torch.inference_mode():
        expected = net(nchw(x)).numpy()
    assert_close(jax.jit(model.apply)(fcn.from_torch(model, net.state_dict(), source="torchvision"), x), expected)
