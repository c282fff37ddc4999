"""A run of two networks, from training to prediction."""

import csv
import dataclasses
import json

import jax
import numpy as np
import pytest
from PIL import Image

from experiments import convert, evaluate, export, predict, train
from experiments.building import initialise
from experiments.building.build import Experiment, load_splits
from experiments.building.networks import from_folder
from experiments.configuration.config import DataConfig, LossConfig, ModelConfig, TrainConfig
from fcn.data import read_image
from fcn.preprocessing import Preprocessing
from fcn.pretrained.origin import Origin
from fcn.training import unstacked

SHORT = "--ensemble 2 --steps 2 --eval-every 2 --checkpoint-every 2 --model.options base_features=2 depth=1".split()


def test_two_networks_are_trained_and_predict_as_one(options, folder_data, tmp_path, capsys):
    run, out, table = tmp_path / "run", tmp_path / "out", tmp_path / "images.csv"
    train.main([*options, *SHORT, "--workdir", str(run)])
    result = json.loads((run / "result.json").read_text())
    capsys.readouterr()
    evaluate.main([str(run), "--json", "--csv", str(table)])
    values = json.loads(capsys.readouterr().out)
    assert values["val/miou"] == pytest.approx(result["val/miou"]) and values["step"] == 2
    predict.main([str(run), str(folder_data / "images/val/00.png"), "--out", str(out), "--save", "labels", "uncertainty"])
    of_pixels = np.load(out / "00_uncertainty.npy").mean((0, 1))
    for name, of_image in zip(("entropy", "mutual_information"), of_pixels, strict=True):
        found = {row["image"]: float(row[name]) for row in csv.DictReader(table.read_text().splitlines())}
        assert found["00"] == pytest.approx(of_image, rel=1e-4) and of_image > 0
        assert values[f"val/{name}"] == pytest.approx(np.mean(list(found.values())))
    network = from_folder(run, "last")
    image = network.preprocessing.apply(read_image(folder_data / "images/val/00.png", channels=3)[None])
    apply = jax.jit(network.model.model.apply)
    logits = [apply(one, image) for one in unstacked(network.variables, 2)]
    expected = np.argmax(sum(jax.nn.softmax(each) for each in logits)[0], -1)
    assert np.mean(np.asarray(Image.open(out / "00_mask.png")) == expected) > 0.99  # rounding may decide between two classes
    for command in (convert, export):
        with pytest.raises(ValueError, match="is an ensemble of 2 networks; a saved model is one"):
            command.main([str(run), "--out", str(tmp_path / "saved")])
    with pytest.raises(ValueError, match="is an ensemble of 2 networks; start from the run of one"):
        train.main([*options, "--init", str(run), "--workdir", str(tmp_path / "third")])


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"on_nan": "skip"}, "on_nan is skip, by which each of 2 networks would drop its own updates; take stop"),
        ({"parallel": "pmap"}, "parallel is pmap, which trains one network; for an ensemble of 2 take jit"),
    ],
)
def test_what_an_ensemble_cannot_do(wrong, message):
    with pytest.raises(ValueError, match=message):
        TrainConfig(ensemble=2, **wrong)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"ensemble": 2}, "leave the ensemble out"),
        ({"data": DataConfig("shapes", size=(16, 16))}, "set data.crop in place of data.size"),
    ],
)
def test_networks_that_have_no_mean(options, message):
    config = TrainConfig(**{"data": DataConfig("shapes"), "task": "condinst", "batch_size": 8, **options})
    with pytest.raises(ValueError, match="the task 'condinst' predicts networks, whose mean is none of them; " + message):
        Experiment(config, *load_splits(config.data, "instances"))


def test_with_all_else_switched_on_a_step_fits_together(folder_data, monkeypatch, capsys):
    """It is traced only. The second network begins as the run of the next seed does; each gets the initial weights."""
    config = TrainConfig(
        ensemble=2,
        seed=3,
        scan_steps=2,
        shard_params=True,
        accumulate=2,
        ema=0.9,
        batch_size=8,
        data=DataConfig("folder", str(folder_data)),
        model=ModelConfig("unet", options=("base_features=8", "depth=1")),
        loss=LossConfig(terms="border+dice"),
    )
    splits = load_splits(config.data)
    experiment = Experiment(config, *splits)
    state = experiment.initial_state()
    experiment.check(experiment.train_step(), state)
    assert state.step.tolist() == [0, 0] and experiment.describe(state).startswith("2 x unet, ")
    following = Experiment(dataclasses.replace(config, ensemble=1, seed=4), *splits).initial_state()
    jax.tree.map(np.testing.assert_array_equal, unstacked(state, 2)[1].params, following.params)

    def read(channels):
        reads.append(channels)
        return {"params": {"head": jax.tree.map(np.ones_like, following.params["head"])}}

    reads = []
    monkeypatch.setattr(initialise, "find_weights", lambda *_: Origin(read, Preprocessing))
    experiment.config = dataclasses.replace(config, init="weights")
    started = experiment.with_weights(state)
    assert reads == [3] and capsys.readouterr().out.count("starting from weights: 2 of ") == 1
    expected = {**state.params, "head": jax.tree.map(np.ones_like, state.params["head"])}
    for params in (started.params, started.ema["params"]):
        jax.tree.map(np.testing.assert_array_equal, params, expected)
