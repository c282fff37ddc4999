"""`python -m fcn`, for those who installed the wheel, and what that holds."""

import shutil
import zipfile
from pathlib import Path

import jax
import numpy as np
import pytest
from PIL import Image

import fcn
from fcn.__main__ import main
from fcn.inference import Predictor, make_predictor, predict_image
from fcn.preprocessing import Preprocessing, default_preprocessing
from fcn.pretrained import WEIGHTS
from fcn.registry import MODELS
from tests.conftest import ROOT
from tests.variables import random_variables

SAVED = ROOT / "tests" / "fixtures" / "old_saved"


def test_the_wheel_holds_fcn_only(tmp_path, monkeypatch):
    """All of its modules, and the mark that they have types."""
    build_meta = pytest.importorskip("setuptools.build_meta", reason="a wheel is built by setuptools")
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, tmp_path)
    for name in ("fcn", "experiments"):
        shutil.copytree(ROOT / name, tmp_path / name, ignore=shutil.ignore_patterns("__pycache__"))
    monkeypatch.chdir(tmp_path)
    wheel = zipfile.ZipFile(tmp_path / build_meta.build_wheel(str(tmp_path)))
    held = {name for name in wheel.namelist() if ".dist-info/" not in name}
    modules = {path.relative_to(ROOT).as_posix() for path in (ROOT / "fcn").rglob("*.py")}
    networks = {path.relative_to(ROOT).as_posix() for path in (ROOT / "fcn" / "trained").glob("*/*")}
    assert held == modules | networks | {"fcn/py.typed"}


def test_names_are_listed(capsys):
    assert main([]) == 0
    listed = capsys.readouterr().out.split()
    assert {*fcn.list_models(), *fcn.list_encoders(), *WEIGHTS} <= {*listed}
    assert main(["list", "fcn_resnet*"]) == 0
    assert capsys.readouterr().out == (
        "2 models\n  fcn_resnet101  fcn_resnet50\n0 encoders\n2 weights\n  fcn_resnet101.coco_voc  fcn_resnet50.coco_voc\n"
        "0 trained networks\n"
    )


@pytest.fixture
def photo(tmp_path) -> Path:
    pixels = np.random.default_rng(0).integers(0, 256, (9, 14, 3), np.uint8)
    Image.fromarray(pixels).save(tmp_path / "photo.png")
    return tmp_path / "photo.png"


def test_what_is_written_is_what_the_task_gives(photo, tmp_path):
    """A sigmoid of one channel, whose largest channel would say nothing, of images brought to their own range, once."""
    model = fcn.create_model("unet", num_classes=1, base_features=2, depth=1)
    task = fcn.tasks.make("binary", ["ground", "cell"])
    variables = random_variables(model, 1, 8, 8, 3)
    expected = Preprocessing(per_image="percentiles")
    fcn.save(tmp_path / "net", model, variables, preprocessing=expected, task=task)
    assert main(["predict", str(tmp_path / "net"), str(photo), "--out", str(tmp_path / "out")]) == 0
    mask, chance = (np.asarray(Image.open(tmp_path / f"out/photo_{name}.png")) for name in ("mask", "probability"))
    assert 0 < mask.mean() < 1
    np.testing.assert_array_equal(mask == 1, chance >= 128)
    predictor = Predictor(model, variables, expected, task, bucket=None)
    np.testing.assert_array_equal(mask, predictor(np.asarray(Image.open(photo))))


def test_files_that_would_not_be_written_are_left_alone(photo, tmp_path, monkeypatch):
    """Beside the mask of another network there is room for the values of one that has no mask."""
    model = fcn.create_model("unet", num_classes=1, base_features=2, depth=1)
    task = fcn.tasks.make("regression", ["height"])
    fcn.save(tmp_path / "net", model, random_variables(model, 1, 8, 8, 3), preprocessing=default_preprocessing(3), task=task)
    (tmp_path / "out").mkdir()
    (tmp_path / "out/photo_mask.png").write_text("mine")
    red = lambda variables, images, size: np.float32(images[..., :1])  # noqa: E731
    monkeypatch.setattr(fcn.inference, "make_predictor", lambda *_: red)
    assert main(["predict", str(tmp_path / "net"), str(photo), "--out", str(tmp_path / "out")]) == 0
    assert (tmp_path / "out/photo_mask.png").read_text() == "mine"
    values = np.load(tmp_path / "out/photo_values.npy")
    np.testing.assert_array_equal(values.reshape(9, 14), np.asarray(Image.open(photo))[..., 0])


def test_predict(photo, tmp_path, capsys):
    """The classes that the library finds; a damaged image is told, the others are done, and nothing is replaced."""
    (tmp_path / "bad.png").write_bytes(b"no image")
    command = ["predict", str(SAVED), str(tmp_path / "bad.png"), str(photo), "--out", str(tmp_path / "out")]
    assert main(command) == 1
    assert f"{tmp_path / 'bad.png'}" in capsys.readouterr().err
    saved, pixels = fcn.load(SAVED), np.asarray(Image.open(photo))
    expected = predict_image(make_predictor(saved.model, saved.preprocessing), saved.variables, pixels)
    mask = Image.open(tmp_path / "out" / "photo_mask.png")
    np.testing.assert_array_equal(np.asarray(mask), expected)
    assert bytes(mask.getpalette()[:6]) == bytes([10, 20, 30, 200, 210, 220])
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["photo_mask.png", "photo_overlay.png"]
    assert main(command) == 1
    assert "photo_overlay.png exists already; give another folder" in capsys.readouterr().err.replace("mask", "overlay")


def test_a_saved_model_that_says_nothing_of_images(photo, tmp_path, monkeypatch):
    """The usual mean and std for as many channels as it takes, and this is told."""
    expected, model = [], fcn.create_model("unet", num_classes=2, base_features=2, depth=1)
    fcn.save(tmp_path / "net", model, random_variables(model, 1, 8, 8, 1))

    def bright(model, preprocessing, task):
        expected.append(preprocessing)
        return lambda variables, images, size: np.int32(images[..., 0] > 99)

    monkeypatch.setattr(fcn.inference, "make_predictor", bright)
    with pytest.warns(UserWarning, match=r"net does not say what images .*; mean \[0.449\], std \[0.226\] are assumed"):
        assert main(["predict", str(tmp_path / "net"), str(photo), "--out", str(tmp_path / "out")]) == 0
    assert expected == [default_preprocessing(1)]
    mask = np.asarray(Image.open(tmp_path / "out/photo_mask.png"))
    np.testing.assert_array_equal(mask, np.asarray(Image.open(photo).convert("L")) > 99)


@pytest.mark.parametrize(
    ("command", "message"),
    [
        (["predict", "{saved}", "{photo}", "{photo}"], "would both write"),
        (["predict", "{saved}", "nothing.png"], "no image nothing.png"),
        (["predict", "fcn_resnet50.coco_vok", "{photo}"], "did you mean 'fcn_resnet50.coco_voc'"),
        (["predict", "resnet18.imagenet1k_v1", "{photo}"], "resnet18.imagenet1k_v1 has an encoder only"),
        (["predict", "no/folder", "{photo}"], "no/folder is no folder of a saved model"),
        (["convert", "{photo}"], "is a checkpoint; say what it is with --model, --source and --classes"),
        (["convert", "{saved}"], "is a saved model already; give --out NAME.safetensors or NAME.pth, with --source"),
        (["convert", "{smp}", "--encoder", "vgg11"], "smp says itself what its network is; leave --encoder vgg11 out"),
        (["convert", "{smp}", "--source", "timm"], "smp says itself what its network is; leave --source timm out"),
        (["convert", "nothing.pth"], "no checkpoint or folder nothing.pth"),
    ],
)
def test_what_cannot_be_is_told(command, message, photo, tmp_path, capsys):
    smp = tmp_path / "smp"
    smp.mkdir()
    (smp / "config.json").write_text('{"_model_class": "Unet"}')
    (smp / "model.safetensors").touch()
    words = [word.format(saved=SAVED, photo=photo, smp=smp) for word in command]
    assert main([*words, "--out", str(tmp_path / "out")]) == 1
    assert message in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_a_saved_model_is_not_told_what_it_is(tmp_path, capsys):
    command = ["convert", str(SAVED), "--source", "smp", "--model", "fpn", "--out", str(tmp_path / "net.pth")]
    assert main(command) == 1
    assert "old_saved says itself what its network is; leave --model fpn out" in capsys.readouterr().err


def test_there_and_back(tmp_path):
    """A saved model becomes a checkpoint of another implementation, and that the saved model again."""
    pytest.importorskip("torch", reason="checkpoints of other implementations take PyTorch: install '.[parity]'")
    names = ["sky", "road", "car"]
    model = fcn.create_model("espnet", num_classes=3)
    variables = random_variables(model, 1, 32, 32, 3)
    fcn.save(tmp_path / "saved", model, variables, classes=names)
    (tmp_path / "names.txt").write_text("\n".join(names))
    file, again, source = tmp_path / "net.safetensors", tmp_path / "again", ["--source", "espnet"]
    assert main(["convert", str(tmp_path / "saved"), *source, "--out", str(file)]) == 0
    what = ["--model", "espnet", "--classes", str(tmp_path / "names.txt")]
    assert main(["convert", str(file), *source, *what, "--out", str(again)]) == 0
    there = fcn.load(again)
    assert (there.model, there.classes) == (model, tuple(names))
    assert there.preprocessing == MODELS["espnet"].preprocessing
    jax.tree.map(np.testing.assert_array_equal, there.variables, variables)
