"""Runs that start from weights: all that fits is taken, the rest is new, and what cannot be read is told."""

import dataclasses
import json
from pathlib import Path
from types import SimpleNamespace

import jax
import numpy as np
import optax
import pytest
from flax.traverse_util import flatten_dict

import fcn
from experiments.building.build import Experiment, load_data, open_experiment
from experiments.building.initialise import find_weights, preprocessing_of, start_from
from experiments.building.normalisation import configured
from experiments.configuration.config import DataConfig, ModelConfig, TrainConfig
from fcn.data import read_image
from fcn.preprocessing import IMAGENET_MEAN, Preprocessing
from fcn.registry import MODELS
from fcn.training import create_state
from tests.variables import random_variables, shapes_of

SHAPE = (32, 32, 3)


def unet(classes, **options):
    return fcn.create_model("unet", num_classes=classes, base_features=4, depth=2, **options)


def state_of(model):
    return create_state(model, optax.sgd(0.1), jax.random.key(0), SHAPE, ema=True)


def test_a_saved_model_of_other_classes(tmp_path, capsys, monkeypatch):
    """All but the head, in the parameters, the statistics and the moving average."""
    old, new = unet(5), unet(3)
    variables = random_variables(old, 1, *SHAPE)
    fcn.save(tmp_path / "saved", old, variables)
    before = state_of(new)
    state = start_from(before, new, str(tmp_path / "saved"), None, 3)
    for tree in (state.variables, state.ema):
        for path, value in flatten_dict(tree).items():
            source = before.variables if path[1] == "head" else variables
            np.testing.assert_array_equal(value, flatten_dict(source)[path])
    assert "54 of 56 arrays; new: head" in capsys.readouterr().out
    monkeypatch.setattr(jax, "process_index", lambda: 1)
    start_from(before, new, str(tmp_path / "saved"), None, 3)
    assert capsys.readouterr().out == ""  # the first process has said it
    pointers = [leaf.unsafe_buffer_pointer() for leaf in jax.tree.leaves([state.params, state.model_state, state.ema])]
    assert len(set(pointers)) == len(pointers)  # the step consumes its buffers: none may be there twice


def test_errors(tmp_path):
    model = unet(3)
    state = state_of(model)
    with pytest.raises(ValueError, match=r"unknown weights 'resnet50.imagenet'; did you mean"):
        start_from(state, model, "resnet50.imagenet", None, 3)
    with pytest.raises(
        ValueError, match=r"resnet50.imagenet1k_v1 is for the encoder resnet50, but the model's encoder is None"
    ):
        start_from(state, model, "resnet50.imagenet1k_v1", None, 3)
    with pytest.raises(FileNotFoundError, match=r"none.pth is no checkpoint file or saved model"):
        start_from(state, model, str(tmp_path / "none.pth"), None, 3)
    (tmp_path / "there.pth").write_bytes(b"")
    with pytest.raises(
        ValueError, match=r"there.pth is a checkpoint file; say whose names it has \(source=, on .* --source, or --init-source"
    ):
        start_from(state, model, str(tmp_path / "there.pth"), None, 3)
    (tmp_path / "photo.png").touch()
    with pytest.raises(
        ValueError, match=r"photo.png is no checkpoint that can be read; known are .safetensors, .* .ckpt, .bin, .h5, .hdf5$"
    ):
        start_from(state, model, str(tmp_path / "photo.png"), None, 3)
    with pytest.raises(FileNotFoundError, match=f"{tmp_path} is no saved model or run folder"):
        start_from(state, model, str(tmp_path), None, 3)
    other = fcn.create_encoder("vgg11", width_multiplier=1 / 32)
    fcn.save(tmp_path / "other", other, random_variables(other, 1, 32, 32, 3))
    with pytest.raises(ValueError, match="other has no variable in common with UNet"):
        start_from(state, model, str(tmp_path / "other"), None, 3)


@pytest.mark.parametrize(("name", "place"), [("unet", "encoder"), ("fcn", "backbone")])
def test_a_file_of_an_encoder(tmp_path, name, place):
    """Where the source has no weights for the whole network."""
    torch = pytest.importorskip("torch", reason="checkpoints of other implementations take PyTorch: install '.[parity]'")
    encoder = fcn.create_encoder("resnet18")
    variables = random_variables(encoder, 1, 64, 64, 3)
    torch.save(fcn.to_torch(encoder, variables, source="timm"), tmp_path / "resnet18.pth")
    model = fcn.create_model(name, num_classes=2, encoder="resnet18")
    given = flatten_dict(find_weights(model, str(tmp_path / "resnet18.pth"), "timm").read(3))
    assert given.keys() == {(path[0], place, *path[1:]) for path in flatten_dict(variables)}
    for path, value in flatten_dict(variables).items():
        np.testing.assert_array_equal(given[path[0], place, *path[1:]], value)
    assert given.keys() <= flatten_dict(shapes_of(model, 1, 64, 64, 3)).keys()


@pytest.fixture
def in_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


ESPNET = MODELS["espnet"].preprocessing
HALF = Preprocessing((0.5,) * 3, (0.5,) * 3)


@pytest.mark.parametrize(
    ("model", "options", "weights", "source", "channels", "expected"),
    [
        ("espnet", {"p": 1, "q": 1}, "espnet.camvid", None, 3, ESPNET),
        ("espnet", {"p": 1, "q": 1}, "file.pth", "espnet", 3, ESPNET),
        ("espnet", {"p": 1, "q": 1}, "file.pth", "espnet", 1, ESPNET.with_channels(1)),
        ("dpt", {}, "vit_base_patch16.augreg_in21k", None, 3, HALF),
        ("dpt", {}, "file.pth", "smp", 3, HALF),
        ("dpt", {}, "file.pth", "timm", 3, HALF),
        ("unet", {"encoder": "resnet18"}, "resnet18.imagenet1k_v1", None, 3, Preprocessing()),
        ("fcn", {"encoder": "resnet18"}, "file.pth", "timm", 3, Preprocessing()),
    ],
)
def test_images_are_given_as_the_weights_expect_them(
    model, options, weights, source, channels, expected, tmp_path, monkeypatch
):
    monkeypatch.chdir(tmp_path)
    Path("file.pth").touch()
    assert preprocessing_of(fcn.create_model(model, num_classes=2, **options), weights, source, channels) == expected


def test_images_are_given_as_a_saved_model_or_a_run_expects_them(tmp_path):
    model = unet(2)
    fcn.save(tmp_path / "saved", model, random_variables(model, 1, *SHAPE), preprocessing=ESPNET)
    (tmp_path / "saved" / "variables.safetensors").write_bytes(b"")  # it is not read for this
    assert preprocessing_of(model, str(tmp_path / "saved"), None, 3) == ESPNET
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "config.json").write_text("{}")
    facts = {"classes": ["a"], "palette": [[0, 0, 0]], "image_shape": [4, 6, 3], "preprocessing": HALF.to_json()}
    (tmp_path / "run" / "data.json").write_text(json.dumps(facts))
    assert preprocessing_of(model, str(tmp_path / "run"), None, 3) == HALF


def started_from(expected, data, tmp_path, **fields):
    """The configuration of a run that starts from a saved model which expects images so."""
    fcn.save(tmp_path / "saved", unet(2), random_variables(unet(2), 1, *SHAPE), preprocessing=expected)
    options = ModelConfig("unet", None, ("base_features=4", "depth=2"))
    data = DataConfig("folder", str(data), **fields)
    return TrainConfig(init=str(tmp_path / "saved"), batch_size=8, data=data, model=options)


def test_a_training_from_espnets_weights_sees_blue_first(folder_data, tmp_path):
    """The experiment's objects are given what the weights expect, and the size."""
    config = started_from(ESPNET, folder_data, tmp_path, size=(12, 16))
    source = load_data(config.data, "val")
    assert Experiment(config, source, source).preprocessing == dataclasses.replace(ESPNET, size=(12, 16))


@pytest.mark.parametrize(
    ("fields", "mean"),
    [
        ({"mean": (0.1, 0.2, 0.3), "std": (1.0, 1.0, 1.0)}, (0.1, 0.2, 0.3)),
        ({"normalise": "imagenet"}, IMAGENET_MEAN[::-1]),
        ({"normalise": "dataset"}, (0.3, 0.2, 0.1)),
        ({"normalise": "percentiles"}, (0.0, 0.0, 0.0)),
    ],
)
def test_other_statistics_are_in_the_order_of_the_weights(monkeypatch, fields, mean):
    monkeypatch.setattr("experiments.building.normalisation.statistics", lambda train: ((0.1, 0.2, 0.3), (1.0, 1.0, 1.0)))
    images = SimpleNamespace(shape=(4, 6, 3))
    found = configured(DataConfig(**fields), ESPNET, images)
    assert found.bgr and found.mean == mean
    assert configured(DataConfig(**fields), HALF, images).mean == (mean if "mean" in fields else mean[::-1])


def test_images_are_stretched_for_weights_that_expect_it(folder_data, tmp_path):
    """Also when the run goes on, which reads its own record; where something else is asked for, they are not."""
    expected = Preprocessing((0.0,) * 3, (1.0,) * 3, per_image="percentiles")
    config = started_from(expected, folder_data, tmp_path)
    file = folder_data / "images" / "train" / "00.png"
    for record in (None, expected):
        experiment = open_experiment(config, record)
        assert experiment.preprocessing == expected and experiment.config == config
        np.testing.assert_array_equal(experiment.train[0]["image"], read_image(file, per_image="percentiles"))
    with pytest.raises(ValueError, match=r"saved expects each image stretched \(percentiles\), .*by data\.normalise"):
        open_experiment(dataclasses.replace(config, data=DataConfig()))
    asked = dataclasses.replace(config, data=dataclasses.replace(config.data, normalise="imagenet"))
    np.testing.assert_array_equal(open_experiment(asked).train[0]["image"], read_image(file))
