"""Metrics of outlines: MONAI's values, closed forms, and slow versions."""

import numpy as np
import pytest

from fcn.metrics import (
    PerImage,
    average_surface_distance,
    boundary_f1,
    boundary_iou,
    hausdorff_distance,
    of_each_class,
    surface_dice,
    surface_distances,
)

CASES = [
    ("hd100", hausdorff_distance, {"percentile": 100}),
    ("hd95", hausdorff_distance, {}),
    ("asd_sym", average_surface_distance, {}),
    ("surface_dice_1.0", surface_dice, {"tolerance": 1}),
    ("surface_dice_2.0", surface_dice, {"tolerance": 2.0}),
]


@pytest.mark.parametrize("rank", ["2d", "3d"])
@pytest.mark.parametrize("suffix", ["", "_spacing"])
@pytest.mark.parametrize(("name", "function", "options"), CASES)
def test_equals_monai(rank, suffix, name, function, options, shared_data):
    with np.load(shared_data / "oracles" / "augment_losses" / "monai.npz") as stored:
        predictions, labels = stored[f"in/{rank}/pred"][:, 0], stored[f"in/{rank}/labels"][:, 0]
        expected = stored[f"out/{rank}/metric/{name}{suffix}"]
    spacing = {"2d": (1.0, 0.8), "3d": (2.0, 1.0, 0.7)}[rank] if suffix else None
    values = [of_each_class(function, 3, spacing=spacing, **options)(p, t) for p, t in zip(predictions, labels)]
    np.testing.assert_allclose(values, expected, rtol=1e-5)


def square(size, rows, columns):
    mask = np.zeros(size, bool)
    mask[rows, columns] = True
    return mask


TRUE = square((20, 30), slice(4, 12), slice(5, 15))
MOVED = square((20, 30), slice(4, 12), slice(8, 18))
EMPTY = np.zeros((20, 30), bool)


def test_a_square_that_has_moved_by_three_pixels():
    to_true, to_moved = surface_distances(MOVED, TRUE)
    assert len(to_true) == len(to_moved) == 2 * 8 + 2 * 8
    assert hausdorff_distance(MOVED, TRUE, percentile=100) == 3
    assert hausdorff_distance(MOVED, TRUE, percentile=100, spacing=(1, 0.5)) == 1.5
    assert sorted(to_true)[-8:] == [3] * 8
    assert surface_dice(MOVED, TRUE, tolerance=0) == pytest.approx(2 * np.sum(to_true == 0) / 64)
    assert surface_dice(MOVED, TRUE, tolerance=3) == boundary_f1(MOVED, TRUE, tolerance=3) == 1


def slow_depths(mask):
    rows, columns = np.indices(mask.shape)
    outside = [(-1, c) for c in range(-1, 31)] + [(20, c) for c in range(-1, 31)]
    outside += [(r, c) for r in range(20) for c in (-1, 30)] + list(zip(*np.nonzero(~mask)))
    return np.min([np.maximum(abs(rows - r), abs(columns - c)) for r, c in outside], 0)


@pytest.mark.parametrize("width", [1, 2, 3])
def test_boundary_iou_is_that_of_rims(width):
    true = square((20, 30), slice(0, 9), slice(5, 15))
    rims = [mask & (slow_depths(mask) <= width) for mask in (MOVED, true)]
    assert boundary_iou(MOVED, true, width=width) == np.sum(rims[0] & rims[1]) / np.sum(rims[0] | rims[1])
    assert boundary_iou(MOVED, true, width=width) < np.sum(MOVED & true) / np.sum(MOVED | true)


def test_boundary_f1_is_that_of_precision_and_recall():
    part = square((20, 30), slice(4, 12), slice(5, 9))
    right, found = (np.mean(d <= 1) for d in surface_distances(part, TRUE))
    assert found < right < 1
    assert boundary_f1(part, TRUE, tolerance=1) == pytest.approx(2 * right * found / (right + found))
    assert boundary_f1(part, TRUE) == boundary_f1(part, TRUE, tolerance=0.0075 * np.hypot(20, 30))
    assert boundary_iou(part, TRUE) == boundary_iou(part, TRUE, width=1)  # 2 % of 36 pixels


@pytest.mark.parametrize(
    ("function", "one_is_empty"),
    [
        (hausdorff_distance, np.inf),
        (average_surface_distance, np.inf),
        (lambda p, t: surface_dice(p, t, tolerance=2), 0),
        (boundary_f1, 0),
        (boundary_iou, 0),
    ],
)
def test_empty_masks(function, one_is_empty):
    assert function(EMPTY, TRUE) == function(TRUE, EMPTY) == one_is_empty
    assert np.isnan(function(EMPTY, EMPTY))


def test_a_data_set_without_ignored_pixels_and_absent_classes():
    labels = np.where(TRUE, 1, 0)[None].repeat(2, 0)
    predictions = labels.copy()
    labels[0, 10:] = 255
    predictions[0, 10:] = 1  # would be far off
    metric = PerImage(of_each_class(hausdorff_distance, 3), 3)
    np.testing.assert_array_equal(metric.update(metric.init(), predictions, labels), [[0, 0, np.nan]] * 2)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: hausdorff_distance(TRUE, TRUE, percentile=101), "percentile is 101; it must be 0 to 100"),
        (lambda: hausdorff_distance(TRUE, TRUE[1:]), r"\(20, 30\) and \(19, 30\) must have the same shape"),
        (lambda: surface_dice(TRUE, TRUE, tolerance=-1), "tolerance is -1; it must not be negative"),
        (lambda: surface_distances(TRUE, TRUE, spacing=(1, 0)), r"spacing is \(1, 0\); it must be 2 sizes above 0"),
        (lambda: boundary_iou(TRUE, TRUE, width=0), "width is 0; it must be at least 1"),
    ],
)
def test_what_is_refused(call, message, unchecked):
    with pytest.raises(ValueError, match=message):
        call()
