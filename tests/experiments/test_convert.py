"""Networks from files and into files, and predictions with them."""

import json
import os
import shutil
import sys
from pathlib import Path

import jax
import numpy as np
import pytest
from PIL import Image

import fcn
from experiments import convert, predict
from experiments.building.networks import from_folder, from_weights
from experiments.configuration.config import ModelConfig
from fcn.inference import make_predictor, predict_image
from fcn.preprocessing import Preprocessing, default_preprocessing
from fcn.registry import MODELS
from tests.variables import random_variables

FIXTURES = Path(__file__).resolve().parents[1] / "fixtures"
OPTIONS = ["--model", "fcn8s", "--encoder", "vgg11", "--options", "width_multiplier=0.03125", "fc_features=8", "--source"]


@pytest.fixture
def checkpoint(tmp_path):
    """A checkpoint of a small FCN-8s in torchfcn's names, the names of its classes, and its model and variables here."""
    pytest.importorskip("torch", reason="checkpoints of other implementations take PyTorch: install '.[parity]'")
    return lay_checkpoint(tmp_path, ["sky", "road", "car"], channels=3)


def lay_checkpoint(folder, classes, channels):
    from safetensors.numpy import save_file

    model = fcn.create_model("fcn8s", num_classes=len(classes), encoder="vgg11", width_multiplier=1 / 32, fc_features=8)
    variables = random_variables(model, 1, 32, 32, channels)
    state = fcn.to_torch(model, variables, source="torchfcn")
    save_file({name: tensor.numpy() for name, tensor in state.items()}, folder / "fcn.safetensors")
    (folder / "classes.txt").write_text("".join(f"{name}\n" for name in classes))
    return folder / "fcn.safetensors", folder / "classes.txt", model, variables


def test_there_and_back(checkpoint, tmp_path, capsys):
    """A checkpoint becomes a saved model, and that the checkpoint again, bit for bit."""
    from safetensors.numpy import load_file

    file, classes, model, variables = checkpoint
    convert.main([str(file), *OPTIONS, "torchfcn", "--classes", str(classes), "--licence", "CC0", "--out", str(tmp_path / "m")])
    saved = fcn.load(tmp_path / "m")
    assert saved.model == model and saved.classes == ("sky", "road", "car") and saved.licence == "CC0"
    np.testing.assert_array_equal(saved.variables["params"]["fc6"]["kernel"], variables["params"]["fc6"]["kernel"])
    convert.main([str(tmp_path / "m"), "--source", "torchfcn", "--out", str(tmp_path / "again.safetensors")])
    assert "again.safetensors holds weights only; who uses them must know: images have mean" in capsys.readouterr().out
    first, again = load_file(file), load_file(tmp_path / "again.safetensors")
    assert sorted(first) == sorted(again)
    for name in first:
        np.testing.assert_array_equal(again[name], first[name])


def test_predict(checkpoint, tmp_path):
    """From the checkpoint or from the saved model: the classes of the largest logits."""
    file, classes, model, variables = checkpoint
    image = np.random.default_rng(0).integers(0, 256, (33, 40, 3), np.uint8)
    Image.fromarray(image).save(tmp_path / "photo.png")
    weights = ["--weights", str(file), *OPTIONS, "torchfcn", "--classes", str(classes)]
    predict.main([str(tmp_path / "photo.png"), *weights, "--out", str(tmp_path / "a")])
    record = default_preprocessing(3)
    fcn.save(tmp_path / "saved", model, variables, classes=["sky", "road", "car"], preprocessing=record)
    predict.main([str(tmp_path / "saved"), str(tmp_path / "photo.png"), "--out", str(tmp_path / "b")])
    normalised = (image / 255 - [0.485, 0.456, 0.406]) / [0.229, 0.224, 0.225]
    expected = np.argmax(model.apply(variables, normalised[None].astype(np.float32))[0], -1)
    for folder in ("a", "b"):
        mask = np.asarray(Image.open(tmp_path / folder / "photo_mask.png"))
        assert np.mean(mask == expected) > 0.999  # logits that are equal but for rounding may change places


def test_a_network_that_takes_blue_first_stays_one(tmp_path):
    """Mean, deviation and order of the channels go with it: a photo gives the same logits."""
    pytest.importorskip("torch", reason="checkpoints of other implementations take PyTorch: install '.[parity]'")
    from safetensors.torch import save_file

    model = fcn.create_model("espnet", num_classes=3, p=1, q=1)
    state = fcn.to_torch(model, random_variables(model, 1, 32, 32, 3), source="espnet")
    save_file({name: tensor.contiguous() for name, tensor in state.items()}, tmp_path / "espnet.safetensors")
    (tmp_path / "classes.txt").write_text("sky\nroad\ncar\n")
    options = ["--model", "espnet", "--options", "p=1", "q=1", "--source", "espnet", "--classes", str(tmp_path / "classes.txt")]
    convert.main([str(tmp_path / "espnet.safetensors"), *options, "--out", str(tmp_path / "saved")])
    direct = from_weights(
        ModelConfig("espnet", options=("p=1", "q=1")),
        str(tmp_path / "espnet.safetensors"),
        "espnet",
        tmp_path / "classes.txt",
    )
    saved = from_folder(tmp_path / "saved", "last")
    assert direct.preprocessing == saved.preprocessing == MODELS["espnet"].preprocessing
    assert saved.preprocessing.bgr is True


SMALL = {"encoder": "resnet18", "encoder_depth": 3, "decoder_channels": (8, 8, 8)}


def test_a_folder_of_smp(tmp_path):
    """It says model, encoder, options, classes and channels; the tensors are taken as they are."""
    pytest.importorskip("torch", reason="checkpoints of other implementations take PyTorch: install '.[parity]'")
    from safetensors.torch import save_file

    model = fcn.create_model("unet", num_classes=2, **SMALL)
    variables = random_variables(model, 1, 32, 32, 4)
    (tmp_path / "smp").mkdir()
    state = fcn.to_torch(model, variables, source="smp")
    save_file({name: tensor.contiguous() for name, tensor in state.items()}, tmp_path / "smp" / "model.safetensors")
    config = {"encoder_name": "resnet18", "encoder_weights": "imagenet", "classes": 2, "in_channels": 4, "encoder_depth": 3}
    config |= {"_model_class": "Unet", "decoder_channels": [8, 8, 8], "activation": None, "aux_params": None}
    (tmp_path / "smp" / "config.json").write_text(json.dumps(config))
    jax.tree.map(np.testing.assert_array_equal, fcn.from_torch(model, tmp_path / "smp", source="smp"), variables)
    convert.main([str(tmp_path / "smp"), "--out", str(tmp_path / "saved")])
    saved = fcn.load(tmp_path / "saved")
    assert saved.model == model and saved.classes == ("class 0", "class 1")
    assert saved.preprocessing == Preprocessing().with_channels(4)
    jax.tree.map(np.testing.assert_array_equal, saved.variables, variables)
    (tmp_path / "classes.txt").write_text("ground\nnucleus\n")
    assert from_folder(tmp_path / "smp", "last", tmp_path / "classes.txt").task.classes == ("ground", "nucleus")


def test_weights_of_another_kind(tmp_path):
    """An image, a folder, an encoder's file where a model's belongs: a sentence each."""
    torch = pytest.importorskip("torch", reason="checkpoints of other implementations take PyTorch: install '.[parity]'")
    encoder = fcn.create_encoder("resnet18", depth=5)
    torch.save(fcn.to_torch(encoder, random_variables(encoder, 1, 32, 32, 3), source="timm"), tmp_path / "resnet18.pth")
    (tmp_path / "photo.png").touch()
    (tmp_path / "classes.txt").write_text("ground\nnucleus\n")
    model = ModelConfig("unet", "resnet18")
    for file, source, message in (
        ("photo.png", "smp", "photo.png is no checkpoint that can be read; known are .safetensors"),
        ("resnet18.pth", "timm", "resnet18.pth has an encoder only, which does not segment; start a training from it: --init"),
        ("", "smp", "is a folder; give that of a run or of a saved model without --model"),
    ):
        with pytest.raises(ValueError, match=message):
            from_weights(model, str(tmp_path / file), source, tmp_path / "classes.txt")
    fcn.save(tmp_path / "encoder", encoder, random_variables(encoder, 1, 32, 32, 3))
    with pytest.raises(ValueError, match="encoder is a ResNet, an encoder or a classifier, which does not segment"):
        from_folder(tmp_path / "encoder", "last")
    with pytest.raises(ValueError, match=r"photo.png is no checkpoint that can be read"):
        convert.main([str(tmp_path / "photo.png"), "--out", str(tmp_path / "m")])


def test_without_pytorch(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "torch", None)
    with pytest.raises(ImportError, match=r"to_torch takes PyTorch: pip install torch$"):
        convert.main([str(FIXTURES / "old_saved"), "--source", "smp", "--out", str(tmp_path / "net.pth")])


def test_checkpoints_obey_the_umask(checkpoint, tmp_path):
    _, _, model, variables = checkpoint
    record = default_preprocessing(3)
    fcn.save(tmp_path / "saved", model, variables, classes=["sky", "road", "car"], preprocessing=record)
    mask = os.umask(0o027)
    try:
        for name in ("net.pth", "net.safetensors"):
            convert.main([str(tmp_path / "saved"), "--source", "torchfcn", "--out", str(tmp_path / "out" / name)])
    finally:
        os.umask(mask)
    assert {path.name: oct(path.stat().st_mode & 0o777) for path in (tmp_path / "out").iterdir()} == {
        "net.pth": "0o640",
        "net.safetensors": "0o640",
    }


def test_as_many_channels_as_the_checkpoint_has(tmp_path):
    pytest.importorskip("torch", reason="to_torch takes PyTorch: install '.[parity]'")
    weights, classes, model, variables = lay_checkpoint(tmp_path, ["sky", "road"], channels=1)
    config = ModelConfig("fcn8s", "vgg11", ("width_multiplier=0.03125", "fc_features=8"))
    network = from_weights(config, str(weights), "torchfcn", classes)
    jax.tree.map(np.testing.assert_array_equal, network.variables, variables)
    assert network.preprocessing == MODELS["fcn8s"].preprocessing.with_channels(1)
    fcn.save(tmp_path / "saved", model, variables, classes=["sky", "road"])
    with pytest.warns(UserWarning, match=r"does not say what images .*; mean \[0.449\], std \[0.226\] are assumed"):
        assert from_folder(tmp_path / "saved", "last").preprocessing == default_preprocessing(1)


def test_errors(checkpoint, tmp_path):
    file, classes, _, _ = checkpoint
    with pytest.raises(FileExistsError, match=r"classes.txt exists already; give another --out"):
        convert.main([str(file), "--out", str(classes)])
    with pytest.raises(FileNotFoundError, match=r"no checkpoint or folder .*none"):
        convert.main([str(tmp_path / "none"), "--out", str(tmp_path / "m")])
    with pytest.raises(ValueError, match="say what it is with --model and --source"):
        convert.main([str(file), "--out", str(tmp_path / "m")])
    with pytest.raises(ValueError, match="does not say what its classes are; name them: --classes FILE"):
        convert.main([str(file), *OPTIONS, "torchfcn", "--out", str(tmp_path / "m")])
    with pytest.raises(ValueError, match="--model and --weights belong together"):
        predict.main([str(file), "--model", "fcn8s", "--out", str(tmp_path / "m")])
    assert not (tmp_path / "m").exists()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--encoder", "vgg16", "--options", "depth=2"], "--encoder, --options describes the network of --model; name it"),
        (["--source", "smp"], "--source describes the network of --model; name it, or leave --source out"),
        (["--classes", "names.txt"], "old_saved is no folder of smp's, whose classes --classes names; leave names.txt out"),
    ],
)
def test_options_that_a_folder_leaves_no_room_for(tmp_path, options, message):
    Image.new("RGB", (4, 4)).save(tmp_path / "photo.png")
    for main, inputs in ((convert.main, []), (predict.main, [str(tmp_path / "photo.png")])):
        with pytest.raises(ValueError, match=message):
            main([str(FIXTURES / "old_saved"), *inputs, *options, "--out", str(tmp_path / "new")])
    assert not (tmp_path / "new").exists()


def test_what_was_written_before_there_was_a_record():
    """A run gets the size of its configuration, a saved model the statistics that it has."""
    run, saved = (from_folder(FIXTURES / name, "last") for name in ("old_run", "old_saved"))
    assert run.preprocessing == Preprocessing(size=(4, 6))
    assert saved.preprocessing == Preprocessing()
    for ours, theirs in zip(*map(jax.tree.leaves, (run.variables, saved.variables)), strict=True):
        np.testing.assert_array_equal(ours, theirs)


def test_a_saved_model_predicts_as_its_run_does(finished_run, tmp_path):
    """Run, saved model, and that model in Python: the same labels, although the run resized its images; with the same ids."""
    facts = json.loads((finished_run / "data.json").read_text())
    run = shutil.copytree(finished_run, tmp_path / "run")
    record = Preprocessing((0.2, 0.3, 0.4), (0.3, 0.2, 0.1), True, None, (12, 16))
    values = {str(10 * number): number for number in range(len(facts["classes"]))}
    changed = {"preprocessing": record.to_json(), "label_values": {"train": values, "val": values}}
    (run / "data.json").write_text(json.dumps(facts | changed))
    convert.main([str(run), "--out", str(tmp_path / "saved")])
    image = np.random.default_rng(0).integers(0, 256, (30, 45, 3), np.uint8)
    Image.fromarray(image).save(tmp_path / "photo.png")
    for name in ("run", "saved"):
        predict.main([str(tmp_path / name), str(tmp_path / "photo.png"), "--out", str(tmp_path / f"of_{name}")])
    saved = fcn.load(tmp_path / "saved")
    assert saved.preprocessing == record
    seen = saved.preprocessing.seen_size(*image.shape[:2])
    assert seen == (11, 16)
    given = predict_image(make_predictor(saved.model, saved.preprocessing), saved.variables, image, size=seen)
    for name in ("run", "saved"):
        np.testing.assert_array_equal(np.asarray(Image.open(tmp_path / f"of_{name}" / "photo_mask.png")), 10 * given)
    assert len(np.unique(given)) == 2
