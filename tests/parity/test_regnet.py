"""RegNetY against timm, and against smp's names."""

from functools import partial

import pytest

import fcn
from fcn.encoders.regnet import REGNETS, Design, RegNet
from fcn.models.classifiers_timm import mean_classifier
from tests.parity.classifiers import assert_classifier_equal, timm
from tests.parity.encoders import (
    SIZES,
    assert_encoder_equal,
    assert_gradients_equal,
    assert_parameters_equal,
    smp_encoder,
)
from tests.parity.reference import torch

SMALLEST = "regnety_002"
LARGE = [pytest.param(name, marks=pytest.mark.slow) for name in REGNETS if name != SMALLEST]


def reference(name, device=None, **options):
    """timm's network without its classifier."""
    net = timm(name, device, **options)
    net.head = torch.nn.Identity()
    return net


def maps(net, x):
    """After the stem and each stage."""
    return net.forward_intermediates(x, intermediates_only=True)


@pytest.mark.parametrize("sizes", [[(65, 97)], pytest.param(SIZES, marks=pytest.mark.slow)])
@pytest.mark.parametrize("name", [SMALLEST, *LARGE])
def test_encoder(name, sizes):
    assert_encoder_equal(name, reference(name), source="timm", sizes=sizes, maps=maps, settled=True)


@pytest.mark.parametrize("stride", [8, pytest.param(16, marks=pytest.mark.slow)])
def test_dilation(stride):
    net = reference(SMALLEST, output_stride=stride)
    sizes = {"sizes": [(65, 97)], "output_stride": stride}
    assert_encoder_equal(SMALLEST, net, source="timm", maps=maps, settled=True, **sizes)


def test_smp_names():
    assert_encoder_equal(SMALLEST, smp_encoder(f"tu-{SMALLEST}", depth=3), source="smp", sizes=[(64, 96)], depth=3)


def test_training():
    """Up to stride 8: the compilation of more takes long."""
    net = reference(SMALLEST)
    del net.s3, net.s4
    net.forward_intermediates = lambda x, **_: [x := layer(x) for layer in (net.stem, net.s1, net.s2)]
    assert_gradients_equal(SMALLEST, net, source="timm", maps=maps, depth=3)


@pytest.mark.parametrize("name", REGNETS)
def test_parameters(name):
    assert_parameters_equal(name, reference(name, device="meta"))


def test_classifier():
    """Of six blocks; and its weights back to timm's names."""
    net = timm(SMALLEST, depth=6, wa=70.0)
    model = mean_classifier(partial(RegNet, Design(6, 24, 70.0, 2.49, 8)), num_classes=1000)
    assert_classifier_equal(model, net, size=(65, 97), settled=True)


@pytest.mark.slow
@pytest.mark.parametrize("name", REGNETS)
def test_full_classifier(name):
    assert_classifier_equal(fcn.create_classifier(name), timm(name), size=(65, 97), settled=True)
