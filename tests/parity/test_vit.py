"""Vision Transformers against timm: maps and class tokens, at any size."""

from functools import partial

import jax
import numpy as np
import pytest

import fcn
from fcn.encoders.vit import VISION_TRANSFORMERS
from tests.parity.classifiers import assert_classifier_equal, timm
from tests.parity.encoders import assert_gradients_equal, assert_tensors_equal
from tests.parity.reference import assert_close, nchw, nhwc, random_like, torch
from tests.variables import random_variables

SMALLEST, LARGE = "vit_small_patch16", "vit_base_patch16"


def reference(name, device=None, **options):
    """timm's network without its classifier."""
    net = timm(f"{name}_224", device, dynamic_img_size=True, **options)
    net.norm = net.head = torch.nn.Identity()
    return net


def maps(net, x, indices):
    """After some of its blocks."""
    return net.forward_intermediates(x, indices=indices, intermediates_only=True)


def images(size):
    return np.random.default_rng(0).normal(size=(2, *size, 3)).astype(np.float32)


@pytest.mark.parametrize(("name", "options", "indices"), [(SMALLEST, {}, (2, 5, 8, 11)), (LARGE, {"indices": (0, 1)}, (0, 1))])
def test_maps(name, options, indices):
    """Positions are resized: shrunk along one side, stretched along the other. Of the wider one, two blocks."""
    net = reference(name).eval()
    net.blocks = net.blocks[: indices[-1] + 1]
    net.load_state_dict(random_like(net.state_dict()))
    encoder = fcn.create_encoder(name, **options)
    x = images((96, 256))
    with torch.inference_mode():
        expected = maps(net, nchw(x), indices)
    given = jax.jit(encoder.apply)(fcn.from_torch(encoder, net.state_dict(), source="timm"), x)
    for ours, theirs in zip(given, expected, strict=True):
        assert_close(ours, nhwc(theirs))


@pytest.mark.parametrize("size", [(48, 32), (224, 224)])
def test_tokens_of_chosen_blocks(size):
    """Beside the maps; blocks after the last one are left out."""
    net = reference(SMALLEST).eval()
    net.load_state_dict(random_like(net.state_dict()))
    encoder = fcn.create_encoder(SMALLEST, indices=(-11, 0))
    variables = fcn.from_torch(encoder, net.state_dict(), source="timm")
    assert sorted(key for key in variables["params"] if key.startswith("blocks")) == ["blocks_0", "blocks_1"]
    x = images(size)
    with torch.inference_mode():
        expected = net.forward_intermediates(nchw(x), indices=(0, 1), intermediates_only=True, return_prefix_tokens=True)
    given = jax.jit(lambda v, x: encoder.apply(v, x, method="with_tokens"))(variables, x)
    for (feature, token), (their_feature, their_token) in zip(given, expected, strict=True):
        assert_close(feature, nhwc(their_feature))
        assert_close(token, their_token[:, 0].numpy())


def test_image_size():
    """Positions learned for images of another size."""
    net = reference(SMALLEST, img_size=64).eval()
    net.load_state_dict(random_like(net.state_dict()))
    encoder = fcn.create_encoder(SMALLEST, img_size=64, indices=(0,))
    x = images((64, 64))
    with torch.inference_mode():
        (expected,) = maps(net, nchw(x), (0,))
    (given,) = jax.jit(encoder.apply)(fcn.from_torch(encoder, net.state_dict(), source="timm"), x)
    assert_close(given, nhwc(expected))


def test_training():
    """The first two blocks."""
    net = reference(SMALLEST)
    net.blocks = net.blocks[:2]
    assert_gradients_equal(SMALLEST, net, source="timm", maps=lambda net, x: maps(net, x, (1,)), indices=(1,))


def test_other_sizes_are_extended():
    encoder = fcn.create_encoder(SMALLEST, indices=(0,))
    x = images((17, 32))
    variables = random_variables(encoder, *x.shape)
    (given,) = jax.jit(encoder.apply)(variables, x)
    (expected,) = jax.jit(encoder.apply)(variables, np.pad(x, ((0, 0), (0, 15), (0, 0), (0, 0)), mode="edge"))
    assert given.shape == (2, 2, 2, 384)
    np.testing.assert_array_equal(given, expected)


@pytest.mark.parametrize("name", VISION_TRANSFORMERS)
def test_tensors(name):
    assert_tensors_equal(name, reference(name, device="meta"), source="timm")


def test_classifier():
    """Of two blocks; and its weights back to timm's names."""
    model = fcn.create_classifier(SMALLEST)
    model = model.copy(encoder=model.encoder.copy(blocks=2))
    assert_classifier_equal(model, timm("vit_small_patch16_224", depth=2, dynamic_img_size=True), size=(64, 96))


def test_other_decoders():
    """Only the last map has a stride that they take; the image is halved four times."""
    unet = partial(fcn.create_model, "unet", num_classes=2, encoder=SMALLEST)
    init = jax.eval_shape(unet(encoder_depth=4, decoder_channels=(8, 8, 8, 8)).init, jax.random.key(0), images((32, 32)))
    assert init["params"]["encoder"]["patch_embed"]["proj"]["kernel"].shape == (16, 16, 3, 384)
    with pytest.raises(ValueError, match="halves the image 4 times; use encoder_depth=4"):
        jax.eval_shape(unet().init, jax.random.key(0), images((32, 32)))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"depth": 3}, "all maps of a ViT have stride 16"),
        ({"output_stride": 8}, "all maps of a ViT have stride 16"),
        ({"indices": (12,)}, "there are 12 blocks, from 0 to 11"),
    ],
)
def test_errors(options, message):
    with pytest.raises(ValueError, match=message):
        jax.eval_shape(fcn.create_encoder(SMALLEST, **options).init, jax.random.key(0), images((16, 16)))
