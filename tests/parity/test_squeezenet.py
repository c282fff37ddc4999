"""SqueezeNet against torchvision, and its authors' network for ImageNet."""

import jax
import numpy as np
import pytest

import fcn
from fcn.encoders.squeezenet import SQUEEZENETS
from tests.parity.encoders import assert_gradients_equal, assert_tensors_equal
from tests.parity.reference import assert_close, nchw, nhwc, random_like, torch, torchvision


def reference(name, device="cpu"):
    with torch.device(device):
        return getattr(torchvision().models, name)()


def maps(net, x):
    """What stands before each max-pool, and at the end."""
    found = []
    for layer in net.features:
        if isinstance(layer, torch.nn.MaxPool2d):
            found.append(x)
        x = layer(x)
    return [*found, x]


@pytest.mark.parametrize("name", SQUEEZENETS)
def test_maps(name):
    net = reference(name).eval()
    state = random_like(net.state_dict())
    net.load_state_dict(state)
    encoder = fcn.create_encoder(name)
    variables = fcn.from_torch(encoder, state, source="torchvision")
    for size in ((96, 160), (65, 97), (21, 24)):
        x = np.random.default_rng(0).normal(size=(1, *size, 3)).astype(np.float32)
        with torch.inference_mode():
            expected = [nhwc(m) for m in maps(net, nchw(x))]
        given = jax.jit(encoder.apply)(variables, x)
        for ours, theirs in zip(given, expected, strict=True):
            assert_close(ours, theirs)
        assert tuple(m.shape[-1] for m in given) == SQUEEZENETS[name].channels
    shallow = jax.jit(fcn.create_encoder(name, depth=3).apply)(variables, x)
    assert [np.array_equal(*pair) for pair in zip(shallow, given)] == [True] * 3


def test_training():
    assert_gradients_equal("squeezenet1_1", reference("squeezenet1_1"), source="torchvision", maps=maps)


@pytest.mark.parametrize("name", SQUEEZENETS)
def test_tensors(name):
    net = reference(name, "meta")
    net.classifier = torch.nn.Identity()
    assert_tensors_equal(name, net, source="torchvision")


@pytest.mark.parametrize("name", SQUEEZENETS)
def test_classifier_and_round_trip(name):
    net = reference(name).eval()
    state = random_like(net.state_dict())
    net.load_state_dict(state)
    model = fcn.create_classifier(name)
    variables = fcn.from_torch(model, state, source="torchvision")
    x = np.random.default_rng(0).normal(size=(2, 65, 97, 3)).astype(np.float32)
    with torch.inference_mode():
        assert_close(jax.jit(model.apply)(variables, x), net(nchw(x)).numpy())
    back = fcn.to_torch(model, variables, source="torchvision")
    net.load_state_dict(back, strict=True)
    assert all(torch.equal(back[key], tensor) for key, tensor in state.items())


def test_small_images_are_extended():
    encoder = fcn.create_encoder("squeezenet1_0")
    shapes = jax.eval_shape(encoder.init_with_output, jax.random.key(0), np.zeros((1, 1, 1, 3), np.float32))[0]
    assert [m.shape[1:3] for m in shapes] == [(8, 8), (4, 4), (2, 2), (1, 1)]


def test_the_authors_network_names_cat_and_espresso(shared_data):
    """Its outputs are those of the original, in Caffe's order of channels."""
    folder = shared_data / "weights" / "squeezenet_imagenet"
    model = fcn.create_classifier("squeezenet1_0", head_padding=1)
    variables = fcn.from_torch(model, folder / "squeezenet_v1.0_imagenet.npz", source="caffe")
    expected = np.load(folder / "reference.npz")
    x = expected["crops_rgb_uint8_nhwc"][..., ::-1].astype(np.float32) - np.array([104, 117, 123], np.float32)
    logits = jax.jit(model.apply)(variables, x)
    assert_close(logits, expected["logits"])
    labels = (folder / "imagenet_labels.txt").read_text().splitlines()
    named = [labels[i] for i in np.argmax(logits, axis=-1)]
    assert "Egyptian cat" in named[0] and "espresso" in named[1] and "macaw" in named[2]


@pytest.mark.parametrize(("source", "padding"), [("caffe", 1), ("torchvision", 0)])
def test_a_head_of_the_other_form_is_refused(source, padding):
    """The tensors would fit, and the outputs would be wrong."""
    model = fcn.create_classifier("squeezenet1_1", head_padding=1 - padding)
    with pytest.raises(ValueError, match=f"pad.* its head: build it with head_padding={padding}"):
        fcn.from_torch(model, {}, source=source)
