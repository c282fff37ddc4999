"""Swin Transformers against timm, and against smp's names."""

import jax
import numpy as np
import pytest

import fcn
from fcn.encoders.swin import SWINS
from tests.parity.classifiers import assert_classifier_equal, timm
from tests.parity.encoders import assert_gradients_equal, assert_tensors_equal, smp_encoder, smp_maps
from tests.parity.models import CLASSES, assert_model_round_trip, smp_model
from tests.parity.reference import assert_close, nchw, nhwc, random_like, torch
from tests.variables import random_variables

SMALLEST = "swin_tiny"
FULL = 13
"""Rows and columns of the table of position biases of 7x7 windows."""


def reference(name, device=None, **options):
    """timm's network without its classifier."""
    net = timm(f"{name}_patch4_window7_224", device, drop_path_rate=0.0, **options)
    net.norm = net.head = torch.nn.Identity()
    return net


def maps(net, x):
    """After each stage."""
    return net.forward_intermediates(x, intermediates_only=True)


def shorter(state, net):
    """`state` with the middle of each table of position biases, as much as `net` has of it."""
    windows = {name: layer.window_size for name, layer in net.named_modules() if hasattr(layer, "relative_position_bias_table")}
    cut = dict(state)
    for name, window in windows.items():
        table = state[f"{name}.relative_position_bias_table"]
        rows, columns = (slice(7 - side, 6 + side) for side in window)
        table = table.reshape(FULL, FULL, -1)[rows, columns].reshape(-1, table.shape[-1])
        cut[f"{name}.relative_position_bias_table"] = table
    return cut


def assert_maps_equal(name, size, depth=5):
    """timm's network is built for images of this size, with the weights of one built for 224x224."""
    net, full = reference(name, img_size=size).eval(), reference(name)
    net.layers, full.layers = net.layers[: depth - 1], full.layers[: depth - 1]
    state = random_like(full.state_dict())
    net.load_state_dict(shorter(state, net))
    encoder = fcn.create_encoder(name, depth=depth)
    x = np.random.default_rng(0).normal(size=(2, *size, 3)).astype(np.float32)
    with torch.inference_mode():
        expected = maps(net, nchw(x))
    given = jax.jit(encoder.apply)(fcn.from_torch(encoder, state, source="timm"), x)
    assert len(given) == depth - 1
    for ours, theirs in zip(given, expected, strict=True):
        assert_close(ours, nhwc(theirs))


def test_encoder():
    assert_maps_equal(SMALLEST, (96, 160))


@pytest.mark.parametrize("size", [(65, 97), (4, 131), (20, 56)])
def test_windows(size):
    """Shifted or not, filled up or not, and of a whole side of the map; up to stride 8."""
    assert_maps_equal(SMALLEST, size, depth=3)


@pytest.mark.slow
@pytest.mark.parametrize("size", [(65, 97), (224, 224)])
def test_sizes(size):
    assert_maps_equal(SMALLEST, size)


def test_smp_names():
    size = (224, 256)
    net = smp_encoder("tu-swin_tiny_patch4_window7_224", depth=3, img_size=size).eval()
    net.load_state_dict(random_like(net.state_dict()))
    encoder = fcn.create_encoder(SMALLEST, depth=3)
    x = np.random.default_rng(0).normal(size=(1, *size, 3)).astype(np.float32)
    with torch.inference_mode():
        expected = smp_maps(net, nchw(x))
    given = jax.jit(encoder.apply)(fcn.from_torch(encoder, net.state_dict(), source="smp"), x)
    for ours, theirs in zip(given, expected, strict=True):
        assert_close(ours, nhwc(theirs))


def test_smp_names_in_a_model():
    options = {"encoder_depth": 3, "decoder_channels": (8, 8, 8)}
    net = smp_model("Unet", encoder_name="tu-swin_tiny_patch4_window7_224", **options)
    assert_model_round_trip(fcn.create_model("unet", num_classes=CLASSES, encoder=SMALLEST, **options), net)


def test_training():
    """Up to stride 8, of 64 pixels, so that windows are shifted."""
    net = reference(SMALLEST, img_size=64)
    net.layers = net.layers[:2]
    assert_gradients_equal(SMALLEST, net, source="timm", maps=maps, depth=3)


@pytest.mark.parametrize("name", SWINS)
def test_tensors(name):
    """There is a column of position biases for each head."""
    assert_tensors_equal(name, reference(name, device="meta"), source="timm")


def test_classifier():
    """Of one block in each stage; and its weights back to timm's names."""
    model, blocks = fcn.create_classifier(SMALLEST), (1, 1, 1, 1)
    model = model.copy(encoder=model.encoder.copy(blocks=blocks))
    assert_classifier_equal(model, timm("swin_tiny_patch4_window7_224", depths=blocks), size=(224, 224))


def test_drop_path_depends_on_its_key():
    encoder = fcn.create_encoder(SMALLEST, depth=3, drop_path_rate=0.5)
    x = np.ones((4, 16, 16, 3), np.float32)
    variables = random_variables(encoder, *x.shape)
    apply = jax.jit(lambda key: encoder.apply(variables, x, train=True, rngs={"dropout": key})[-1])
    first, again, other = (apply(jax.random.key(key)) for key in (0, 0, 1))
    np.testing.assert_array_equal(first, again)
    assert not np.array_equal(first, other)


def test_tiny_images_are_extended():
    encoder = fcn.create_encoder(SMALLEST)
    shapes, _ = jax.eval_shape(encoder.init_with_output, jax.random.key(0), np.zeros((1, 1, 37, 3), np.float32))
    assert [m.shape[1:3] for m in shapes] == [(1, 9), (1, 5), (1, 3), (1, 2)]
