"""Objects that are networks of their own: their 169 numbers, their boxes, and what is decoded of many."""

import numpy as np
import pytest

from fcn.instances import box_distances, decode_conditional, mask_logits
from fcn.instances.conditional import PARAMETERS


def test_a_network_of_an_object_has_169_parameters():
    """Two objects, whose three convolutions are written out."""
    rng = np.random.default_rng(0)
    own, inputs = rng.normal(size=(2, PARAMETERS)), rng.normal(size=(2, 5, 10))
    assert PARAMETERS == 169 == (8 + 2) * 8 + 8 + 8 * 8 + 8 + 8 + 1
    for numbers, pixels, found in zip(own, inputs, mask_logits(own, inputs), strict=True):
        x = np.maximum(pixels @ numbers[:80].reshape(10, 8) + numbers[80:88], 0)
        x = np.maximum(x @ numbers[88:152].reshape(8, 8) + numbers[152:160], 0)
        np.testing.assert_allclose(found, x @ numbers[160:168] + numbers[168], rtol=1e-12)


def test_distances_to_boxes():
    """Of an object in two parts the box of both; pixels of which nothing is known are none."""
    label = np.zeros((6, 8), int)
    label[1, 1], label[3, 4], label[5, 5:7], label[0, 0] = 70_000, 70_000, 2, -1
    found = box_distances(label)
    np.testing.assert_array_equal(found[1, 1], [0.5, 2.5, 0.5, 3.5])
    np.testing.assert_array_equal(found[3, 4], [2.5, 0.5, 3.5, 0.5])
    np.testing.assert_array_equal(found[5, 6], [0.5, 0.5, 1.5, 0.5])
    assert found.dtype == np.float32 and not found[label <= 0].any()


def squares(size, spacing):
    """Scores of squares of 4x4 in a grid, each sure at its upper left pixel; the mask is where feature 0 is above a half."""
    scores, passed = np.zeros((size, size, 183), np.float32), [np.eye(10, 8), np.zeros(8), np.eye(8), np.zeros(8), np.eye(8)[0]]
    scores[..., 6 : 6 + PARAMETERS] = np.concatenate([*map(np.ravel, passed), [-0.5]])
    for y, x in np.ndindex(4, 4):
        scores[y::spacing, x::spacing, -8] = 1
    places = scores[::spacing, ::spacing, :2]
    places[:] = np.linspace(0.5, 0.9, places.size // 2).reshape(*places.shape[:2], 1)
    scores[..., 2:6] = [0.5, 3.5, 0.5, 3.5]
    return scores


def test_the_surest_objects_come_first():
    scores = squares(24, 8)
    found = decode_conditional(scores, grid=4, threshold=0.3, most=9)
    assert found[16, 16] == 1 and found[0, 0] == 9 and found.max() == 9
    np.testing.assert_array_equal(found > 0, scores[..., -8] > 0)
    with pytest.warns(UserWarning, match="more than 3 objects in an image; the surest of them are decoded"):
        assert decode_conditional(scores, grid=4, threshold=0.3, most=3).max() == 3
    assert not decode_conditional(scores, grid=4, threshold=0.95, most=9).any()


def test_an_object_is_found_once():
    """Another place outside tells of a larger box with the same mask, which is hidden; one inside is not asked."""
    scores = squares(16, 16)
    scores[8, 8, :6] = [0.4, 0.4, 8.5, 0.5, 8.5, 0.5]
    assert decode_conditional(scores, grid=4, threshold=0.3, most=9).max() == 1
    scores[1, 1, :6] = scores[8, 8, :6]
    scores[1, 1, 6:-8] = np.nan
    assert decode_conditional(scores, grid=1, threshold=0.3, most=9).max() == 1


def test_objects_may_share_a_box():
    """Two triangles; their places lie on either side of the diagonal."""
    scores = squares(8, 8)
    lower, upper = np.tri(8, dtype=bool), ~np.tri(8, dtype=bool)
    scores[..., -8], scores[..., -7] = lower, upper
    scores[0, 4, 6:-8][160:168] = np.eye(8)[1]
    scores[0, 0, :6], scores[0, 4, :6] = [0.9, 0.9, 0.5, 7.5, 0.5, 7.5], [0.8, 0.8, 0.5, 7.5, 4.5, 3.5]
    np.testing.assert_array_equal(decode_conditional(scores, grid=4, threshold=0.3, most=9), np.where(lower, 1, 2))
