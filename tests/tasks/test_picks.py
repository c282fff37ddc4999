"""Picks: Gaussians that are learnt, peaks that are found, hits that count, and what PhaseNet's own weights reach."""

import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from PIL import Image

import fcn
from experiments import evaluate, predict, train
from fcn import tasks
from fcn.data import check_source, open_source
from fcn.metrics.picks import Pick, Picks, picks_in

TASK = tasks.make("picks", ("noise", "P", "S"))


def test_a_pick_is_learnt_as_a_gaussian_and_noise_as_the_rest():
    label = np.zeros(60, np.int32)
    label[[20, 29]] = 1, 2
    shares = TASK.shares(label)
    near = np.exp(-((np.arange(60) - 20) ** 2) / (2 * 6.0**2)) * (abs(np.arange(60) - 20) <= 15)
    np.testing.assert_allclose(shares[:14, 1], near[:14], rtol=1e-6)  # PhaseNet: 31 points, a deviation of 6
    np.testing.assert_allclose(shares.sum(-1), 1, rtol=1e-6)
    assert shares[20].argmax() == 1 and shares[29].argmax() == 2 and shares[0, 0] == 1 and shares.min() >= 0


def test_the_loss_is_the_cross_entropy_of_shares_where_they_are_known():
    logits = np.random.default_rng(0).normal(size=(2, 5, 3)).astype(np.float32)
    shares = np.random.default_rng(1).dirichlet((1, 1, 1), (2, 5)).astype(np.float32)
    shares[1, 2:] = -1
    known = shares[..., 0] >= 0
    expected = -(shares * np.asarray(jax.nn.log_softmax(logits))).sum(-1)[known].mean()
    assert float(TASK.loss(jnp.asarray(logits), {"shares": shares})) == pytest.approx(float(expected), rel=1e-5)


def test_peaks_are_picks_unless_a_higher_one_is_near():
    probabilities = np.zeros((200, 3), np.float32)
    probabilities[[10, 40, 120], 1] = 0.7, 0.9, 0.4
    probabilities[[0, 60], 2] = 0.6, 0.8
    found = picks_in(probabilities, 0.5, 50)
    assert [(pick.kind, pick.sample) for pick in found] == [(2, 0), (1, 40), (2, 60)]
    assert found[1].probability == pytest.approx(0.9)


def test_a_label_is_hit_once_by_the_nearest_pick():
    metric = Picks(2, tolerance=10)
    state = metric.count([[Pick(1, 95), Pick(1, 103), Pick(2, 300)], []], [[Pick(1, 100), Pick(2, 311)], [Pick(1, 5)]])
    np.testing.assert_array_equal(state.counts, [[[1, 1, 0], [0, 1, 1]], [[0, 0, 1], [0, 0, 0]]])
    found = metric.compute(state)
    np.testing.assert_allclose(found.precision, [1 / 2, 0])
    np.testing.assert_allclose(found.recall, [1 / 2, 0])
    assert found.mean[0] == 3 and np.isnan(found.mean[1])
    values = TASK.scalars(found, "val/")
    assert values["val/f1"] == pytest.approx(0.25) and values["val/seconds/S"] is None


def test_phasenet_s_weights_find_what_their_authors_say(shared_data):
    source = open_source("folder", "all", root=shared_data / "signals_phasenet", per_image="z-score")
    model = fcn.create_model("phasenet", num_classes=3)
    weights = next((shared_data / "weights" / "phasenet").glob("*.npz"))
    variables = fcn.from_torch(model, weights, source="phasenet")
    samples = [source[index] for index in range(len(source))]
    signals = np.stack([(sample["image"] - 127.5) / 42.5 for sample in samples])
    scores = np.asarray(jax.jit(lambda x: TASK.scores(model.apply(variables, x)))(signals))
    state = TASK.metric().count([TASK.prediction(one) for one in scores], [TASK.truth(sample) for sample in samples])
    found = TASK.metric().compute(state)
    np.testing.assert_allclose(found.f1, [0.904, 0.800], atol=5e-4)
    np.testing.assert_allclose(found.precision, [0.945, 0.880], atol=5e-4)
    np.testing.assert_allclose(found.deviation, [2.9, 3.7], atol=0.05)


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    """Waves of one shape at some places: P a bump of the first channel, S of the second."""
    root, random = tmp_path_factory.mktemp("waves"), np.random.default_rng(0)
    places = random.integers(20, 40, (12, 2)) + np.array([0, 50])
    waveforms = random.normal(0, 0.1, (12, 128, 2)).astype(np.float32)
    for wave, own in zip(waveforms, places):
        for channel, place in enumerate(own):
            wave[place : place + 6, channel] += 5
    names = [f"wave{number}" for number in range(12)]
    np.savez(root / "waveforms.npz", names=names, waveforms=waveforms, p_index=places[:, 0], s_index=places[:, 1])
    return root


def test_a_network_learns_to_pick(data, tmp_path, capsys):
    run = tmp_path / "run"
    network = "--model.options base_features=4 depth=1 --task-options tolerance=4 deviation=2 distance=10 threshold=0.4"
    steps = "--steps 150 --log-every 50 --eval-every 150 --checkpoint-every 150 --batch-size 4 --mesh.data 1 --ema 0"
    train.main(["phasenet_picks", *network.split(), *steps.split(), "--data.root", str(data), "--workdir", str(run)])
    evaluate.main([str(run), "--json", str(tmp_path / "found.json")])
    found = json.loads((tmp_path / "found.json").read_text())
    assert found["val/f1"] > 0.5 and "precision" in capsys.readouterr().out
    predict.main([str(run), str(data), "--out", str(tmp_path / "out")])
    assert len(list((tmp_path / "out").glob("*_picks.csv"))) == 12
    head, *rows = (tmp_path / "out" / "wave0_picks.csv").read_text().split()
    assert head == "phase,sample,seconds,probability" and all(row.split(",")[0] in "PS" for row in rows)
    assert np.asarray(Image.open(tmp_path / "out" / "wave0_picks.png")).shape == (2 * 60 + 12, 128, 3)


def test_seismograms_are_a_source(data, tmp_path):
    source = open_source("folder", "all", root=data, per_image="z-score")
    check_source(source)
    arrays = np.load(data / "waveforms.npz")
    assert np.flatnonzero(source[3]["label"]).tolist() == [arrays["p_index"][3], arrays["s_index"][3]]
    np.testing.assert_allclose(source[3]["image"].mean(0), 127.5, atol=1e-3)
    np.savez(tmp_path / "waveforms.npz", names=["a"], waveforms=np.zeros((1, 4, 2)))
    with pytest.raises(ValueError, match="no array 'p_index'"):
        open_source("folder", "all", root=tmp_path)
    with pytest.raises(ValueError, match="this task needs instances"):
        open_source("folder", "all", root=data, label_kind="instances")
