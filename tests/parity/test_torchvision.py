"""VGG encoders and classifiers against torchvision, with random weights and BatchNorm statistics."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import fcn
from tests.parity.reference import assert_close, nchw, nhwc, random_like, torch, torchvision

NAMES = ["vgg11", "vgg13", "vgg16", "vgg19", "vgg11_bn", "vgg13_bn", "vgg16_bn", "vgg19_bn"]


def images(*size):
    return np.random.default_rng(1).normal(size=(2, *size, 3)).astype(np.float32)


def random_net(name):
    with torch.device("meta"):
        net = getattr(torchvision().models, name)(init_weights=False)
    net.load_state_dict(random_like(net.state_dict()), assign=True)
    return net.eval()


def random_features(name):
    """The convolutions alone, and their tensors by the names of the whole network."""
    with torch.device("meta"):
        net = getattr(torchvision().models, name)(init_weights=False).features
    state = random_like(net.state_dict())
    net.load_state_dict(state, assign=True)
    return net.eval(), {f"features.{key}": tensor for key, tensor in state.items()}


def feature_maps(net, x):
    """The inputs of the pools and the output of the last, as smp's VGG encoder gives them."""
    maps = []
    for layer in net:
        if isinstance(layer, torch.nn.MaxPool2d):
            maps.append(x)
        x = layer(x)
    return [*maps, x]


@pytest.mark.parametrize("name", NAMES)
def test_encoder(name):
    net, state = random_features(name)
    x = images(35, 66)
    with torch.inference_mode():
        expected = [nhwc(m) for m in feature_maps(net, nchw(x))]
    encoder = fcn.create_encoder(name)
    maps = jax.jit(encoder.apply)(fcn.from_torch(encoder, state, source="torchvision"), x)
    assert len(maps) == len(expected) == 6
    for given, wanted in zip(maps, expected):
        assert_close(given, wanted)


def test_classifier():
    """At the training size and where the map is averaged to 7x7 (from 3x4)."""
    net = random_net("vgg11_bn")
    model = fcn.create_classifier("vgg11_bn")
    variables = fcn.from_torch(model, net.state_dict(), source="torchvision")
    for size in [(224, 224), (97, 130)]:
        x = images(*size)[:1]
        with torch.inference_mode():
            expected = net(nchw(x)).numpy()
        assert_close(jax.jit(model.apply)(variables, x), expected)
    encoder = fcn.create_encoder("vgg11_bn")
    taken = fcn.from_torch(encoder, net.state_dict(), source="torchvision")  # leaves classifier.* aside
    jax.tree.map(np.testing.assert_array_equal, taken["params"], variables["params"]["encoder"])


@pytest.mark.parametrize("name", NAMES)
def test_parameter_count_of_classifier(name):
    with torch.device("meta"):
        expected = sum(p.numel() for p in getattr(torchvision().models, name)().parameters())
    shapes = jax.eval_shape(fcn.create_classifier(name).init, jax.random.key(0), jnp.zeros((1, 64, 64, 3)))
    assert sum(leaf.size for leaf in jax.tree.leaves(shapes["params"])) == expected


def test_gradients_in_training():
    """BatchNorm in training: gradients of all parameters (a gradient converts like a weight) and the new running means.

    In float64: rounding in float32 flips some of the many ReLUs, which changes the gradients by up to a hundredth.
    """
    net, state = random_features("vgg11_bn")
    net = net.double()
    x = images(64, 64).astype(np.float64)
    weights = np.random.default_rng(2).normal(size=(2, 2, 2, 512))
    for tensor in (parameters := dict(net.named_parameters())).values():
        tensor.requires_grad_(True)
    (net.train()(nchw(x)) * nchw(weights)).sum().backward()
    gradients = {f"features.{key}": tensor.grad for key, tensor in parameters.items()}
    statistics = {f"features.{key}": tensor for key, tensor in net.named_buffers()}

    with jax.enable_x64(True):
        encoder = fcn.create_encoder("vgg11_bn", dtype=np.float64)

    def loss(params):
        maps, new = encoder.apply(dict(variables, params=params), x, train=True, mutable=["batch_stats"])
        return (maps[-1] * weights).sum(), new

    with jax.enable_x64(True):
        variables = fcn.from_torch(encoder, state, source="torchvision")
        expected = fcn.from_torch(encoder, gradients | statistics, source="torchvision")
        gradient, new = jax.jit(jax.grad(loss, has_aux=True))(variables["params"])
    for name, layer in gradient.items():
        for leaf, given in layer.items():
            if (name[:4], leaf) == ("conv", "bias"):
                continue  # zero but for rounding: BatchNorm takes the mean off
            assert_close(given, expected["params"][name][leaf])
    for name, layer in new["batch_stats"].items():
        assert_close(layer["mean"], expected["batch_stats"][name]["mean"])
