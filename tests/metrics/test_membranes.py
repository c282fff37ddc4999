"""Watersheds against a queue of pixels; scores of membranes against pairs of pixels and in the challenge's sense."""

import heapq
import itertools

import numpy as np
import pytest
import scipy.ndimage

from fcn.metrics import information_score, membrane_segments, rand_score, watershed

RNG = np.random.default_rng(0)


def slow_watershed(landscape, seeds, mask):
    """The lowest pixel first, of equally low ones the one that came first."""
    labels, arrivals = np.where(mask, seeds, 0), itertools.count()
    queue = [(landscape[place], next(arrivals), place) for place in zip(*np.nonzero(labels))]
    heapq.heapify(queue)
    while queue:
        height, _, place = heapq.heappop(queue)
        for step, axis in itertools.product((1, -1), range(labels.ndim)):
            near = tuple(p + step * (a == axis) for a, p in enumerate(place))
            if all(0 <= p < n for p, n in zip(near, labels.shape)) and mask[near] and not labels[near]:
                labels[near] = labels[place]
                heapq.heappush(queue, (max(height, landscape[near]), next(arrivals), near))
    return labels


@pytest.mark.parametrize("shape", [(40,), (14, 17), (5, 6, 7)])
@pytest.mark.parametrize("steps", [4, 1000])
def test_watershed_equals_a_queue_of_pixels(shape, steps):
    hills = scipy.ndimage.gaussian_filter(RNG.random(shape), 1.5)
    hills = np.rint(steps * (hills - hills.min()) / np.ptp(hills)).astype(int)
    seeds, mask = np.zeros(shape, int), RNG.random(shape) < 0.9
    seeds.ravel()[RNG.choice(seeds.size, 5, replace=False)] = [1, 2, 3, 7, 70000]
    found = watershed(hills, seeds, mask)
    np.testing.assert_array_equal(found, slow_watershed(hills, seeds, mask))
    assert found.dtype == np.int32 and len(np.unique(found)) > 3


def test_watershed_follows_ridges():
    """Two basins with a ridge of its own form between them, a wall that water does not pass, and an island without a seed."""
    rows, columns = np.indices((20, 30))
    ridge = 12 + np.rint(4 * np.sin(rows[:, 0] / 3)).astype(int)
    landscape = -np.abs(columns - ridge[:, None]).astype(np.float32)
    seeds, mask = np.zeros((20, 30), int), columns != 25
    seeds[3, 0], seeds[15, 20] = 5, 9
    found = watershed(landscape, seeds, mask)
    left, right = columns < ridge[:, None], (columns > ridge[:, None]) & (columns < 25)
    assert (found[left] == 5).all() and (found[right] == 9).all()
    assert not found[columns >= 25].any() and found[columns == ridge[:, None]].all()


def test_watershed_refuses_what_has_no_height():
    with pytest.raises(ValueError, match="must be finite"):
        watershed(np.array([0.0, np.nan]), np.array([1, 0]))


def random_ids():
    true = np.kron(RNG.integers(1, 6, (4, 5)), np.ones((4, 4), int))
    true[RNG.random(true.shape) < 0.15] = 0
    return np.where(RNG.random(true.shape) < 0.7, true, RNG.integers(0, 8, true.shape)), true


def test_scores_equal_those_of_pairs():
    predicted, true = random_ids()
    s, t = predicted[true > 0], true[true > 0]
    alike = [np.mean(same) for same in ((s[:, None] == s) & (t[:, None] == t), s[:, None] == s, t[:, None] == t)]
    assert rand_score(predicted, true) == pytest.approx(alike[0] / (alike[1] + alike[2]) * 2, rel=1e-12)
    table = np.array([[np.mean((s == a) & (t == b)) for b in range(1, 6)] for a in range(8)])
    table = table[table.sum(1) > 0][:, table.sum(0) > 0]
    rows, columns = table.sum(1), table.sum(0)
    seen = table > 0
    information = np.sum(table[seen] * np.log(table[seen] / np.outer(rows, columns)[seen]))
    entropies = -np.sum(rows * np.log(rows)) - np.sum(columns * np.log(columns))
    assert information_score(predicted, true) == pytest.approx(2 * information / entropies, rel=1e-10)


def test_scores_at_their_ends(unchecked):
    _, true = random_ids()
    renamed = np.array([4, 9, 1, 2, 3, 5])[true]
    assert rand_score(renamed, true) == 1 and information_score(renamed, true) == pytest.approx(1, rel=1e-12)
    assert information_score(np.ones_like(true), true) == pytest.approx(0, abs=1e-12)
    assert information_score(np.ones_like(true), np.ones_like(true)) == 1
    assert np.isnan(rand_score(true, np.zeros_like(true))) and np.isnan(information_score(true, np.zeros_like(true)))
    with pytest.raises(ValueError, match="same shape"):
        rand_score(true[None], true)


def test_wide_membranes_cost_nothing_and_gaps_do():
    """Four cells of 20x20; membranes are drawn five pixels too wide, or have a hole of two pixels."""
    membrane = np.zeros((41, 41), bool)
    membrane[20] = membrane[:, 20] = True
    true = membrane_segments(membrane.astype(float), thin=False)
    assert true.max() == 4 and not true[membrane].any()
    wide = scipy.ndimage.gaussian_filter(scipy.ndimage.binary_dilation(membrane, iterations=3).astype(float), 1.5)
    assert rand_score(membrane_segments(wide), true) > 0.99
    assert rand_score(membrane_segments(wide, thin=False), true) < 0.8
    broken = membrane.astype(float)
    broken[5:7, 20] = 0
    assert rand_score(membrane_segments(broken), true) < 0.85
