"""Metrics of instance maps: StarDist's and Cellpose's values, a dense assignment, and closed forms."""

import time

import numpy as np
import pytest
import scipy.optimize

from fcn.metrics.instances import (
    Instances,
    Panoptic,
    aggregated_jaccard_index,
    foreground_jaccard_index,
    match,
    match_all,
    overlaps,
    seg_score,
)

# StarDist's names of fields -> ours.
FIELDS = {
    "fp": "fp",
    "tp": "tp",
    "fn": "fn",
    "precision": "precision",
    "recall": "recall",
    "accuracy": "ap",
    "f1": "f1",
    "mean_true_score": "mean_true_overlap",
    "mean_matched_score": "sq",
    "panoptic_quality": "pq",
}


@pytest.fixture(scope="module")
def oracles(shared_data):
    """Reference values, and the pairs of true and predicted maps that they are of."""
    folder = shared_data / "oracles" / "instances"
    with np.load(folder / "metrics.npz") as values, np.load(folder / "reference.npz") as maps:
        values = dict(values)
        pairs = [(maps[f"{name}/label"], maps[f"{name}/perturbed"]) for name in values["names"]]
    return values, pairs


@pytest.fixture(scope="module")
def gathered(oracles):
    """Of all images, in two parts that are merged."""

    def gather(criterion="iou"):
        metric, (_, pairs) = Instances(criterion=criterion), oracles
        parts = [metric.update(metric.init(), [p for _, p in half], [t for t, _ in half]) for half in (pairs[:2], pairs[2:])]
        return metric.compute(metric.merge(*parts))

    return gather


def assert_fields(found, row, fields):
    for theirs, value in zip(fields, row):
        if theirs in FIELDS:
            np.testing.assert_allclose(found(FIELDS[theirs]), value, rtol=1e-6, atol=1e-7, err_msg=theirs)


def test_each_image_equals_stardist_and_cellpose(oracles, gathered):
    values, pairs = oracles
    for name, (true, predicted), image in zip(values["names"], pairs, gathered().images):
        for row, one in zip(values[f"{name}/stardist_matching"], image):
            assert_fields(lambda field, one=one: getattr(one, field), row, values["stardist_fields"])
        theirs = values[f"{name}/cellpose_ap_tp_fp_fn"]
        np.testing.assert_allclose([[one.ap, one.tp, one.fp, one.fn] for one in image], theirs.T, rtol=1e-6)
        assert foreground_jaccard_index(true, predicted) == pytest.approx(float(values[f"{name}/cellpose_aji"]), rel=1e-6)
        assert aggregated_jaccard_index(true, predicted) == pytest.approx(float(values[f"{name}/aji_kumar_own"]), rel=1e-6)
        assert seg_score(true, predicted) == pytest.approx(float(values[f"{name}/seg_own"]), rel=1e-6)


@pytest.mark.parametrize(
    ("key", "criterion"), [("dataset_pooled", "iou"), ("pooled_iot", "iot"), ("pooled_iop", "iop"), ("dataset_by_image", "iou")]
)
def test_the_data_set_equals_stardist(key, criterion, oracles, gathered):
    found, (values, _) = gathered(criterion), oracles
    fields = values["dataset_fields"]
    for number, row in enumerate(values[key]):

        def value(field, number=number):
            mean = key == "dataset_by_image" and field not in ("tp", "fp", "fn")
            return found.mean(field)[number] if mean else getattr(found.pooled[number], field)

        assert_fields(value, row, fields)
    assert found.mean_ap == pytest.approx(np.mean([one.ap for one in found.pooled]))


def test_the_number_of_objects(oracles, gathered):
    differences = [len(np.unique(p[p > 0])) - int(t.max()) for t, p in oracles[1]]
    assert gathered().count_error == np.mean(np.abs(differences)) and gathered().count_bias == np.mean(differences)


def random_maps(rng, size=(40, 40), count=30):
    """Rectangles over each other: one meets many."""
    maps = np.zeros((2, *size), int)
    for each in maps:
        for number in range(1, count):
            y, x = rng.integers(0, size[0] - 3), rng.integers(0, size[1] - 3)
            each[y : y + rng.integers(3, 15), x : x + rng.integers(3, 15)] = number
    return maps


@pytest.mark.parametrize("threshold", [0.05, 0.2, 0.5, 0.7])
@pytest.mark.parametrize("criterion", ["iou", "iot", "iop"])
def test_matching_equals_a_dense_assignment(threshold, criterion):
    true, predicted = random_maps(np.random.default_rng(1))
    ids = [np.unique(each[each > 0]) for each in (true, predicted)]
    scores = np.zeros((len(ids[0]), len(ids[1])))
    for i, t in enumerate(ids[0]):
        for j, p in enumerate(ids[1]):
            over = {"iou": (true == t) | (predicted == p), "iot": true == t, "iop": predicted == p}[criterion]
            scores[i, j] = np.sum((true == t) & (predicted == p)) / np.sum(over)
    gains = np.where(scores >= threshold, 100 + scores, 0)
    chosen = scipy.optimize.linear_sum_assignment(gains, maximize=True)
    expected = scores[chosen][gains[chosen] > 0]
    found = match(true, predicted, threshold, criterion=criterion)
    assert (found.tp, found.fp, found.fn) == (len(expected), len(ids[1]) - len(expected), len(ids[0]) - len(expected))
    assert found.overlap == pytest.approx(expected.sum(), rel=1e-12)
    assert len(np.unique(found.pairs[:, 0])) == len(np.unique(found.pairs[:, 1])) == found.tp


def test_closed_forms():
    """Two strips of twelve pixels; the first is found but for three pixels, the second is split, a third is invented."""
    true, predicted = np.zeros((2, 5, 12), int)
    true[0], true[2] = 3, 900
    predicted[0, :9], predicted[2, :6], predicted[2, 6:], predicted[4, :4] = 7, 2, 5, 1
    found = match(true, predicted)
    assert (found.tp, found.fp, found.fn) == (2, 2, 0)  # an IoU of exactly 0.5 matches
    assert found.pairs[0].tolist() == [3, 7] and found.pairs[1][0] == 900
    assert (found.ap, found.f1, found.sq) == (0.5, 4 / 6, (0.75 + 0.5) / 2)
    assert found.pq == found.sq * found.rq == pytest.approx(0.625 * 2 / 3)
    assert aggregated_jaccard_index(true, predicted) == pytest.approx((9 + 6) / (12 + 12 + 6 + 4))
    assert seg_score(true, predicted) == 0.75 / 2  # nothing covers more than half of the second
    assert foreground_jaccard_index(true, predicted) == pytest.approx((9 + 6) / (24 + 4))


def test_nothing_there():
    nothing, one = np.zeros((4, 4), int), np.eye(4, dtype=int)
    assert np.isnan(match(nothing, nothing).ap) and np.isnan(match(nothing, nothing).pq)
    for missed in (match(one, nothing), match(nothing, one)):
        assert missed.ap == missed.pq == missed.precision == missed.recall == 0
    assert np.isnan(aggregated_jaccard_index(nothing, nothing)) and np.isnan(seg_score(nothing, one))
    assert aggregated_jaccard_index(one, nothing) == aggregated_jaccard_index(nothing, one) == 0
    metric = Instances((0.5, 0.9))
    result = metric.compute(metric.update(metric.init(), [nothing, one], [nothing, one]))
    np.testing.assert_array_equal(result.mean("ap"), [1, 1])
    assert np.isnan(metric.compute(metric.init()).count_error)


def test_pixels_that_do_not_count():
    """Below 0 in the truth; an object that lies there for more than half is not invented, another is cut."""
    true, predicted = np.zeros((2, 3, 10), int)
    true[0, :4], true[0, 4:] = 1, -1
    predicted[0], predicted[1, :] = 5, 8
    predicted[0, :4], true[1, :4], true[1, 4:] = 6, 2, -1
    found = overlaps(true, predicted)
    assert found.predicted_ids.tolist() == [6] and found.predicted_areas.tolist() == [4]
    assert (match(true, predicted).tp, match(true, predicted).fp, match(true, predicted).fn) == (1, 0, 1)


@pytest.mark.parametrize("largest", [70_000, 2**40])
def test_ids_may_be_any_numbers_and_objects_in_parts(largest):
    true = np.zeros((4, 6), np.int64)
    true[0], true[2, :3], true[3, 4:] = largest, 1, 1
    assert match(true, true).pairs.tolist() == [[1, 1], [largest, largest]]
    assert match(true, true, 1).ap == 1
    assert overlaps(true, true).true_areas.tolist() == [5, 6]


def test_ten_thousand_objects_take_no_time():
    cells = np.arange(1, 10_001).reshape(100, 100)
    true = np.kron(cells, np.ones((10, 10), np.int32))
    predicted = np.roll(true, (3, 2), (0, 1))  # each meets four
    started = time.perf_counter()
    found = match_all(true, predicted, [0.05, 0.3, 0.5, 0.9])
    assert time.perf_counter() - started < 5
    assert [one.tp for one in found] == [10_000, 10_000, 0, 0]  # 56 pixels of 144
    assert found[1].sq == pytest.approx(56 / 144)


def test_panoptic_quality_of_classes():
    """The car is found, its neighbour is called a person, and half of the road is exactly not enough."""
    true, predicted = np.zeros((2, 4, 8), int)
    true[0, :4], true[0, 4:], true[2:] = 1, 2, 3
    predicted[0, :4], predicted[0, 4:], predicted[2] = 2, 1, 9
    classes = [0] * 10
    true_classes, predicted_classes = [0, 1, 1, 2], classes.copy()
    predicted_classes[1], predicted_classes[2], predicted_classes[9] = 0, 1, 2
    metric = Panoptic(4)
    state = metric.update(metric.init(), [(predicted, predicted_classes)] * 2, [(true, true_classes)] * 2)
    person, car, road, sky = metric.compute(state)
    assert state.counts.shape == (2, 4, 3)
    assert (person.tp, person.fp, person.fn) == (0, 2, 0) and person.pq == 0
    assert (car.tp, car.fp, car.fn) == (2, 0, 2) and car.pq == pytest.approx(2 / 3)
    assert (road.tp, road.fp, road.fn) == (0, 2, 2)
    assert np.isnan(sky.pq)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda a: match(a, a[1:]), r"\(3, 3\) and predicted \(2, 3\)"),
        (lambda a: match(a, a, 0), "above 0 and at most 1, such as 0.5, not 0"),
        (lambda a: Instances(()), "not none"),
        (lambda a: match(a, a - 1), "predicted ids are 0 .* -1 is among them"),
        (lambda a: match(a, a, criterion="iow"), "unknown criterion 'iow'; did you mean 'io"),
    ],
)
def test_what_is_refused(call, message, unchecked):
    with pytest.raises(ValueError, match=message):
        call(np.zeros((3, 3), int))
