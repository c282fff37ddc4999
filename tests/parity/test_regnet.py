"""RegNetY against timm, and against smp's names."""

import pytest

import fcn
from fcn.encoders.regnet import REGNETS, Design
from tests.parity.classifiers import assert_classifier_equal, timm
from tests.parity.encoders import assert_encoder_equal, assert_gradients_equal, assert_tensors_equal, smp_encoder
from tests.parity.models import CLASSES, assert_model_round_trip, smp_model
from tests.parity.reference import torch

SMALLEST = "regnety_002"
SHORT = {SMALLEST: Design(6, 24, 70.0, 2.49, 8), "regnety_016": Design(6, 48, 110.0, 2.65, 24)}
"""Of the same widths in fewer blocks: their compilation takes the time."""


def reference(name, device=None, **options):
    """timm's network without its classifier."""
    net = timm(name, device, **options)
    net.head = torch.nn.Identity()
    return net


def short_reference(name, **options):
    return reference(name, depth=SHORT[name].blocks, wa=SHORT[name].slope, **options)


def maps(net, x):
    """After the stem and each stage."""
    return net.forward_intermediates(x, intermediates_only=True)


def test_encoder():
    assert_encoder_equal(SMALLEST, reference(SMALLEST), source="timm", sizes=[(65, 97)], maps=maps, settled=True)


@pytest.mark.parametrize("name", SHORT)
def test_short_encoder(name):
    """Of groups of 8 channels, and of 24, to which the widths are rounded."""
    short = {"sizes": [(96, 160)], "fields": {"design": SHORT[name]}}
    assert_encoder_equal(name, short_reference(name), source="timm", maps=maps, settled=True, **short)


@pytest.mark.parametrize("stride", [8, 16])
def test_dilation(stride):
    net = short_reference(SMALLEST, output_stride=stride)
    short = {"sizes": [(65, 97)], "fields": {"design": SHORT[SMALLEST]}}
    assert_encoder_equal(SMALLEST, net, source="timm", maps=maps, settled=True, output_stride=stride, **short)


def test_smp_names():
    assert_encoder_equal(SMALLEST, smp_encoder(f"tu-{SMALLEST}", depth=3), source="smp", sizes=[(64, 96)], depth=3)


def test_smp_names_in_a_model():
    options = {"encoder_depth": 3, "decoder_channels": (8, 8, 8)}
    net = smp_model("Unet", encoder_name=f"tu-{SMALLEST}", **options)
    assert_model_round_trip(fcn.create_model("unet", num_classes=CLASSES, encoder=SMALLEST, **options), net)


def test_training():
    """Up to stride 8: the compilation of more takes long."""
    net = reference(SMALLEST)
    del net.s3, net.s4
    net.forward_intermediates = lambda x, **_: [x := layer(x) for layer in (net.stem, net.s1, net.s2)]
    assert_gradients_equal(SMALLEST, net, source="timm", maps=maps, depth=3)


@pytest.mark.parametrize("name", REGNETS)
def test_tensors(name):
    assert_tensors_equal(name, reference(name, device="meta"), source="timm")


def test_classifier():
    """Of six blocks; and its weights back to timm's names."""
    model, design = fcn.create_classifier(SMALLEST), SHORT[SMALLEST]
    model = model.copy(encoder=model.encoder.copy(design=design))
    assert_classifier_equal(model, timm(SMALLEST, depth=design.blocks, wa=design.slope), size=(65, 97), settled=True)
