"""MobileNetV3 against torchvision: maps, those of its segmentation models, gradients, classifier."""

import jax
import numpy as np
import pytest

import fcn
from fcn.encoders.mobilenet_v3 import MOBILENETS_V3
from tests.parity.encoders import assert_encoder_equal, assert_gradients_equal, assert_round_trip, assert_tensors_equal
from tests.parity.reference import assert_close, nchw, nhwc, random_like, settle, torch, torchvision
from tests.variables import count_parameters

SMALL = "mobilenet_v3_small"


def reference(name, device=None, **options):
    """torchvision's network without its classifier."""
    with torch.device(device or "cpu"):
        net = getattr(torchvision().models, name)(**options)
    net.classifier = torch.nn.Identity()
    return net


def strided(net):
    """Numbers of the layers that halve, or did before they were dilated."""
    return [i for i, layer in enumerate(net.features) if getattr(layer, "_is_cn", False)]


def maps(net, x):
    """Before each block that halves, and the last."""
    found = []
    for i, layer in enumerate(net.features):
        if i in strided(net):
            found.append(x)
        x = layer(x)
    return [*found, x]


@pytest.mark.parametrize("name", [SMALL, pytest.param("mobilenet_v3_large", marks=pytest.mark.slow)])
def test_encoder(name):
    assert_encoder_equal(name, reference(name), source="torchvision", sizes=[(96, 160)], maps=maps, settled=True)


def test_maps_of_segmentation_models():
    """Dilated, and of the blocks with which the stages start; LR-ASPP takes the map of stride 8 and the last."""
    net = reference(SMALL, dilated=True).eval()
    lraspp = torchvision().models.segmentation.lraspp._lraspp_mobilenetv3(net, num_classes=2)
    net.load_state_dict(random_like(net.state_dict()))
    x = np.random.default_rng(0).normal(size=(1, 65, 97, 3)).astype(np.float32)
    settle(net, x)
    encoder = fcn.create_encoder(SMALL, output_stride=16, stage_starts=True)
    given = jax.jit(encoder.apply)(fcn.from_torch(encoder, net.state_dict(), source="torchvision"), x)
    with torch.inference_mode():
        y = nchw(x)
        low, high = lraspp.backbone(y).values()
        expected = [y := layer(y) for layer in net.features]
    for ours, i in zip(given, (0, *strided(net)[:-1], -1), strict=True):
        assert_close(ours, nhwc(expected[i]))
    assert_close(given[2], nhwc(low))
    assert_close(given[4], nhwc(high))


def shallow():
    """The small network up to stride 8."""
    net = reference(SMALL)
    net.features = net.features[: strided(net)[2]]
    return net


def test_depth():
    assert_encoder_equal(SMALL, shallow(), source="torchvision", sizes=[(65, 97)], maps=maps, depth=3)


def test_training():
    """Of three blocks, one of each kind; their compilation takes the time."""
    assert_gradients_equal(SMALL, shallow(), source="torchvision", maps=maps, depth=3)


def test_round_trip():
    assert_round_trip(SMALL, reference(SMALL), source="torchvision")


@pytest.mark.parametrize("name", MOBILENETS_V3)
def test_tensors(name):
    assert_tensors_equal(name, reference(name, device="meta"), source="torchvision")


@pytest.mark.parametrize(("name", "count"), [("mobilenet_v3_small", 2_542_856), ("mobilenet_v3_large", 5_483_032)])
def test_parameters_of_classifiers(name, count):
    assert count_parameters(fcn.create_classifier(name), 1, 64, 64, 3) == count


def test_classifier():
    net = torchvision().models.mobilenet_v3_small().eval()
    net.load_state_dict(random_like(net.state_dict()))
    model = fcn.create_classifier(SMALL)
    x = np.random.default_rng(0).normal(size=(2, 65, 97, 3)).astype(np.float32)
    settle(net, x)
    with torch.inference_mode():
        expected = net(nchw(x)).numpy()
    assert_close(jax.jit(model.apply)(fcn.from_torch(model, net.state_dict(), source="torchvision"), x), expected)
