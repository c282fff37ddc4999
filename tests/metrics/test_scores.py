"""Scores of counts against loops over images and classes, closed forms and scikit-learn's definitions."""

import jax
import numpy as np
import pytest

from fcn.metrics import (
    SCORES,
    Counts,
    Multilabel,
    PerImage,
    Segmentation,
    cohen_kappa,
    counts_of,
    image_scalars,
    matthews_correlation,
    score,
    segmentation_metrics,
)

K = 4
RNG = np.random.default_rng(0)
LABELS = RNG.integers(0, K, (5, 6, 7)).astype(np.int32)
PREDICTIONS = np.where(RNG.random(LABELS.shape) < 0.6, LABELS, RNG.integers(0, K, LABELS.shape)).astype(np.int32)
LABELS[1][LABELS[1] == 2], PREDICTIONS[1][PREDICTIONS[1] == 2] = 0, 1  # class 2 is absent from image 1
LABELS[RNG.random(LABELS.shape) < 0.2] = 255


def by_hand(predictions, labels, c):
    p, t = predictions[labels != 255] == c, labels[labels != 255] == c
    return [int(np.sum(x)) for x in (p & t, p & ~t, ~p & t, ~p & ~t)]


SLOW = {
    "iou": lambda tp, fp, fn, tn: tp / (tp + fp + fn),
    "f1": lambda tp, fp, fn, tn: 2 * tp / (2 * tp + fp + fn),
    "precision": lambda tp, fp, fn, tn: tp / (tp + fp),
    "recall": lambda tp, fp, fn, tn: tp / (tp + fn),
    "specificity": lambda tp, fp, fn, tn: tn / (tn + fp),
    "accuracy": lambda tp, fp, fn, tn: (tp + tn) / (tp + fp + fn + tn),
    "balanced_accuracy": lambda tp, fp, fn, tn: tp / (tp + fn) / 2 + tn / (tn + fp) / 2,
    "mcc": lambda tp, fp, fn, tn: (tp * tn - fp * fn) / ((tp + fp) * (tp + fn) * (tn + fp) * (tn + fn)) ** 0.5,
}


@pytest.fixture(scope="module")
def state():
    """Two compiled batches, as of two devices, merged."""
    metric = Segmentation(K)
    count = jax.jit(metric.count)
    parts = [jax.device_get(count(PREDICTIONS[rows], LABELS[rows])) for rows in (slice(0, 3), slice(3, 5))]
    assert parts[0].matrix.dtype == np.int32
    return metric.merge(metric.merge(metric.init(), parts[0]), parts[1])


def test_the_state_holds_every_image_and_all_together(state):
    expected = np.array([[by_hand(p, t, c) for c in range(K)] for p, t in zip(PREDICTIONS, LABELS)])
    np.testing.assert_array_equal(np.stack(state.images, -1), expected)
    np.testing.assert_array_equal(np.stack(counts_of(state.matrix), -1), expected.sum(0))
    assert state.matrix.dtype == np.int64
    updated = Segmentation(K).update(Segmentation(K).init(), PREDICTIONS, LABELS)
    assert all(map(np.array_equal, jax.tree.leaves(updated), jax.tree.leaves(state)))
    assert Segmentation(K).compute(state).mean_iou == score("iou", state.images)


def test_merging_adds_beyond_32_bits():
    metric = Segmentation(1)
    half = metric.init()._replace(matrix=np.full((1, 1), 2**31 - 1, np.int32))
    assert metric.merge(half, half).matrix[0, 0] == 2**32 - 2


@pytest.mark.parametrize("name", SLOW)
def test_scores_equal_their_formulas(name, state):
    each = np.array([[SLOW[name](*by_hand(p, t, c)) if (p == c).any() else np.nan for c in range(K)]
                     for p, t in zip(PREDICTIONS, LABELS)])  # fmt: skip
    assert np.isnan(each).sum() == 1
    np.testing.assert_allclose(score(name, state.images, None), each, rtol=1e-12)
    assert score(name, state.images, "macro-imagewise") == pytest.approx(np.mean(np.nanmean(each, 1)), rel=1e-12)
    pooled = np.array([SLOW[name](*by_hand(PREDICTIONS, LABELS, c)) for c in range(K)])
    share = np.array([np.sum(c == LABELS) for c in range(K)]) / np.sum(LABELS != 255)
    assert score(name, state.images) == pytest.approx(pooled.mean(), rel=1e-12)
    assert score(name, state.images, "weighted") == pytest.approx(pooled @ share, rel=1e-12)
    assert score(name, state.images, "weighted", class_weights=[1, 0, 0, 3]) == pytest.approx(pooled @ [0.25, 0, 0, 0.75])
    total = np.sum([by_hand(PREDICTIONS, LABELS, c) for c in range(K)], 0)
    assert score(name, state.images, "micro") == pytest.approx(SLOW[name](*total), rel=1e-12)
    rows = [np.sum([by_hand(p, t, c) for c in range(K)], 0) for p, t in zip(PREDICTIONS, LABELS)]
    assert score(name, state.images, "micro-imagewise") == pytest.approx(np.mean([SLOW[name](*row) for row in rows]))


def test_scalars_of_each_image(state):
    rows = image_scalars(state.images, ["a", "b", "c", "d"])
    for row, p, t in zip(rows, PREDICTIONS, LABELS):
        each = {name: SLOW["iou"](*by_hand(p, t, c)) if (p == c).any() else None for c, name in enumerate("abcd")}
        assert row["pixel_accuracy"] == pytest.approx(np.mean(p[t != 255] == t[t != 255]))
        assert {name: row[f"iou/{name}"] for name in each} == pytest.approx(each)
        assert row["miou"] == pytest.approx(np.mean([value for value in each.values() if value is not None]))


def test_images_of_several_labels_have_no_pixel_accuracy():
    """All that is predicted everywhere finds every pixel."""
    counts = Counts(*np.array([[[1, 0]], [[15, 16]], [[0, 0]], [[0, 0]]]))
    assert image_scalars(counts, ["a", "b"], exclusive=False) == [{"miou": 1 / 32, "iou/a": 1 / 16, "iou/b": 0.0}]


def test_what_is_undefined_is_in_no_mean_unless_it_is_given_a_value():
    counts = Counts(*np.array([[3, 0, 0], [1, 0, 0], [1, 2, 0], [5, 8, 10]]))  # class 1 is never predicted, class 2 absent
    np.testing.assert_array_equal(score("precision", counts, None), [0.75, np.nan, np.nan])
    np.testing.assert_array_equal(score("specificity", counts, None), [5 / 6, 1, np.nan])
    assert score("precision", counts) == 0.75
    assert score("precision", counts, zero_division=0) == 0.25
    assert score("iou", counts) == pytest.approx((0.6 + 0) / 2)
    assert score("iou", counts, zero_division=1) == pytest.approx((0.6 + 0 + 1) / 3)
    assert np.isnan(score("recall", Counts(*np.zeros((4, 2, 3), int)), "weighted-imagewise"))


def test_f_beta_weighs_recall():
    counts = Counts(*np.array([[6], [2], [4], [0]]))
    assert score("f_beta", counts, beta=2) == pytest.approx(5 * 0.75 * 0.6 / (4 * 0.75 + 0.6))
    assert score("f_beta", counts, beta=1) == score("f1", counts) == pytest.approx(12 / 18)


def test_kappa_and_correlation_of_all_classes(state):
    """The classes' numbers as vectors of ones and zeros: chance agreement by their shares, covariances by their sums."""
    p, t = (x[LABELS != 255] for x in (PREDICTIONS, LABELS))
    agreed, chance = np.mean(p == t), sum(np.mean(p == c) * np.mean(t == c) for c in range(K))
    assert cohen_kappa(state.matrix) == pytest.approx((agreed - chance) / (1 - chance), rel=1e-12)
    x, y = np.eye(K)[p], np.eye(K)[t]
    covariance = [np.sum((a - a.mean(0)) * (b - b.mean(0))) for a, b in ((x, y), (x, x), (y, y))]
    assert matthews_correlation(state.matrix) == pytest.approx(covariance[0] / np.sqrt(covariance[1] * covariance[2]))
    np.testing.assert_allclose(cohen_kappa(np.array([[[2, 0], [0, 3]], [[4, 0], [0, 0]]])), [1, np.nan])
    tp, fp, fn, tn = by_hand(PREDICTIONS, LABELS, 1)
    assert score("kappa", state.images, None).shape == (5, K)
    pooled = Counts(*np.array([[tp], [fp], [fn], [tn]]))
    assert score("kappa", pooled) == pytest.approx(float(cohen_kappa(np.array([[tn, fp], [fn, tp]]))))


def test_the_classes_of_several_labels_count_each_for_itself():
    rng = np.random.default_rng(1)
    labels, predictions = rng.integers(0, 2, (2, 3, 5, 6, 2)).astype(np.int32)
    labels[0, :2, :, 1] = 255
    metric = Multilabel(2)
    state = metric.merge(metric.init(), jax.device_get(jax.jit(metric.count)(predictions, labels)))
    for image in range(3):
        for c in range(2):
            p, t = predictions[image, ..., c], labels[image, ..., c]
            assert [count[image, c] for count in state] == by_hand(p, t, 1)
    np.testing.assert_array_equal(metric.compute(metric.merge(state, state)).tp, 2 * state.tp.sum(0))


def test_values_of_images_as_a_metric():
    metric = PerImage(lambda p, t: [np.mean(p == t), np.nan if t[0] == 0 else p[0]], 2)
    state = metric.init()
    for rows in (slice(0, 1), slice(1, 3)):
        state = metric.update(state, np.array([[1, 2], [3, 3], [5, 4]])[rows], np.array([[1, 1], [0, 0], [9, 4]])[rows])
    np.testing.assert_array_equal(state, [[0.5, 1], [0, np.nan], [0.5, 5]])
    np.testing.assert_allclose(metric.compute(state), [1 / 3, 3])


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"name": "ious"}, "unknown score 'ious'; did you mean 'iou'"),
        ({"reduction": "mikro"}, "unknown reduction 'mikro'; did you mean 'micro'"),
        ({"class_weights": [1, 2]}, "one weight, not negative, for each of 4 classes"),
        ({"beta": 0}, "beta is 0; it must be above 0"),
    ],
)
def test_what_is_refused(arguments, message, state, unchecked):
    with pytest.raises(ValueError, match=message):
        score(**{"name": "iou", "counts": state.images, "reduction": "macro", **arguments})


def test_every_score_names_its_paper():
    assert SLOW.keys() | {"f_beta", "kappa"} == SCORES.keys()
    assert all(any(char.isdigit() for char in row.paper) for row in SCORES.values())


def test_metrics_of_the_confusion_matrix_agree(state):
    metrics = segmentation_metrics(state.matrix)
    np.testing.assert_allclose(score("iou", counts_of(state.matrix), None), metrics.iou)
    np.testing.assert_allclose(score("f1", counts_of(state.matrix), None), metrics.dice)
