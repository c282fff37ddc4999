"""Star-convex objects: StarDist's targets, suppression and pictures; exact areas; the ceiling on real nuclei."""

import numpy as np
import pytest
from skimage.draw import polygon as draw_polygon

from fcn.instances import Stars, candidates, edge_probabilities, paint, star_distances, suppress
from fcn.instances.polygons import covered, inner_radii, polygon_areas, shared_areas, shared_discs
from fcn.metrics.instances import match_all

NAMES = ["92e7e86e765e05ce", "03398329ced0c23b", "3ca8181367fc1258", "af8621ef0db8c26b", "0ddd8deaf1696db6", "58cc121d37fb7f1b"]
SMALL = [NAMES[0], NAMES[1], NAMES[3]]


@pytest.mark.parametrize("name", SMALL)
def test_targets_equal_stardist(name, reference):
    label = reference[f"{name}/label"]
    distances = star_distances(label)
    np.testing.assert_allclose(distances[label > 0], reference[f"{name}/star_dist_fg"], rtol=1e-6, atol=4e-6)
    assert not distances[label == 0].any()
    np.testing.assert_allclose(edge_probabilities(label), reference[f"{name}/edt_prob"], atol=1e-6)
    np.testing.assert_array_equal(star_distances(label, grid=2), distances[::2, ::2])


def test_rays_of_other_numbers():
    """A square of 5x5: half a pixel beyond its last one along rows and columns, else as far as the last step."""
    label = np.zeros((9, 7), int)
    label[2:7, 2:7] = 70_000
    right, down, left, up = star_distances(label, 4)[4, 4]
    np.testing.assert_allclose([right, down, left, up], 2.5, rtol=1e-6)
    np.testing.assert_allclose(star_distances(label, 8)[4, 4, 1::2], 4 - (1 - 0.5 / np.sqrt(0.5)), rtol=1e-6)
    assert star_distances(label, 6)[4, 4, 1] == pytest.approx(3 - (1 - 0.5 / np.sin(np.pi / 3)), rel=1e-6)
    with pytest.raises(ValueError, match="rays is 2"):
        star_distances(label, 2)


def test_crops_need_no_new_distances(reference):
    label = reference[f"{NAMES[5]}/label"]
    box = (slice(80, 130), slice(90, 140))
    assert (label[box] > 0).any()
    inside = star_distances(np.ones((50, 50), int))
    expected = np.minimum(star_distances(label)[box], inside) * (label[box] > 0)[..., None]
    np.testing.assert_allclose(star_distances(label[box]), expected, rtol=1e-6)


def test_probabilities_of_an_object_as_large_as_the_image():
    np.testing.assert_allclose(edge_probabilities(np.ones((3, 5), int))[1], [0.5, 1, 1, 1, 0.5], atol=1e-6)
    assert not edge_probabilities(np.zeros((3, 5), int)).any()


def predicted(reference, name):
    """The noisy prediction whose candidates are stored."""
    shape, places = reference[f"{name}/label"].shape, tuple(reference[f"{name}/cand_yx"].T.astype(int))
    probabilities, distances = np.zeros(shape, np.float32), np.zeros((*shape, 32), np.float32)
    probabilities[places] = reference[f"{name}/cand_prob"]
    distances[places] = reference[f"{name}/cand_dist_x256"] / 256
    return probabilities, distances


@pytest.mark.parametrize("name", SMALL)
@pytest.mark.parametrize("border", [0, 2])
def test_decoding_equals_stardist(name, border, reference):
    stars = suppress(candidates(*predicted(reference, name), 0.5, border=border), 0.4)
    np.testing.assert_array_equal(stars.points, reference[f"{name}/nms_yx_b{border}"])
    np.testing.assert_array_equal(stars.probabilities, reference[f"{name}/nms_prob_b{border}"])
    np.testing.assert_array_equal(paint(stars, reference[f"{name}/label"].shape), reference[f"{name}/decoded_b{border}"])


def test_decoding_a_coarse_grid_equals_stardist(reference):
    name = NAMES[0]
    probabilities, distances = (each[::2, ::2] for each in predicted(reference, name))
    stars = suppress(candidates(probabilities, distances, 0.5, grid=2), 0.4)
    np.testing.assert_array_equal(stars.points, reference[f"{name}/nms_yx_grid2_b0"])
    np.testing.assert_array_equal(paint(stars, reference[f"{name}/label"].shape), reference[f"{name}/decoded_grid2_b0"])


@pytest.mark.parametrize(("threshold", "apart"), [(0.2, 0), (0.4, 0), (0.5, 1)])
def test_a_crowd_of_stars(threshold, apart, reference):
    """StarDist rounds where edges cross to integers: what overlaps within 0.01 of the threshold may fall there and not here."""
    order = np.argsort(-reference["hard/cand_prob"])
    points, distances = reference["hard/cand_yx"][order].astype(int), reference["hard/cand_dist_x256"][order] / 256
    stars = Stars(points, distances.astype(np.float32), reference["hard/cand_prob"][order])
    found = suppress(stars, threshold)
    expected = reference[f"hard/nms_yx_b0_t{round(10 * threshold)}"].astype(int)
    assert len(set(map(tuple, found.points.tolist())) ^ set(map(tuple, expected.tolist()))) == apart
    if threshold == 0.4:
        np.testing.assert_array_equal(paint(found, (160, 160)), reference["hard/decoded_b0_t4"])


def star(rng, count):
    angles = 2 * np.pi * np.arange(16) / 16
    lengths = rng.uniform(2, 14, (count, 16, 1))
    return rng.uniform(10, 20, (count, 1, 2)) + lengths * np.stack([np.sin(angles), np.cos(angles)], -1)


def test_areas_equal_a_fine_grid_of_points():
    rng = np.random.default_rng(0)
    polygons = star(rng, 6)
    fine = np.zeros((6, 640, 640), bool)
    for mask, each in zip(fine, polygons):
        box, inside = covered((each + 4) * 16, (640, 640))
        mask[box] = inside
    np.testing.assert_allclose(polygon_areas(polygons), fine.sum((1, 2)) / 256, rtol=0.01)
    for number in range(6):
        np.testing.assert_allclose(shared_areas(polygons[number], polygons), (fine & fine[number]).sum((1, 2)) / 256, atol=0.6)


def test_areas_of_polygons_that_lie_on_each_other():
    square = np.array([[2, 2], [2, 0], [0, 0], [0, 2]])[::-1].astype(float)
    beside, half = square + np.array([0, 2]), square + np.array([0, 1])
    others = np.stack([square, beside, half, square + 5, square / 2])
    np.testing.assert_allclose(shared_areas(square, others), [4, 0, 2, 0, 1], atol=1e-5)
    np.testing.assert_allclose(polygon_areas(others), [4, 4, 4, 4, 1])


def test_discs_inside_of_polygons_and_what_two_share():
    square = np.array([[3.0, 3.0], [3.0, -1.0], [-2.0, -1.0], [-2.0, 3.0]])[::-1]
    beside, point = square + np.array([4.0, 0.0]), np.zeros((4, 2))
    np.testing.assert_allclose(inner_radii(np.stack([square[::-1], beside[::-1], point, square])), [1, 0, 0, 0])
    y, x = np.mgrid[-6:9:0.01, -6:6:0.01]
    apart, others = np.array([0.0, 1.0, 3.0, 4.0, 6.5]), np.array([2.0, 4.0, 2.0, 1.0, 3.0])
    disc = np.hypot(y, x) < 3
    areas = [(disc & (np.hypot(y - d, x) < r)).sum() * 1e-4 for d, r in zip(apart, others)]
    np.testing.assert_allclose(shared_discs(3.0, others, apart), areas, atol=0.02)


def test_covered_pixels_equal_scikit_image():
    rng = np.random.default_rng(1)
    for each in [*star(rng, 20), np.rint(star(rng, 1))[0], np.array([[3.0, 3.0], [3.0, 3.0], [3.0, 3.0]])]:
        expected, found = np.zeros((2, 30, 22), bool)
        expected[draw_polygon(*each.T, (30, 22))] = True
        box, mask = covered(each, (30, 22))
        found[box] = mask
        np.testing.assert_array_equal(found, expected)


@pytest.mark.parametrize("grid", [1, 2])
def test_perfect_targets_give_the_nuclei_back(grid, reference):
    """49 of them."""
    instances = reference[f"{NAMES[5]}/label"]
    probabilities, distances = edge_probabilities(instances)[::grid, ::grid], star_distances(instances, grid=grid)
    found = paint(suppress(candidates(probabilities, distances, 0.5, grid=grid), 0.4), instances.shape)
    easy, hard = match_all(instances, found, [0.7, 0.9])
    assert easy.tp >= 48 and easy.fp + easy.fn <= 1 and hard.tp >= 44


def test_of_equally_probable_places_the_last_is_the_first():
    probabilities = np.array([[0.9, 0.6, 0.9], [0.4, 0.9, 0.7]], np.float32)
    stars = candidates(probabilities, np.ones((2, 3, 4), np.float32), 0.5, grid=3)
    assert stars.points.tolist() == [[3, 3], [0, 6], [0, 0], [3, 6], [0, 3]]


def test_nothing_to_decode():
    stars = suppress(candidates(np.zeros((4, 5), np.float32), np.zeros((4, 5, 8), np.float32), 0.5), 0.4)
    assert len(stars.points) == 0 and not paint(stars, (4, 5)).any()
