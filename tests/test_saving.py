"""`fcn.save` and `fcn.load`: the same network again, nothing overwritten, nothing half-written, nothing misunderstood."""

import json
import os
import shutil

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import safetensors.numpy
from flax.traverse_util import unflatten_dict

import fcn
from fcn.preprocessing import Preprocessing
from fcn.pretrained.saving import _record
from tests.conftest import ROOT
from tests.variables import random_variables

FIXTURES = ROOT / "tests" / "fixtures"

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


@pytest.fixture(scope="module")
def original(tmp_path_factory):
    model = MODELS["unet"]()
    folder = tmp_path_factory.mktemp("original") / "saved"
    fcn.save(folder, model, random_variables(model, 1, 16, 16, 3), classes=["sky", "road", "car"])
    return folder


@pytest.fixture
def saved(original, tmp_path):
    """A copy, to be changed."""
    return shutil.copytree(original, tmp_path / "saved")


@pytest.mark.parametrize("name", MODELS)
def test_there_and_back(tmp_path, name):
    model = MODELS[name]()
    variables = random_variables(model, 1, 64, 64, 3)
    facts = {
        "classes": ("sky", "road", "car"),
        "palette": ((0, 0, 255), (90, 90, 90), (255, 0, 0)),
        "preprocessing": Preprocessing((0.5, 0.4, 0.3), (0.2, 0.2, 0.25), name == "unet", (0, 4095), (30, 40)),
        "licence": "CC0",
        "label_ids": (0, 7, 255),
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


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (({"mean": [0]}, None, None), r"preprocessing is {'mean': \[0\]}; give a fcn.preprocessing.Preprocessing"),
        ((None, 0.5, None), "mean is 0.5; give a number for each channel"),
        ((None, None, ["a"]), r"std is \['a'\]; give a number for each channel"),
    ],
)
def test_statistics_that_are_none(given, message):
    with pytest.raises(ValueError, match=message):
        _record(*given, bgr=False)


def test_every_model_can_be_saved():
    """All that `create_model` gives by default is described and rebuilt, without its variables."""
    from fcn.pretrained.description import describe, rebuild

    for name in fcn.list_models():
        model = fcn.create_model(name, num_classes=2)
        assert rebuild(json.loads(json.dumps(describe(model)))) == model, name
    for name in fcn.list_encoders():
        model = fcn.create_encoder(name)
        assert rebuild(json.loads(json.dumps(describe(model)))) == model, name


def test_what_an_earlier_version_described_is_the_same_network():
    """One of each type; fields that came later have their defaults."""
    from fcn.pretrained.description import describe, rebuild

    for name, then in json.loads((FIXTURES / "descriptions.json").read_text()).items():
        assert _holds(json.loads(json.dumps(describe(rebuild(then)))), then), name


def _holds(now, then) -> bool:
    if isinstance(then, dict):
        return now.keys() >= then.keys() and all(_holds(now[key], value) for key, value in then.items())
    return now == then


def test_nothing_is_overwritten(saved):
    before = {file.name: file.read_bytes() for file in saved.iterdir()}
    model = MODELS["unet"]()
    with pytest.raises(FileExistsError, match="saved exists already; nothing was written"):
        fcn.save(saved, model, random_variables(model, 1, 16, 16, 3, seed=1))
    assert {file.name: file.read_bytes() for file in saved.iterdir()} == before
    link = saved.with_name("link")
    link.symlink_to("nothing")
    with pytest.raises(FileExistsError, match="link exists already; nothing was written"):
        fcn.save(link, model, {})


def test_nothing_is_half_written(tmp_path, monkeypatch):
    with pytest.raises(ValueError, match=r"Foreign is not a module of fcn.models, fcn.classifiers or fcn.encoders"):
        import flax.linen as nn

        class Foreign(nn.Module):
            pass

        fcn.save(tmp_path / "saved", Foreign(), {})
    model = MODELS["unet"]()
    variables = random_variables(model, 1, 16, 16, 3)
    monkeypatch.setattr(safetensors.numpy, "save_file", lambda *_: (_ for _ in ()).throw(OSError("no space left")))
    with pytest.raises(OSError, match="no space left"):
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
        ({"palette": np.full((3, 3), 0.5)}, r"palette has the colour \[0.5, 0.5, 0.5\]; give red, green and blue"),
        ({"preprocessing": Preprocessing((0.5,), (1.0,))}, "preprocessing is for images of 1 channels, the variables for 3"),
        ({"classes": ["sky", "car", "sky"]}, "two classes are called 'sky'; give each a name of its own"),
        ({"classes": [*"abc"], "label_ids": [0, 7]}, r"label_ids is \[0, 7\]; give another number from 0 to 255 for each of 3"),
        ({"classes": [*"abc"], "label_ids": [0, 7, 7]}, r"label_ids is \[0, 7, 7\]; give another number"),
        ({"label_ids": [0, 7, 9]}, "label_ids need classes; give these, too"),
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
        (
            lambda d: d["model"]["fields"].update(depth=10**6),
            "field depth of UNet is 1000000; it must be at least 1",
        ),
        (
            lambda d: d["model"]["fields"].update(depth=10**400),
            "field depth of UNet is 1000.* it must be at least 1",
        ),
        (lambda d: d["model"]["fields"].update(depth="deep"), "field depth of UNet is 'deep'; it must be int"),
        (lambda d: d["model"]["fields"].update(depth=[2] * 10**4), r"field depth of UNet is \(2, 2, .* it must be int"),
        (lambda d: d["model"]["fields"].update(dropout_rate=float("inf")), "dropout_rate of UNet is inf; it must be a finite"),
        (lambda d: d["model"]["fields"].update(dtype={"dtype": "int8"}), "it must be a floating-point type"),
        (lambda d: d["model"]["fields"].update(dtype={"dtype": "object"}), "model.json does not describe a network"),
        (lambda d: d["model"].update(fields=None), "model.json does not describe a network"),
        (lambda d: d["model"]["fields"].pop("num_classes"), "model.json does not describe a network .TypeError: .*num_classes"),
        (lambda d: d.update(model=["UNet"]), "model.json does not describe a network"),
        (lambda d: d.pop("model"), "model.json does not describe a network .KeyError: 'model'"),
        (lambda d: d.update(model={"type": ["UNet"], "fields": {}}), "model.json does not describe a network"),
        (
            lambda d: d.update(model={"type": "WithEncoder", "fields": {"num_classes": 3, "encoder": "vgg11"}}),
            "model.json does not describe a network .NotImplementedError",
        ),
        (
            lambda d: d.update(preprocessing={"mean": [0.5], "std": [1]}),
            "preprocessing is for images of 1 channels, the va",
        ),
        (lambda d: d.update(classes=["sky"]), "model.json: classes has 1 entries, but the model has 3 classes"),
        (lambda d: d.update(classes={"sky": 1}), "model.json: classes is {'sky': 1}; it must be a list"),
        (lambda d: d.update(classes=["sky", 2, "car"]), "model.json: 2 is no text; names of classes and the licence are"),
        (lambda d: d.update(palette=[[0, 0, 300]] * 3), r"palette has the colour \(0, 0, 300\); give red, green and blue"),
        (lambda d: d.update(palette=[[0, 0.5, 0]] * 3), r"palette has the colour \(0, 0.5, 0\); give red, green and blue"),
        (lambda d: d.update(label_ids=[0, 1, 256]), r"model.json: label_ids is \(0, 1, 256\); give another number"),
        (lambda d: d.update(licence=["MIT"]), r"model.json: \('MIT',\) is no text"),
        (lambda d: d.update(classes=["sky", "car", "sky"]), "model.json: two classes are called 'sky'; give each a name"),
        (lambda d: d.update(preprocessing={"size": [10**9, 4]}), r"model.json: size is \(1000000000, 4\); .* at most 65536"),
        (lambda d: d["model"]["fields"].update(axis_name="batch"), "axis_name of UNet is 'batch'; a saved model has none"),
    ],
)
def test_what_is_not_understood_is_refused(saved, change, message):
    description = json.loads((saved / "model.json").read_text())
    change(description)
    (saved / "model.json").write_text(json.dumps(description))
    with pytest.raises(ValueError, match=message):
        fcn.load(saved)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[" * 100_000, "model.json is damaged: RecursionError"),
        ('{"format": ' + "9" * 5000 + "}", "model.json is damaged: ValueError: Exceeds the limit"),
        ('{"format": 1, "mod', "model.json is damaged: JSONDecodeError"),
        ("\udc80", "model.json is damaged: UnicodeDecodeError"),
        ("[1]", "model.json holds a list, not the description of a network"),
        (" " * (2**24 + 1), "model.json has 16,777,217 bytes; descriptions have at most 16,777,216"),
    ],
    ids=["nested", "huge number", "cut", "no text", "list", "large"],
)
def test_descriptions_that_are_damaged_or_hostile(saved, text, message):
    (saved / "model.json").write_bytes(text.encode(errors="surrogateescape"))
    with pytest.raises(ValueError, match=message):
        fcn.load(saved)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            lambda t: t.update({"params/head/bias": np.full(3, np.nan, np.float32)}),
            "params/head/bias holds numbers that are",
        ),
        (lambda t: t.update({"params/head/bias": np.zeros(3, np.int32)}), "params/head/bias holds int32; the parameters of a"),
        (
            lambda t: t.update({"params/head/bias": np.zeros(3)}),
            "params/head/bias holds float64, in which JAX does not",
        ),
        (lambda t: t.update({"params/head/bias": np.zeros(4, np.float32)}), "not those of UNet: params/head/bias$"),
        (lambda t: t.update({"params/head": np.zeros(4, np.float32)}), "not those of UNet: params/head$"),
        (lambda t: t.update({"more": np.zeros(1, np.float32)}), "not those of UNet: more$"),
        (lambda t: t.pop("params/head/bias"), "not those of UNet: params/head/bias$"),
    ],
    ids=["nan", "int32", "float64", "misshapen", "a leaf for a layer", "left over", "missing"],
)
def test_tensors_are_checked_when_they_are_read_and_written(saved, tmp_path, change, message):
    tensors = safetensors.numpy.load_file(saved / "variables.safetensors")
    change(tensors)
    safetensors.numpy.save_file(tensors, saved / "variables.safetensors")
    with pytest.raises(ValueError, match=rf"saved/variables\.safetensors: .*{message}"):
        fcn.load(saved)
    if "params/head" not in tensors:
        variables = unflatten_dict(tensors, sep="/")
        with pytest.raises(ValueError, match=message):
            fcn.save(tmp_path / "again", MODELS["unet"](), variables)


def test_tensors_that_are_cut_off(saved):
    (saved / "variables.safetensors").write_bytes((saved / "variables.safetensors").read_bytes()[:-1])
    with pytest.raises(ValueError, match=r"variables.safetensors cannot be read as .safetensors; it is damaged or of another"):
        fcn.load(saved)


def test_fields_that_do_not_go_together(tmp_path):
    """Each may have its value, the network cannot be built."""
    model = fcn.create_model("fpn", num_classes=2, encoder="resnet18", encoder_depth=2)
    with pytest.raises(ValueError, match="FPN with these fields is no network: depth is 2; an encoder has a depth of"):
        fcn.save(tmp_path / "saved", model, {"params": {}})


def test_permissions_are_those_that_the_user_asks_for(saved):
    mask = os.umask(0o027)
    try:
        model, variables, *_ = fcn.load(saved)
        fcn.save(saved.parent / "shared", model, variables)
    finally:
        os.umask(mask)
    shared = saved.parent / "shared"
    assert [oct(path.stat().st_mode & 0o777) for path in (shared, *sorted(shared.iterdir()))] == ["0o750", "0o640", "0o640"]


def test_missing_files(saved, tmp_path):
    (saved / "variables.safetensors").unlink()
    with pytest.raises(FileNotFoundError, match=r"it has no variables.safetensors"):
        fcn.load(saved)
    with pytest.raises(FileNotFoundError, match=r"it has no model.json"):
        fcn.load(tmp_path / "nothing")
