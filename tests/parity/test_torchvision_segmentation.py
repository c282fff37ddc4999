"""FCN, DeepLabV3 and LR-ASPP against torchvision."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import fcn
from tests.parity.encoders import count_same_tensors
from tests.parity.models import assert_model_gradients_equal, assert_model_round_trip, images
from tests.parity.reference import assert_close, nchw, nhwc, random_like, settle, torch, torchvision

READY = (
    "fcn_resnet50",
    "fcn_resnet101",
    "deeplabv3_resnet50",
    "deeplabv3_resnet101",
    "deeplabv3_mobilenet_v3_large",
    "lraspp_mobilenet_v3_large",
)
"""The models of which torchvision publishes weights."""
CLASSES = 21


def create(name, **options):
    return fcn.create_model(name, num_classes=CLASSES, **options)


def reference(name, device="cpu", **options):
    if not name.startswith("lraspp"):
        options = {"aux_loss": True, **options}
    with torch.device(device):
        return getattr(torchvision().models.segmentation, name)(weights=None, weights_backbone=None, **options)


def slow(*names):
    return [pytest.param(name, marks=pytest.mark.slow) for name in names]


def out(result):
    return result["out"]


@pytest.mark.parametrize(
    "name",
    ["fcn_resnet50", "lraspp_mobilenet_v3_large", *slow("deeplabv3_resnet50", "deeplabv3_mobilenet_v3_large")],
)
def test_logits(name):
    """Of both heads; on MobileNet with BatchNorm statistics of images, as random ones drive hard-swish far out."""
    net = reference(name).eval()
    net.load_state_dict(random_like(net.state_dict()))
    if "mobilenet" in name:
        settle(net)
    variables = fcn.from_torch(create(name), net.state_dict(), source="torchvision")
    apply = jax.jit(lambda v, x: create(name).apply(v, x, mutable=["aux_logits"]))
    for size in ((96, 128), (65, 97)):
        logits, new = apply(variables, images(size))
        with torch.inference_mode():
            expected = net(nchw(images(size)))
        assert_close(logits, nhwc(expected["out"]))
        if "aux" in expected:
            assert_close(new["aux_logits"]["stage"][0], nhwc(expected["aux"]))


def test_training():
    """LR-ASPP on ResNet-18, which is quick; MobileNetV3's gradients are tested alone."""
    torchvision()
    from torchvision.models import resnet18
    from torchvision.models._utils import IntermediateLayerGetter
    from torchvision.models.segmentation import LRASPP

    backbone = IntermediateLayerGetter(resnet18(), {"layer2": "low", "layer4": "high"})
    make = partial(create, "lraspp", encoder="resnet18", encoder_output_stride=32)
    assert_model_gradients_equal(make, LRASPP(backbone, 128, 512, CLASSES), source="torchvision", logits=out)


@pytest.mark.parametrize("name", READY)
def test_tensors(name):
    count_same_tensors(create(name), reference(name, "meta"), source="torchvision")


@pytest.mark.parametrize("name", ["fcn_resnet50", "lraspp_mobilenet_v3_large", *slow("deeplabv3_mobilenet_v3_large")])
def test_round_trip(name):
    assert_model_round_trip(create(name), reference(name), source="torchvision")


def test_without_the_auxiliary_head():
    """Checkpoints with and without it fill the network that has none."""
    model, net = create("fcn_resnet50", aux=False), reference("fcn_resnet50")
    full = random_like(net.state_dict())
    bare = {name: tensor for name, tensor in full.items() if not name.startswith("aux_classifier.")}
    first, second = (fcn.from_torch(model, state, source="torchvision") for state in (full, bare))
    assert jax.tree.all(jax.tree.map(np.array_equal, first, second))
    assert "aux_classifier" not in first["params"]
    with pytest.raises(ValueError, match=r"missing: aux_classifier\.0\.weight"):
        fcn.from_torch(create("fcn_resnet50"), bare, source="torchvision")


def test_any_encoder():
    for name, encoder in (("fcn", "resnet18"), ("lraspp", "resnet18"), ("fcn", "convnext_tiny")):
        options = {"encoder_output_stride": 32} if encoder == "convnext_tiny" else {}
        model = create(name, encoder=encoder, **options)
        logits, _ = jax.eval_shape(model.init_with_output, jax.random.key(0), jnp.zeros((1, 33, 47, 3)))
        assert logits.shape == (1, 33, 47, CLASSES)


def test_errors():
    with pytest.raises(ValueError, match="model 'fcn_resnet50' takes no encoder, but encoder='resnet18' was given"):
        create("fcn_resnet50", encoder="resnet18")
    with pytest.raises(ValueError, match=r"aux_stride is 2; encoder 'convnext_tiny' has maps of the strides \(4, 8, 16, 32\)"):
        model = create("fcn", encoder="convnext_tiny", encoder_output_stride=32, aux_stride=2)
        jax.eval_shape(model.init, jax.random.key(0), jnp.zeros((1, 64, 64, 3)))
