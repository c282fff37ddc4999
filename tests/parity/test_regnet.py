"""RegNetY against timm, and against smp's names."""

from functools import partial

import jax
import numpy as np
import pytest

import fcn
from fcn.classifiers.mean import mean_classifier
from fcn.encoders.regnet import REGNETS, Design, RegNet
from tests.parity.classifiers import assert_classifier_equal, timm
from tests.parity.encoders import (
    SIZES,
    assert_encoder_equal,
    assert_gradients_equal,
    assert_parameters_equal,
    smp_encoder,
)
from tests.parity.models import CLASSES, assert_model_round_trip, smp_model
from tests.parity.reference import assert_close, nchw, nhwc, random_like, settle, torch

SMALLEST, DEEP = "regnety_002", ("regnety_016", "regnety_032")
LARGE = [pytest.param(name, marks=pytest.mark.slow) for name in REGNETS if name not in (SMALLEST, *DEEP)]


def reference(name, device=None, **options):
    """timm's network without its classifier."""
    net = timm(name, device, **options)
    net.head = torch.nn.Identity()
    return net


def maps(net, x):
    """After the stem and each stage."""
    return net.forward_intermediates(x, intermediates_only=True)


@pytest.mark.parametrize("name", [SMALLEST, *LARGE])
def test_encoder(name):
    assert_encoder_equal(name, reference(name), source="timm", sizes=[(65, 97)], maps=maps, settled=True)


@pytest.mark.slow
@pytest.mark.parametrize("name", DEEP)
def test_deep(name):
    """With small residuals: else over 20 random blocks multiply rounding, in PyTorch alone to 5e-4 of the last map."""
    net = reference(name)
    state = random_like(net.state_dict())
    net.load_state_dict({key: tensor / 10 if key.endswith("conv3.bn.weight") else tensor for key, tensor in state.items()})
    settle(net)
    encoder = fcn.create_encoder(name)
    x = np.random.default_rng(0).normal(size=(1, 65, 97, 3)).astype(np.float32)
    with torch.inference_mode():
        expected = maps(net, nchw(x))
    given = jax.jit(encoder.apply)(fcn.from_torch(encoder, net.state_dict(), source="timm"), x)
    for ours, theirs in zip(given, expected, strict=True):
        assert_close(ours, nhwc(theirs))


@pytest.mark.slow
def test_sizes():
    assert_encoder_equal(SMALLEST, reference(SMALLEST), source="timm", sizes=SIZES, maps=maps, settled=True)


@pytest.mark.parametrize("stride", [8, pytest.param(16, marks=pytest.mark.slow)])
def test_dilation(stride):
    net = reference(SMALLEST, output_stride=stride)
    sizes = {"sizes": [(65, 97)], "output_stride": stride}
    assert_encoder_equal(SMALLEST, net, source="timm", maps=maps, settled=True, **sizes)


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
def test_parameters(name):
    assert_parameters_equal(name, reference(name, device="meta"))


def test_classifier():
    """Of six blocks; and its weights back to timm's names."""
    net = timm(SMALLEST, depth=6, wa=70.0)
    model = mean_classifier(partial(RegNet, Design(6, 24, 70.0, 2.49, 8)), num_classes=1000)
    assert_classifier_equal(model, net, size=(65, 97), settled=True)


@pytest.mark.slow
def test_full_classifier():
    assert_classifier_equal(fcn.create_classifier(SMALLEST), timm(SMALLEST), size=(65, 97), settled=True)
