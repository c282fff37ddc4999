"""ResNet, ResNeXt and Wide ResNet against smp (encoders, dilation, depth) and torchvision (classifiers)."""

import jax
import numpy as np
import pytest

import fcn
from fcn.encoders.resnet import RESNETS
from tests.parity.encoders import (
    assert_encoder_equal,
    assert_gradients_equal,
    assert_parameters_equal,
    assert_round_trip,
    smp_encoder,
)
from tests.parity.reference import assert_close, nchw, random_like, torch, torchvision

SMALL = ["resnet18"]
# smp has no Wide ResNets; torchvision has.
SMP = [name for name in RESNETS if not name.startswith("wide")]


def reference(name, device=None, **options):
    """smp's encoder, or torchvision's network, whose names are the same."""
    if name in SMP:
        return smp_encoder(name, device, **options)
    with torch.device(device or "cpu"):
        net = getattr(torchvision().models, name)()
    net.fc = torch.nn.Identity()
    return net


def maps(net, x):
    """Of both."""
    x = net.relu(net.bn1(net.conv1(x)))
    found = [x]
    x = net.maxpool(x)
    for stage in (net.layer1, net.layer2, net.layer3, net.layer4):
        found.append(x := stage(x))
    return found


@pytest.mark.parametrize("name", [pytest.param(name, marks=() if name in SMALL else pytest.mark.slow) for name in RESNETS])
def test_encoder(name):
    assert_encoder_equal(name, reference(name), source="torchvision", maps=maps)


@pytest.mark.parametrize(("name", "output_stride"), [("resnet18", 16), ("resnet50", 8)])
def test_dilation(name, output_stride):
    net = smp_encoder(name, output_stride=output_stride)
    assert_encoder_equal(name, net, source="smp", sizes=[(65, 97)], output_stride=output_stride)


def test_depth():
    net = smp_encoder("resnet18", depth=3)
    for unused in ("layer3", "layer4"):
        setattr(net, unused, torch.nn.Identity())
    assert_encoder_equal("resnet18", net, source="smp", sizes=[(65, 97)], depth=3)


def test_training():
    assert_gradients_equal("resnet18", smp_encoder("resnet18"), source="smp")


def test_round_trip():
    assert_round_trip("resnet18", smp_encoder("resnet18"), source="smp")


@pytest.mark.parametrize("name", RESNETS)
def test_parameters(name):
    assert_parameters_equal(name, reference(name, device="meta"))


def test_classifier():
    net = torchvision().models.resnet18().eval()
    net.load_state_dict(random_like(net.state_dict()))
    model = fcn.create_classifier("resnet18")
    x = np.random.default_rng(0).normal(size=(2, 65, 97, 3)).astype(np.float32)
    with torch.inference_mode():
        expected = net(nchw(x)).numpy()
    assert_close(jax.jit(model.apply)(fcn.from_torch(model, net.state_dict(), source="torchvision"), x), expected)
