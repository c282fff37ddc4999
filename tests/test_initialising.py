"""`fcn.init`: first variables with trained ones in their place."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax.traverse_util import flatten_dict

import fcn
from fcn.models.fpn import FPN
from fcn.pretrained import origin
from tests.models.test_with_encoder import ROW, Tiny
from tests.variables import random_variables

IMAGES = np.zeros((1, 32, 32, 3), np.float32)
OPTIONS = {"num_classes": 2, "encoder_depth": 3, "decoder_pyramid_channels": 4, "decoder_segmentation_channels": 32}


def fpn(encoder, **options):
    return fcn.create_model("fpn", encoder=encoder, **OPTIONS | options)


def assert_placed(variables, trained, rest):
    """All of `trained` is there, by path, and else what `rest` has."""
    found, trained, rest = (flatten_dict(tree) for tree in (variables, trained, rest))
    assert found.keys() == rest.keys() and trained.keys() <= found.keys()
    for path, value in found.items():
        np.testing.assert_array_equal(value, trained.get(path, rest[path]))


def test_an_encoder_goes_to_its_place_and_it_is_said():
    """Given as its own variables, or as those of a whole model with another number of classes."""
    model, said, key = fpn(ROW), [], jax.random.key(0)
    fresh, trained = model.init(key, IMAGES), random_variables(Tiny(), *IMAGES.shape)
    variables = fcn.init(model, key, IMAGES, weights=trained, tell=said.append)
    assert_placed(variables, {"params": {"encoder": trained["params"]}}, fresh)
    assert said == ["starting from what was given: 6 of 37 arrays; new: decoder, segmentation_head"]
    other = random_variables(fpn(ROW, num_classes=3), *IMAGES.shape)
    variables = fcn.init(model, key, IMAGES, weights=other, tell=said.append)
    fitting = {part: leaves for part, leaves in other["params"].items() if part != "segmentation_head"}
    assert_placed(variables, {"params": fitting}, fresh)
    assert said[1].endswith("35 of 37 arrays; new: segmentation_head")


def test_without_weights_and_silently(capsys):
    model, key = Tiny(), jax.random.key(3)
    assert_placed(fcn.init(model, key, IMAGES), {}, model.init(key, IMAGES))
    fcn.init(model, key, IMAGES, weights=model.init(key, IMAGES), tell=None)
    assert capsys.readouterr().out == ""


class Own(FPN):
    """Of no row."""


@pytest.mark.parametrize("model", [fpn("vgg11"), Own(2, "vgg11"), fcn.create_encoder("vgg11"), fcn.create_classifier("vgg11")])
def test_published_weights_are_asked_for_by_name(model, monkeypatch):
    """Those of a backbone go to the encoder of a segmentation model, and to all of an encoder or classifier."""
    asked = []

    def load_weights(name, *, model, in_channels):
        asked.append((name, type(model).__name__, in_channels))
        raise ConnectionError("no network")

    monkeypatch.setattr(origin, "load_weights", load_weights)
    monkeypatch.setattr(type(model), "init", lambda *_: {})
    with pytest.raises(ConnectionError, match="no network"):
        fcn.init(model, jax.random.key(0), IMAGES, weights="vgg11.imagenet1k_v1")
    wanted = "VGG" if type(model).__name__ in ("VGG", "FPN", "Own") else type(model).__name__
    assert asked == [("vgg11.imagenet1k_v1", wanted, 3)]


def test_a_saved_model(tmp_path, capsys):
    model = fcn.create_model("unet", num_classes=2, base_features=2, depth=1)
    saved = random_variables(model, 1, 32, 32, 3)
    fcn.save(tmp_path / "saved", model, saved)
    assert_placed(fcn.init(model, jax.random.key(0), IMAGES, weights=tmp_path / "saved"), saved, saved)
    assert capsys.readouterr().out == f"starting from {tmp_path / 'saved'}: 34 of 34 arrays; new: none\n"


def test_a_saved_encoder_goes_to_its_place(tmp_path):
    """Its first layer too, where images have as many channels; it is left out where they have not."""
    encoder, said = fcn.create_encoder("vgg11", depth=3, width_multiplier=1 / 32), []
    trained = random_variables(encoder, *IMAGES.shape)
    fcn.save(tmp_path / "saved", encoder, trained)
    model, key = fpn(encoder), jax.random.key(0)
    variables = fcn.init(model, key, IMAGES, weights=tmp_path / "saved", tell=said.append)
    assert_placed(variables, {"params": {"encoder": trained["params"]}}, model.init(key, IMAGES))
    fcn.init(model, key, IMAGES[..., :1], weights=tmp_path / "saved", tell=said.append)
    assert said[1].split("new: ")[1].startswith("decoder, encoder/")


@pytest.mark.parametrize(
    ("encoder", "weights", "message"),
    [
        ("vgg11", "resnet18.imagenet1k_v1", "is for the encoder resnet18, but the model's encoder is vgg11"),
        ("vgg11", "resnet19.imagenet1k_v1", "unknown weights 'resnet19.imagenet1k_v1'; did you mean 'resnet1"),
        ("vgg11", "nowhere/x.pth", "nowhere/x.pth is no checkpoint file or saved model"),
        (Tiny(), {"params": {"other": {"kernel": jnp.ones(3)}}}, "what was given has no variable in common with FPN"),
    ],
)
def test_errors(encoder, weights, message, monkeypatch):
    monkeypatch.setattr(fcn.models.fpn.FPN, "init", lambda *_: {"params": {"encoder": {"kernel": np.ones(3, np.float32)}}})
    with pytest.raises((ValueError, FileNotFoundError), match=message):
        fcn.init(fpn(encoder), jax.random.key(0), IMAGES, weights=weights)
