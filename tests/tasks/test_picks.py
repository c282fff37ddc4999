"""Picks: Gaussians that are learnt, peaks that are found, hits that count."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from fcn import tasks
from fcn.metrics.picks import Pick, Picks, picks_in

TASK = tasks.PickTask(classes=("noise", "P", "S"), rate=100)


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


def test_a_task_without_a_sampling_rate_is_refused():
    with pytest.raises(ValueError, match="give the sampling rate of the signals, such as rate=100"):
        tasks.make("picks", ("noise", "P", "S"))
