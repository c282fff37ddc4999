"""The PyTorch networks of the benchmark are as large as ours, and every name has one."""

import importlib.util
from functools import partial

import jax
import jax.numpy as jnp
import pytest

import fcn
from experiments.benchmark import augmenting
from fcn.encoders.table import find_encoder
from tests.variables import count_parameters

torch = pytest.importorskip("torch", reason="the benchmark compares with PyTorch: install '.[parity]'")

CLASSES = 21
# TensorFlow's network, of which there is no PyTorch version.
OF_VOLUMES = {"meshnet", "phasenet", "plain_conv_unet", "residual_encoder_unet", "residual_unet", "segresnet"}
WITHOUT = {"deeplabv3_mobilenet_v2_tf", "stardist_unet", "cpnet", *OF_VOLUMES}


@pytest.fixture(scope="module")
def references():
    from experiments.benchmark import references

    for package in ("torchvision", "segmentation_models_pytorch", "timm"):
        if importlib.util.find_spec(package) is None:
            pytest.skip(f"the benchmark takes networks of {package}: install '.[parity]'")
    return references


def size_of(name):
    return 188 if name == "unet2015" else 64


def parameters(net):
    return sum(p.numel() for p in net.parameters())


@pytest.mark.parametrize("name", ["unet", "unet2015", "attention_unet", "segnet", "fc_densenet56", "espnet", "espnet_c"])
def test_networks_written_here(name, references):
    size = size_of(name)
    net = references.reference_network(name, None, CLASSES, size).eval()
    with torch.no_grad():
        logits = net(torch.zeros(1, 3, size, size))
    model = fcn.create_model(name, num_classes=CLASSES)
    ours = jax.eval_shape(lambda x: model.init_with_output(jax.random.key(0), x)[0], jnp.zeros((1, size, size, 3)))
    assert tuple(logits.permute(0, 2, 3, 1).shape) == ours.shape
    assert parameters(net) == count_parameters(model, 1, size, size, 3)


@pytest.mark.parametrize("name", ["fcn32s", "fcn16s", "fcn8s"])
def test_fcn_but_for_its_dense_upsampling(name, references):
    with torch.device("meta"):
        net = references.reference_network(name, None, CLASSES, 64)
        logits = net(torch.zeros(1, 3, 64, 72))
    assert logits.shape == (1, CLASSES, 64, 72)
    upsampling = sum(p.numel() for up in net.ups for p in up.parameters())
    assert parameters(net) - upsampling == count_parameters(fcn.create_model(name, num_classes=CLASSES), 1, 64, 64, 3)


def test_every_model_has_one(references):
    for name in fcn.list_models():
        with torch.device("meta"):
            if name in WITHOUT:
                with pytest.raises(references.NoReference, match=name):
                    references.reference_network(name, None, CLASSES, 224)
            else:
                references.reference_network(name, None, CLASSES, 224)


def test_every_encoder_has_one_of_its_size(references, monkeypatch):
    """Maps alone: the references may carry a head or a last layer that their maps do not need, never less."""
    monkeypatch.setattr(torch, "linspace", partial(torch.linspace, device="cpu"))  # of which smp takes the values
    for name in fcn.list_encoders():
        with torch.device("meta"):
            net = references.reference_encoder(name, 224)
            if name.endswith("_cifar"):  # its layers find their channels
                net(torch.zeros(1, 3, 32, 32))
        assert parameters(net) >= 0.99 * find_encoder(name).parameters, name


def test_torchvisions_list_of_augmentation():
    if importlib.util.find_spec("torchvision") is None:
        pytest.skip("the benchmark takes transforms of torchvision: install '.[parity]'")
    change = augmenting.torchvision_augmenter(8, 32)
    for image, label in change() + change():
        assert image.shape == (3, 32, 32) and image.dtype == torch.float32 and label.shape == (32, 32)


def test_works_take_turns_and_the_first_does_not_count(monkeypatch):
    calls, clock = [], iter([0, 100, 0, 100, 0, 1, 0, 5, 0, 2, 0, 6, 0, 9, 0, 7])  # beginnings and ends
    monkeypatch.setattr(augmenting.time, "perf_counter", lambda: next(clock))
    found = augmenting.medians({"a": lambda: calls.append("a"), "b": lambda: calls.append("b")}, rounds=3)
    assert found == {"a": 2, "b": 6} and calls == ["a", "b"] * 4
