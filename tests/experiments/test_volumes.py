"""The commands on volumes: a network learns, is measured in millimetres and predicts in the space of its input."""

import csv
import itertools
import json
import re
import zipfile
from types import SimpleNamespace
from typing import Any

import flax.linen as nn
import jax.numpy as jnp
import nibabel
import numpy as np
import pytest
from PIL import Image

import fcn
from experiments import evaluate, inspect, predict, train
from experiments.auto import prepare
from experiments.building.strides import refuse_flat, total_strides
from experiments.configuration.config import DataConfig
from experiments.reports.rehearsal import Timed
from experiments.runs.run_folder import PANELS
from fcn import tasks
from fcn.inference import VolumePredictor
from fcn.inference.blocks import blended, importance, sides_of
from fcn.preprocessing import Preprocessing
from tests.variables import random_variables

SIDES = (12, 10, 8)
AFFINE = np.array([[-2.0, 0, 0, 9], [0, 1, 0, -4], [0, 0, 3, 2], [0, 0, 0, 1]])


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    """Bright balls in volumes of voxels of 2 x 1 x 3 mm, whose first axis runs to the left."""
    root = tmp_path_factory.mktemp("balls")
    places = np.indices(SIDES)
    for number, (split, middle) in enumerate([("train", (4, 5, 4)), ("train", (7, 4, 3)), ("val", (6, 5, 4))]):
        ball = ((places - np.array(middle)[:, None, None, None]) ** 2).sum(0) < 9
        image = 50.0 * ball + np.random.default_rng(number).normal(100, 2, SIDES)
        for kind, values in (("images", image.astype(np.float32)), ("labels", ball.astype(np.uint8))):
            (root / kind / split).mkdir(parents=True, exist_ok=True)
            nibabel.save(nibabel.Nifti1Image(values, AFFINE), root / kind / split / f"{number}.nii.gz")
    (root / "classes.csv").write_text("id,name\n0,background\n1,ball\n")
    return root


@pytest.fixture(scope="module")
def run(data, tmp_path_factory):
    folder = tmp_path_factory.mktemp("runs") / "balls"
    options = "--steps 12 --log-every 4 --eval-every 12 --checkpoint-every 12 --batch-size 2 --mesh.data 1 --data.crop 8 8 8"
    network = "--model.options features_per_stage=[4,8] n_conv_per_stage=1 n_conv_per_stage_decoder=1"
    learning = "--optim.learning-rate 0.03 --ema 0 --augment.scale 1 1 --sampling.foreground 0.5"
    more = f"--data.root {data} --workdir {folder} {network} {learning}"
    train.main(["hippocampus_unet", *options.split(), *more.split()])
    return folder


def test_a_network_learns_volumes_and_predicts_in_the_space_of_its_input(run, data, tmp_path, capsys):
    result = json.loads((run / "result.json").read_text())
    assert result["val/miou"] > 0.7, "a ball of its own brightness is learnt in a few steps"
    assert np.asarray(Image.open(run / "pictures" / PANELS)).ndim == 3
    written = [f"--{kind}={tmp_path / 'found'}.{kind}" for kind in ("json", "csv", "report")]
    evaluate.main([str(run), *written])
    found = json.loads((tmp_path / "found.json").read_text())
    assert found["val/dice"] == found["val/dice/ball"] > 0.6 and 0 <= found["val/hd95/ball"] <= 6
    assert "HD95 (mm)" in capsys.readouterr().out
    page = (tmp_path / "found.report" / "index.html").read_text()
    assert "HD95 (mm)" in page and f"<td>2</td><td>{found['val/dice']:.4f}</td>" in page
    rows = np.asarray(Image.open(tmp_path / "found.report" / "worst.png"))
    assert rows.shape[1] >= 3 * (12 + 12 + 10 + 4), "a volume, its label and what is found, each as three slices"
    image = data / "images" / "val" / "2.nii.gz"
    predict.main([str(run), str(image), "--out", str(tmp_path / "out")])
    written: Any = nibabel.load(tmp_path / "out" / "2_mask.nii.gz")
    label: Any = nibabel.load(data / "labels" / "val" / "2.nii.gz")
    mask, ball = (np.asarray(volume.dataobj) for volume in (written, label))
    np.testing.assert_array_equal(written.affine, AFFINE)
    dice = 2 * (mask & ball).sum() / (mask.sum() + ball.sum())
    assert dice == pytest.approx(found["val/dice"], abs=1e-6)
    assert np.asarray(Image.open(tmp_path / "out" / "2_slices.png")).shape == (10, 12 + 12 + 10 + 4, 3)


def test_several_networks_and_views_of_volumes_are_averaged(run, data, tmp_path):
    """The table has what the mask has."""
    image, table = data / "images" / "val" / "2.nii.gz", tmp_path / "found.csv"
    predict.main([str(run), str(image), "--out", str(tmp_path), "--ensemble", str(run), "--csv", str(table), "--tta", "0.5"])
    (row,) = csv.DictReader(table.read_text().splitlines())
    mask = np.asarray(nibabel.load(tmp_path / "2_mask.nii.gz").dataobj)
    assert [row[side] for side in ("depth", "height", "width")] == ["12", "10", "8"] and 0.01 < mask.mean() < 0.5
    assert float(row["ball"]) == pytest.approx(mask.mean()) and float(row["background"]) == pytest.approx(1 - mask.mean())


def test_views_of_a_volume_are_averaged_as_probabilities():
    """Of logits that know their place: over 8 flips each voxel has the mean of 8 places."""
    places = np.indices((2, 3, 2)).transpose(1, 2, 3, 0).astype(np.float32)

    class Places(nn.Module):
        @nn.compact
        def __call__(self, x):
            return places[None] + 0 * x

    predictor = VolumePredictor(Places(), {}, Preprocessing((0.5,) * 3, (1.0,) * 3, axes=3), as_read=True)
    softmax = np.exp(places) / np.exp(places).sum(-1, keepdims=True)
    expected = np.mean([np.flip(softmax, axes) for n in range(4) for axes in itertools.combinations(range(3), n)], 0)
    zeros = np.zeros((2, 3, 2, 3), np.float32)
    for tile in (None, (2, 3, 2)):
        found = predictor.probabilities(zeros, tta=("flips",), tile=tile)
        np.testing.assert_allclose(found, expected, rtol=1e-5)
    with pytest.raises(ValueError, match="unknown test-time augmentation 'flip'; did you mean 'flips'"):
        predictor(zeros, tta=("flip",))


def test_a_folder_of_volumes_is_inspected(data, tmp_path, capsys):
    assert inspect.main([str(data), "--json", str(tmp_path / "found.json")]) == 0
    assert "volumes" in capsys.readouterr().out
    found = json.loads((tmp_path / "found.json").read_text())
    train = found["splits"]["train"]
    assert (train["count"], train["median_size"], train["spacings"]) == (2, list(SIDES), {"2x1x3": 2})
    assert train["class_shares"]["ball"] == pytest.approx(93 / 960, abs=0.02) and not found["refused"]


def test_auto_plans_volumes(data, tmp_path, monkeypatch, capsys):
    """The time of a step is given here."""
    monkeypatch.setattr(prepare, "begun", lambda experiment: (None, None))
    monkeypatch.setattr(prepare, "timed", lambda *_: Timed(10.0, 1.0, 2**20, 2**20))
    file = tmp_path / "plan.json"
    train.main(["auto", "--data.root", str(data), "--mesh.data", "1", "--dry-run", "--json", str(file), "--budget", "10m"])
    told, said = json.loads(file.read_text()), capsys.readouterr().out
    plan, config = told["plan"], told["run"]["config"]
    assert (plan["patch"], plan["batch_size"], plan["stages"], plan["spacing"]) == ([12, 10, 8], 2, 1, [2.0, 1.0, 3.0])
    assert (plan["strides"], plan["kernel_sizes"]) == ([[1, 1, 1]], [[3, 3, 3]])
    assert config["model"]["name"] == "plain_conv_unet"  # which is none without a pooling
    assert config["model"]["options"][1:] == ["strides=[[1, 1, 1], [2, 2, 2]]", "kernel_sizes=[[3, 3, 3], [3, 3, 3]]"]
    assert (config["data"]["crop"], config["data"]["spacing"], config["data"]["normalise"]) == (None, None, "z-score")
    assert "  patch 12x10x8: each volume is 12x10x8; as much of it as goes into 8 GB, in 0 poolings\n" in said


@pytest.mark.parametrize(
    ("shape", "labelled", "options", "refusal"),
    [
        ((3, 3, 3), True, "", "but .* is 4x3x3; set a crop"),
        ((3, 3, 3), True, "--crop 2 2 2", None),
        ((4, 3, 3), False, "", "image .*b.nii.gz has no label"),
        ((4, 3, 3), False, "--skip-bad", None),
        ((4, 3, 3, 2), True, "", "2 channels, but .* has 1"),
    ],
)
def test_inspect_refuses_what_training_refuses(tmp_path, capsys, shape, labelled, options, refusal):
    for name, sides in (("a", (4, 3, 3)), ("b", shape)):
        for kind, values in (("images", np.ones(sides, np.float32)), ("labels", np.ones(sides[:3], np.uint8))):
            (tmp_path / kind / "train").mkdir(parents=True, exist_ok=True)
            if kind == "images" or name == "a" or labelled:
                nibabel.save(nibabel.Nifti1Image(values, AFFINE), tmp_path / kind / "train" / f"{name}.nii.gz")
    assert inspect.main([str(tmp_path), *options.split()]) == int(refusal is not None)
    said = capsys.readouterr().out
    assert re.search(refusal or "training would take these data", said)
    with pytest.raises(ValueError, match="--size is for images"):
        inspect.main([str(tmp_path), "--size", "4", "4"])


def test_a_saved_network_is_measured_at_its_spacing_and_range(data):
    """Where no range is known, volumes are on the scale 0..1."""
    task = tasks.make("semantic", ("background", "ball"))
    expected = Preprocessing((0.5,), (0.2,), spacing=(2.0, 2.0, 3.0), axes=3)
    network: Any = SimpleNamespace(preprocessing=expected, data=DataConfig(name="folder"), task=task)
    opened: Any = evaluate.open_data(evaluate.EvaluateConfig(run=data, root=str(data)), network)
    assert opened.source.image_size(0) == (12, 5, 8)
    assert opened.source[0]["image"].min() == 255


def test_what_does_not_fit_the_network_is_said(run, data, folder_data, tmp_path):
    with pytest.raises(ValueError, match=r"takes volumes, and .* holds images"):
        evaluate.main([str(run), "--root", str(folder_data)])
    with pytest.raises(ValueError, match="--dropout is for images"):
        predict.main([str(run), str(data), "--out", str(tmp_path), "--dropout", "3"])
    with pytest.raises(ValueError, match="no file of a signal or a volume"):
        predict.main([str(run), str(folder_data / "images" / "val" / "00.png"), "--out", str(tmp_path)])


def test_saved_models_and_exports_for_volumes_take_no_options_of_images(data, tmp_path):
    model, record = fcn.create_model("unet", num_classes=2, base_features=1, depth=1), Preprocessing((0.5,), (1.0,), axes=3)
    known = {"task": tasks.make("semantic", ["background", "ball"]), "preprocessing": record}
    fcn.save(tmp_path / "net", model, random_variables(model, 1, 4, 4, 4, 1), **known)
    with zipfile.ZipFile(tmp_path / "net.fcn", "w") as file:
        file.writestr("metadata.json", json.dumps({"network": json.loads((tmp_path / "net/model.json").read_text())}))
        file.write(tmp_path / "net/variables.safetensors", "variables.safetensors")
    for name, *option in (("net", "--format", "npy"), ("net", "--objects", "geojson"), ("net.fcn", "--dropout", "20")):
        with pytest.raises(ValueError, match=f"{option[0]} is for images, and the network takes volumes"):
            predict.main([str(tmp_path / name), str(data), "--out", str(tmp_path / "out"), *option])


@pytest.mark.parametrize(
    ("options", "crop", "strides"),
    [({}, (64, 64, 64), (32, 32, 32)), ({"strides": (1, 2, 2, 2, 2, (1, 2, 2))}, (16, 32, 32), (16, 32, 32))],
)
def test_the_strides_of_a_network_fit_into_a_crop(options, crop, strides):
    model = fcn.create_model("plain_conv_unet", num_classes=2, **options)
    assert total_strides(model, 3) == strides
    refuse_flat(model, crop)
    with pytest.raises(ValueError, match=r"have 8 slices along axis 0, .* give strides of 1 along that axis"):
        refuse_flat(model, (8, *crop[1:]))
    assert total_strides(fcn.create_model("unet", num_classes=2, depth=3), 3) == (8, 8, 8)


def test_blocks_are_blended_to_what_is_seen_whole():
    """Of a function of single voxels blocks change nothing; of one that sees their borders the middle counts most."""
    image = np.random.default_rng(0).normal(size=(9, 4, 7, 1)).astype(np.float32)
    seen = []

    def compute(blocks):
        seen.append(blocks.shape)
        return np.concatenate([2 * blocks, blocks**2], -1)

    found = blended(compute, image, (4, 6, 4), 0.0)
    np.testing.assert_allclose(found, np.concatenate([2 * image, image**2], -1), rtol=1e-5, atol=1e-6)
    assert set(seen) == {(1, 4, 6, 4, 1)} and len(seen) == 4 * 1 * 3
    weights = importance((4, 6, 4))
    assert weights.shape == (4, 6, 4) and weights[2, 3, 2] == weights.max() == 1 and weights.min() > 0


def test_a_predictor_takes_stored_values_and_sees_blocks_as_it_sees_the_whole():
    model = nn.Dense(2)
    expected = Preprocessing((0.5,), (1 / 6,), per_image="z-score", axes=3)
    variables: Any = {"params": {"kernel": jnp.array([[1.0, -1.0]]), "bias": jnp.zeros(2)}}
    values = np.random.default_rng(0).integers(-500, 1500, (6, 9, 5, 1)).astype(np.int16)
    predictor = VolumePredictor(model, variables, expected, tasks.make("semantic", ("dark", "bright")))
    z = (values[..., 0] - values.mean()) / values.std()
    np.testing.assert_allclose(predictor.logits(values)[..., 0], z, rtol=1e-4, atol=1e-5)
    np.testing.assert_array_equal(predictor(values, tile=4), z < 0)
    np.testing.assert_allclose(predictor.probabilities(values)[..., 0], 1 / (1 + np.exp(-2 * z)), rtol=1e-3)
    assert predictor.scores(values, size=(3, 9, 5)).shape == (6, 9, 5)


@pytest.mark.parametrize(("tile", "sides"), [(None, None), (4, (4, 4, 4)), ((2, 3, 4), (2, 3, 4)), ("auto", (96, 96, 96))])
def test_the_sides_of_blocks(tile, sides):
    assert sides_of(tile, (200, 200, 200)) == sides


def test_a_predictor_of_volumes_refuses_other_arrays():
    model, expected = fcn.create_model("unet", num_classes=2), Preprocessing((0.5,), (0.2,), axes=3)
    predictor = VolumePredictor(model, {}, expected)
    with pytest.raises(ValueError, match=r"shape \[4, 4, 1\]; the network takes \[D, H, W, 1\]"):
        predictor(np.zeros((4, 4, 1)))
    with pytest.raises(ValueError, match="one for each of 3 axes"):
        sides_of((4, 4), (8, 8, 8))
    with pytest.raises(ValueError, match="is for images"):
        VolumePredictor(model, {}, Preprocessing((0.5,), (0.2,)))
