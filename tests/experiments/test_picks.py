"""The commands on signals: picks are learnt, measured, predicted and looked at, and what PhaseNet's own weights reach."""

import json
import re

import jax
import numpy as np
import pytest
from PIL import Image

import fcn
from experiments import convert, evaluate, inspect, predict, train
from fcn import tasks
from fcn.data import check_source, open_source
from fcn.preprocessing import Preprocessing
from tests.variables import random_variables

COUNT, LENGTH, WIDTH = 12, 64, 6
NAMES = [f"wave{number}" for number in range(COUNT)]


def lay(folder, **changes):
    """Noise with bumps of one width at some places: P in the first channel, S in the second."""
    random = np.random.default_rng(0)
    places = random.integers(8, 24, (COUNT, 2)) + np.array([0, 30])
    waveforms = random.normal(0, 0.1, (COUNT, LENGTH, 2)).astype(np.float32)
    for wave, own in zip(waveforms, places):
        for channel, place in enumerate(own):
            wave[place : place + WIDTH, channel] += 5
    arrays = {"names": NAMES, "waveforms": waveforms, "p_index": places[:, 0], "s_index": places[:, 1], **changes}
    np.savez(folder / "waveforms.npz", **{name: array for name, array in arrays.items() if array is not None})
    return folder


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    return lay(tmp_path_factory.mktemp("waves"))


@pytest.fixture(scope="module")
def by_hand(tmp_path_factory):
    """A saved network for what begins: four samples of a channel less the one before; it says S a sample late."""
    model = fcn.create_model("phasenet", num_classes=3, base_features=2, depth=1)
    variables = jax.tree.map(np.zeros_like, random_variables(model, 1, LENGTH, 2))
    variables = jax.tree_util.tree_map_with_path(lambda path, leaf: leaf + (path[-1].key in ("scale", "var")), variables)
    params, identity = variables["params"], np.eye(2, dtype=np.float32)
    params["Input"]["input_conv"]["kernel"][3] = params["UpConv_0"]["up_conv1_1"]["kernel"][3, :2] = identity
    params["DownConv_0"]["down_conv1_1"]["kernel"][2:, 0, 0] = -1, 1, 1, 1, 1
    params["DownConv_0"]["down_conv1_1"]["kernel"][1:6, 1, 1] = -1, 1, 1, 1, 1
    params["Output"]["output_conv"]["kernel"][..., 1:] = 2 * identity
    params["Output"]["output_conv"]["bias"][0] = 10
    folder = tmp_path_factory.mktemp("saved") / "picker"
    expected = Preprocessing((1 / 2,) * 2, (1 / 6,) * 2, per_image="z-score", axes=1)
    task = tasks.make("picks", ("noise", "P", "S"), rate=20, distance=10, tolerance=2)
    fcn.save(folder, model, variables, task=task, preprocessing=expected)
    return folder


def test_a_network_learns_to_pick(data, tmp_path):
    run = tmp_path / "run"
    network = "--model.options base_features=4 depth=1 --task-options rate=20 deviation=2 --optim.learning-rate 0.03"
    steps = "--steps 12 --log-every 2 --eval-every 12 --checkpoint-every 12 --batch-size 8 --mesh.data 1 --ema 0"
    train.main(["phasenet_picks", *network.split(), *steps.split(), "--data.root", str(data), "--workdir", str(run)])
    records = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    losses = [record["train/loss"] for record in records if "train/loss" in record]
    assert max(losses[3:]) < 0.7 * losses[0], losses
    assert records[-1]["val/loss"] < losses[0] and "val/f1/P" in records[-1]


def test_picks_are_measured_and_predicted(by_hand, data, tmp_path, capsys):
    """By a network whose picks are known."""
    evaluate.main([str(by_hand), "--data.root", str(data), "--split", "all", "--json", str(tmp_path / "found.json")])
    found, said = json.loads((tmp_path / "found.json").read_text()), capsys.readouterr().out
    assert found["val/f1"] == found["val/precision/P"] == found["val/recall/S"] == 1 and found["val/seconds/S"] == 0
    assert "12 signals" in said
    assert re.search(r"P +1.000 +1.000 +1.000 +0.000 +0.000\nS +1.000 +1.000 +1.000 +0.050 +0.000\n", said)
    with pytest.raises(ValueError, match="--tta is for images and volumes, and the network takes signals; leave it out"):
        predict.main([str(by_hand), str(data), "--out", str(tmp_path / "out"), "--tta", "flips"])
    predict.main([str(by_hand), str(data), "--out", str(tmp_path / "out")])
    truth = np.load(data / "waveforms.npz")
    for number, name in enumerate(NAMES):
        head, *rows = (tmp_path / "out" / f"{name}_picks.csv").read_text().split()
        assert head == "phase,sample,seconds,probability"
        picks = [(phase, int(sample), float(seconds)) for phase, sample, seconds, _ in (row.split(",") for row in rows)]
        begins = truth["p_index"][number], truth["s_index"][number] + 1
        assert picks == [(phase, sample, pytest.approx(sample / 20)) for phase, sample in zip("PS", begins)]
    picture = np.asarray(Image.open(tmp_path / "out" / "wave0_picks.png"))
    assert picture.shape == (2 * 60 + 12, LENGTH, 3)


def test_picks_of_signals_in_files_are_measured(by_hand, data, tmp_path):
    """Arrays and tables of class numbers."""
    source = open_source("folder", "all", root=data, per_image="z-score")
    (tmp_path / "classes.csv").write_text("id,name\n0,noise\n1,P\n2,S\n")
    for kind in ("images", "labels"):
        (tmp_path / kind / "val").mkdir(parents=True)
    for index in range(2):
        np.save(tmp_path / "images" / "val" / f"{index}.npy", source[index]["image"])
        np.savetxt(tmp_path / "labels" / "val" / f"{index}.csv", source[index]["label"], "%d", header="class", comments="")
    evaluate.main([str(by_hand), "--root", str(tmp_path), "--json", str(tmp_path / "found.json")])
    found = json.loads((tmp_path / "found.json").read_text())
    assert (found["val/f1"], found["val/recall/P"], found["val/precision/S"]) == (1, 1, 1)


def test_phasenet_s_weights_find_what_their_authors_say(shared_data, tmp_path):
    """Converted, and measured by the command of docs/data.md."""
    signals, weights = shared_data / "signals_phasenet", shared_data / "weights" / "phasenet" / "phasenet_190703-214543.npz"
    (tmp_path / "phases.txt").write_text("noise\nP\nS\n")
    model = f"--model phasenet --source phasenet --task picks --task-options rate=100 --classes {tmp_path / 'phases.txt'}"
    convert.main([str(weights), *model.split(), "--out", str(tmp_path / "phasenet")])
    evaluate.main(
        [str(tmp_path / "phasenet"), "--data.root", str(signals), "--split", "all", "--json", str(tmp_path / "found.json")]
    )
    found = json.loads((tmp_path / "found.json").read_text())
    expected = {"precision/P": 0.945, "recall/P": 0.867, "f1/P": 0.904, "precision/S": 0.880, "recall/S": 0.733, "f1/S": 0.800}
    assert {name: round(found[f"val/{name}"], 3) for name in expected} == expected
    assert (round(found["val/seconds/P"], 3), round(found["val/seconds/S"], 3)) == (0.029, 0.037)


def test_seismograms_are_a_source(data):
    source = open_source("folder", "all", root=data, per_image="z-score")
    check_source(source)
    arrays = np.load(data / "waveforms.npz")
    assert np.flatnonzero(source[3]["label"]).tolist() == [arrays["p_index"][3], arrays["s_index"][3]]
    np.testing.assert_allclose(source[3]["image"].mean(0), 127.5, atol=1e-3)
    with pytest.raises(ValueError, match="this task needs instances"):
        open_source("folder", "all", root=data, label_kind="instances")


def test_seismograms_are_inspected(data, tmp_path, capsys):
    assert inspect.main([str(data), "--json", str(tmp_path / "found.json")]) == 0
    assert "waveforms.npz of signals and picks" in capsys.readouterr().out
    found = json.loads((tmp_path / "found.json").read_text())
    assert sum(split["count"] for split in found["splits"].values()) == COUNT and found["kind"] == "signals"
    assert found["splits"]["val"]["class_shares"] == pytest.approx({"noise": 62 / 64, "P": 1 / 64, "S": 1 / 64})


@pytest.mark.parametrize(
    ("changes", "refusal"),
    [
        ({"p_index": None}, "no array 'p_index'"),
        ({"s_index": np.full(COUNT, LENGTH)}, "s_index of wave0 is 64; its signal has 64 samples"),
        ({"window_start": np.full(COUNT, -1)}, "window_start of wave0 is -1; its signal has 64 samples"),
        ({"waveforms": np.zeros((COUNT, 4))}, r"waveforms of shape \(12, 4\); they are \[N, L, C\]"),
        ({"sampling_rate": 0.0}, "sampling_rate is 0.0; give samples a second"),
        ({"sampling_rate": 50.0}, "has 50 samples a second, and the network is for 20; resample the signals"),
        ({"waveforms": np.ones((COUNT, 4, 3)), "s_index": np.ones(COUNT), "p_index": np.ones(COUNT)}, "signals of 2 channels"),
    ],
)
def test_what_is_wrong_with_seismograms_is_said(by_hand, tmp_path, changes, refusal):
    lay(tmp_path, **changes)
    with pytest.raises(ValueError, match=refusal):
        evaluate.main([str(by_hand), "--root", str(tmp_path), "--split", "all"])


@pytest.mark.parametrize(
    ("name", "refusal"),
    [("flat.csv", r"shape \[16, 1\]; the network takes \[L, 2\]"), ("text.csv", "could not convert string to float: 'b'")],
)
def test_a_signal_that_does_not_fit_is_told(by_hand, tmp_path, capsys, name, refusal):
    (tmp_path / "flat.csv").write_text("z\n" + "1\n" * 16)
    (tmp_path / "text.csv").write_text("n,z\n1,b\n")
    with pytest.raises(ValueError, match="1 of 1 signals were not predicted"):
        predict.main([str(by_hand), str(tmp_path / name), "--out", str(tmp_path / "out")])
    assert re.search(refusal, capsys.readouterr().err) and not list((tmp_path / "out").iterdir())
