"""`fcn.save` and `fcn.load`: the same network again, nothing overwritten, nothing half-written, nothing misunderstood."""

import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from safetensors import SafetensorError

import fcn
from fcn.preprocessing import Preprocessing
from tests.variables import random_variables

MODELS = {
    "unet": lambda: fcn.create_model("unet", num_classes=3, base_features=4, depth=2, dtype=jnp.bfloat16),
    "fcn8s": lambda: fcn.create_model("fcn8s", num_classes=3, encoder="vgg11_bn", width_multiplier=1 / 32, fc_features=8),
    "options in dictionaries": lambda: fcn.create_model(
        "linknet",
        num_classes=3,
        encoder="resnet18",
        encoder_depth=3,
        decoder_use_norm={"type": "batchnorm", "eps": 1e-3},
        aux_params={"classes": 4, "pooling": "max"},
    ),
    "encoder": lambda: fcn.create_encoder("resnet18", depth=3),
    "classifier": lambda: fcn.create_classifier("vgg11", num_classes=3, width_multiplier=1 / 32, fc_features=8),
    "low precision": lambda: fcn.create_model("unet", num_classes=3, base_features=4, depth=1, param_dtype=jnp.bfloat16),
}


@pytest.fixture
def saved(tmp_path):
    model = MODELS["unet"]()
    variables = random_variables(model, 1, 16, 16, 3)
    fcn.save(tmp_path / "saved", model, variables, classes=["sky", "road", "car"])
    return tmp_path / "saved"


@pytest.mark.parametrize("name", MODELS)
def test_there_and_back(tmp_path, name):
    model = MODELS[name]()
    variables = random_variables(model, 1, 64, 64, 3)
    facts = {
        "classes": ("sky", "road", "car"),
        "palette": ((0, 0, 255), (90, 90, 90), (255, 0, 0)),
        "preprocessing": Preprocessing((0.5, 0.4, 0.3), (0.2, 0.2, 0.25), name == "unet", (0, 4095), (30, 40)),
        "licence": "CC0",
    }
    fcn.save(tmp_path / "deep" / "saved", model, variables, **facts)
    again = fcn.load(tmp_path / "deep" / "saved")
    assert again.model == model
    assert again._asdict() | facts == again._asdict()
    assert jax.tree.structure(again.variables) == jax.tree.structure(variables)
    for ours, theirs in zip(*map(jax.tree.leaves, (again.variables, variables)), strict=True):
        assert ours.dtype == theirs.dtype
        np.testing.assert_array_equal(ours, theirs)


def test_statistics_may_be_given_without_the_record(saved, tmp_path):
    model, variables, *_ = fcn.load(saved)
    fcn.save(tmp_path / "again", model, variables, mean=[0, 0.5, 1], std=[1, 2, 3], bgr=True)
    again = fcn.load(tmp_path / "again")
    assert again.preprocessing == Preprocessing((0.0, 0.5, 1.0), (1.0, 2.0, 3.0), bgr=True)
    assert (again.mean, again.std, again.bgr) == ((0.0, 0.5, 1.0), (1.0, 2.0, 3.0), True)
    with pytest.raises(ValueError, match="give either the record or these"):
        fcn.save(tmp_path / "both", model, variables, mean=[0, 0, 0], preprocessing=Preprocessing())


def test_every_model_can_be_saved():
    """All that `create_model` gives by default is described and rebuilt, without its variables."""
    from fcn.pretrained.saving import _describe, _rebuild

    for name in fcn.list_models():
        model = fcn.create_model(name, num_classes=2)
        assert _rebuild(json.loads(json.dumps(_describe(model)))) == model, name
    for name in fcn.list_encoders():
        model = fcn.create_encoder(name)
        assert _rebuild(json.loads(json.dumps(_describe(model)))) == model, name


def test_nothing_is_overwritten(saved):
    before = {file.name: file.read_bytes() for file in saved.iterdir()}
    model = MODELS["unet"]()
    with pytest.raises(FileExistsError, match="saved exists already; nothing was written"):
        fcn.save(saved, model, random_variables(model, 1, 16, 16, 3, seed=1))
    assert {file.name: file.read_bytes() for file in saved.iterdir()} == before


def test_nothing_is_half_written(tmp_path):
    with pytest.raises(ValueError, match=r"Foreign is not a module of fcn.models or fcn.encoders"):
        import flax.linen as nn

        class Foreign(nn.Module):
            pass

        fcn.save(tmp_path / "saved", Foreign(), {})
    model = MODELS["unet"]()
    variables = random_variables(model, 1, 16, 16, 3)
    variables["params"]["head"]["bias"] = np.array([object()] * 3)
    with pytest.raises(SafetensorError):
        fcn.save(tmp_path / "saved", model, variables)
    assert list(tmp_path.iterdir()) == []


def test_variables_of_any_channels_and_of_valid_convolutions(tmp_path):
    for number, (name, side, channels) in enumerate((("unet", 16, 5), ("unet2015", 188, 1))):
        model = fcn.create_model(name, num_classes=2, base_features=2)
        fcn.save(tmp_path / str(number), model, random_variables(model, 1, side, side, channels))


def test_variables_that_are_not_the_models(tmp_path):
    model = MODELS["unet"]()
    variables = random_variables(model, 1, 16, 16, 3)
    other = fcn.create_model("unet", num_classes=3, base_features=8, depth=2)
    for given, message in (
        ({}, "these variables are not those of UNet: .* and \\d+ more; give all collections"),
        (variables["params"], "give all collections, {'params': ..., 'batch_stats': ...}"),
        ({"params": variables["params"]}, r"not those of UNet: batch_stats/decoder0/block0/bn/mean, .* and 15 more$"),
        (random_variables(other, 1, 16, 16, 3), "not those of UNet: batch_stats/decoder0/block0/bn/mean, "),
        (variables | {"more": {"x": np.zeros(1)}}, "not those of UNet: more/x$"),
    ):
        with pytest.raises(ValueError, match=message):
            fcn.save(tmp_path / "saved", model, given)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("facts", "message"),
    [
        ({"classes": ["sky", "road"]}, "classes has 2 entries, but the model has 3 classes"),
        ({"palette": [(0, 0, 0)]}, "palette has 1 entries, but the model has 3 classes"),
        ({"palette": [(0, 0, 0), (1, 1, 300), (2, 2, 2)]}, r"palette has the colour \[1, 1, 300\]; give red, green and blue"),
    ],
)
def test_facts_that_do_not_fit(tmp_path, facts, message):
    model = MODELS["unet"]()
    with pytest.raises(ValueError, match=message):
        fcn.save(tmp_path / "saved", model, random_variables(model, 1, 16, 16, 3), **facts)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda d: d.update(format=2), "has format 2; this version of fcn reads format 1"),
        (lambda d: d.update(colour="red"), "model.json says colour, which this version of fcn does not know"),
        (lambda d: d.update(preprocessing={"std": [1, 0, 1]}), r"model.json: std is \(1, 0, 1\); it must be above 0"),
        (
            lambda d: d.update(preprocessing={"stdd": [1]}),
            "unknown field of preprocessing 'stdd'; did you mean 'std'",
        ),
        (lambda d: d["model"].update(type="UNett"), "unknown module 'UNett'; did you mean 'UNet'"),
        (lambda d: d["model"]["fields"].update(base_feature=3), "unknown field of UNet 'base_feature'; did you mean"),
    ],
)
def test_what_is_not_understood_is_refused(saved, change, message):
    description = json.loads((saved / "model.json").read_text())
    change(description)
    (saved / "model.json").write_text(json.dumps(description))
    with pytest.raises(ValueError, match=message):
        fcn.load(saved)


def test_missing_files(saved, tmp_path):
    (saved / "variables.safetensors").unlink()
    with pytest.raises(FileNotFoundError, match=r"it has no variables.safetensors"):
        fcn.load(saved)
    with pytest.raises(FileNotFoundError, match=r"it has no model.json"):
        fcn.load(tmp_path / "nothing")
