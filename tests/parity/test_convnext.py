"""ConvNeXt against timm, and against smp's names."""

from functools import partial

import jax
import numpy as np
import pytest

import fcn
from fcn.classifiers.mean import mean_classifier
from fcn.encoders.convnext import CONVNEXTS, ConvNeXt
from tests.parity.classifiers import assert_classifier_equal, timm
from tests.parity.encoders import (
    assert_encoder_equal,
    assert_gradients_equal,
    assert_parameters_equal,
    assert_round_trip,
    smp_encoder,
    smp_maps,
)
from tests.parity.reference import assert_close, nchw, nhwc, random_like, torch

EVEN = [(128, 128), (96, 160)]
LARGE = [pytest.param(name, marks=pytest.mark.slow) for name in CONVNEXTS if name != "convnext_tiny"]


def reference(name, device=None, **options):
    """timm's network without its classifier."""
    net = timm(name, device, **options)
    net.head = torch.nn.Identity()
    return net


def maps(net, x):
    """After each stage."""
    return net.forward_intermediates(x, intermediates_only=True)


@pytest.mark.parametrize("name", ["convnext_tiny", *LARGE])
def test_encoder(name):
    assert_encoder_equal(name, reference(name), source="timm", sizes=EVEN, maps=maps)


def test_dilation():
    net = reference("convnext_tiny", output_stride=8)
    assert_encoder_equal("convnext_tiny", net, source="timm", sizes=[(96, 160)], maps=maps, output_stride=8)


def test_smp_names_and_odd_size():
    """Rows and columns that fill no patch are left out, as there."""
    net = smp_encoder("tu-convnext_tiny").eval()
    net.load_state_dict(random_like(net.state_dict()))
    encoder = fcn.create_encoder("convnext_tiny")
    x = np.random.default_rng(0).normal(size=(1, 65, 97, 3)).astype(np.float32)
    with torch.inference_mode():
        expected = smp_maps(net, nchw(x))
    given = jax.jit(encoder.apply)(fcn.from_torch(encoder, net.state_dict(), source="smp"), x)
    assert len(given) == len(expected)
    for ours, theirs in zip(given, expected):
        assert_close(ours, nhwc(theirs))


@pytest.mark.slow
def test_training():
    """Up to stride 8."""
    net = reference("convnext_tiny")
    net.stages = net.stages[:2]
    assert_gradients_equal("convnext_tiny", net, source="timm", maps=maps, depth=3)


def test_classifier():
    """Of one block in each stage; and its weights back to timm's names."""
    model = mean_classifier(partial(ConvNeXt, blocks=(1, 1, 1, 1)), "mean", num_classes=1000)
    assert_classifier_equal(model, timm("convnext_tiny", depths=(1, 1, 1, 1)), size=(64, 96))


@pytest.mark.slow
def test_full_classifier():
    assert_classifier_equal(fcn.create_classifier("convnext_tiny"), timm("convnext_tiny"), size=(64, 96))


def test_round_trip():
    assert_round_trip("convnext_tiny", reference("convnext_tiny"), source="timm")


@pytest.mark.parametrize("name", CONVNEXTS)
def test_parameters(name):
    assert_parameters_equal(name, reference(name, device="meta"))
