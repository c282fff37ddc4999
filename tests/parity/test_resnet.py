"""ResNet, ResNeXt and Wide ResNet against smp (encoders, dilation, depth) and torchvision (classifiers)."""

import jax
import numpy as np
import pytest

import fcn
from fcn.encoders.resnet import RESNETS
from tests.parity.encoders import (
    assert_encoder_equal,
    assert_gradients_equal,
    assert_round_trip,
    assert_tensors_equal,
    smp_encoder,
)
from tests.parity.reference import Undrawn, assert_close, nchw, random_like, torch, torchvision

BLOCKS = (1, 1, 1, 2)
"""Of each stage, where the compilation of all would take the time."""
# smp has no Wide ResNets; torchvision has.
SMP = [name for name in RESNETS if not name.startswith("wide")]


def reference(name, device=None, **options):
    """smp's encoder, or torchvision's network, whose names are the same."""
    if name in SMP:
        return smp_encoder(name, device, **options)
    with torch.device(device or "cpu"), Undrawn():
        net = getattr(torchvision().models, name)()
    net.fc = torch.nn.Identity()
    return net


def short_reference(name, **options):
    net = reference(name, **options)
    for stage, count in enumerate(BLOCKS, start=1):
        setattr(net, f"layer{stage}", getattr(net, f"layer{stage}")[:count])
    return net


def maps(net, x):
    """Of both."""
    x = net.relu(net.bn1(net.conv1(x)))
    found = [x]
    x = net.maxpool(x)
    for stage in (net.layer1, net.layer2, net.layer3, net.layer4):
        found.append(x := stage(x))
    return found


def test_encoder():
    assert_encoder_equal("resnet18", reference("resnet18"), source="torchvision", maps=maps)


@pytest.mark.parametrize("name", ["resnet50", "resnext50_32x4d", "resnext101_32x8d", "wide_resnet50_2"])
def test_blocks(name):
    """Of each kind and width; the others differ in their number alone."""
    net = short_reference(name)
    assert_encoder_equal(name, net, source="torchvision", maps=maps, sizes=[(65, 97)], fields={"blocks": BLOCKS})


@pytest.mark.parametrize(("name", "output_stride"), [("resnet18", 16), ("resnet50", 8)])
def test_dilation(name, output_stride):
    net = short_reference(name, output_stride=output_stride)
    assert_encoder_equal(name, net, source="smp", sizes=[(65, 97)], fields={"blocks": BLOCKS}, output_stride=output_stride)


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
def test_tensors(name):
    assert_tensors_equal(name, reference(name, device="meta"), source="torchvision")


def test_classifier():
    net = torchvision().models.resnet18().eval()
    net.load_state_dict(random_like(net.state_dict()))
    model = fcn.create_classifier("resnet18")
    x = np.random.default_rng(0).normal(size=(2, 65, 97, 3)).astype(np.float32)
    with torch.inference_mode():
        expected = net(nchw(x)).numpy()
    assert_close(jax.jit(model.apply)(fcn.from_torch(model, net.state_dict(), source="torchvision"), x), expected)
