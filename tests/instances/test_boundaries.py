"""Interior and boundary: scikit-image's boundaries, the ceiling on real nuclei, and what is easily lost."""

import jax
import numpy as np
import pytest
import scipy
from skimage.segmentation import find_boundaries

from fcn.instances import boundary_classes, decode_boundaries
from fcn.metrics.instances import match

RNG = np.random.default_rng(0)


def perfect(instances):
    return np.eye(3, dtype=np.float32)[boundary_classes(instances)]


@pytest.mark.parametrize("shape", [(30,), (14, 17), (6, 7, 8)])
def test_boundaries_are_scikit_images(shape):
    instances = RNG.integers(0, 4, [-(-n // 4) for n in shape])
    for axis, size in enumerate(shape):
        instances = instances.repeat(4, axis).take(range(size), axis)
    classes = boundary_classes(instances)
    np.testing.assert_array_equal(classes == 2, find_boundaries(instances, mode="inner"))
    np.testing.assert_array_equal(classes == 0, instances == 0)


@pytest.mark.parametrize("shape", [(40,), (9, 10)])
def test_wide_boundaries_are_so_many_steps_from_outside(shape):
    """The same on the device; nothing is known of pixels below 0, which are not outside."""
    instances = np.zeros(shape, np.int32)
    instances[..., 1:] = np.sort(RNG.integers(1, 4, shape), -1)[..., 1:]
    instances[-1:] = -1
    classes = boundary_classes(instances, 2)
    reached = np.zeros(shape, bool)
    for number in np.unique(instances[instances >= 0]):
        steps = scipy.ndimage.distance_transform_cdt((instances == number) | (instances < 0), "taxicab")
        reached |= (instances == number) & (steps <= 2) & (steps >= 1)
    np.testing.assert_array_equal(classes == 2, reached & (instances > 0))
    np.testing.assert_array_equal(np.minimum(classes, 1), np.sign(instances))
    np.testing.assert_array_equal(jax.jit(boundary_classes, static_argnums=1)(instances, 2), classes)


def test_perfect_targets_give_the_nuclei_back(reference):
    """151 of them, one perhaps in two parts."""
    maps = [value for name, value in reference.items() if name.endswith("/label")]
    found = [match(instances, decode_boundaries(perfect(instances)), 0.9) for instances in maps]
    assert sum(one.tp for one in found) >= 150 and sum(one.fp for one in found) <= 2


def test_touching_and_thin_objects_are_told_apart():
    instances = np.zeros((12, 20), int)
    instances[1:6, 1:8], instances[1:6, 8:15], instances[8, 2:18] = 5, 9, 70_000
    decoded = decode_boundaries(perfect(instances))
    assert decoded.dtype == np.int32
    np.testing.assert_array_equal(decoded, np.select([instances == 5, instances == 9, instances == 70_000], [1, 2, 3]))
    assert decode_boundaries(perfect(instances), min_size=17).max() == 2
    assert not decode_boundaries(perfect(np.zeros((4, 5), int))).any()
    assert (decode_boundaries(perfect(np.full((4, 5), 8))) == 1).all()


def test_objects_meet_where_the_boundary_is_surest():
    """Two interiors with five pixels between them."""
    probabilities = np.zeros((1, 9, 3), np.float32)
    probabilities[0, [0, 1, 7, 8], 1] = 0.9
    probabilities[0, 2:7, 2] = [0.5, 0.6, 0.7, 0.8, 0.9]
    assert decode_boundaries(probabilities)[0].tolist() == [1, 1, 1, 1, 1, 1, 2, 2, 2]


@pytest.mark.parametrize(("split", "apart"), [(0.25, True), (0.45, False), (1, False), (0, True)])
def test_interiors_with_a_gap_between_them_fall_apart(split, apart):
    """Four and three of nine pixels are surely interior; the surest one by itself splits nothing."""
    probabilities = np.zeros((10, 3))
    probabilities[:, 1] = [0.75, 0.75, 0.94, 0.75, 0.5, 0.5, 0.85, 0.85, 0.85, 0]
    probabilities[:, 2] = [0.2, 0.2, 0.05, 0.2, 0.45, 0.46, 0.1, 0.1, 0.1, 0]
    probabilities[:, 0] = 1 - probabilities.sum(-1)
    expected = [1] * 5 + [1 + apart] * 4 + [0]
    assert decode_boundaries(probabilities, split=split).tolist() == expected
    assert decode_boundaries(probabilities[:9], split=split).tolist() == expected[:9]
    assert decode_boundaries(probabilities[None], split=split).tolist() == [expected]


def test_weights_of_the_training_make_no_object_larger():
    """A boundary that counts tenfold is predicted wherever its probability is a tenth of the background's."""
    honest = np.array([[0.9, 0, 0.1], [0.8, 0, 0.2], [0.3, 0.1, 0.6], [0.1, 0.9, 0], [0.2, 0.3, 0.5], [0.1, 0.85, 0.05]])
    weights = (1, 1, 10)
    seen = honest * weights / (honest * weights).sum(-1, keepdims=True)
    np.testing.assert_array_equal(decode_boundaries(seen[None], weights=weights), [[0, 0, 1, 1, 1, 2]])
    np.testing.assert_array_equal(decode_boundaries(seen[None]), [[1, 1, 1, 1, 1, 2]])


def test_logits_are_refused():
    with pytest.raises(ValueError, match=r"a value is -0.5; probabilities are 0 to 1: of logits give the softmax"):
        decode_boundaries(np.array([[[0.2, -0.5, 3.0]]], np.float32))


def test_another_number_of_channels_is_refused(unchecked):
    with pytest.raises(ValueError, match=r"three channels are decoded .*, not 2"):
        decode_boundaries(np.zeros((3, 3, 2), np.float32))
