"""What moves pixels: matrices by closed form, resampling against SciPy's."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import ndimage

from fcn.data.augment import (
    Elastic,
    Flip,
    Perspective,
    Pipeline,
    Rotate,
    Rotate90,
    Scale,
    Shear,
    Stretch,
    Translate,
    transform,
)
from fcn.data.augment.geometry import local_scale, spline_weights
from fcn.data.augment.operation import streams
from fcn.data.augment.resampling import brought_inside, inside, linear, mapped, nearest

KEY = jax.random.key(3)
KEYS = jax.random.split(KEY, 1000)


def matrices(operation, size=(20, 30)):
    """Those of 1000 draws."""
    return np.asarray(jax.jit(jax.vmap(lambda key: operation.matrix(key, size)))(KEYS), np.float64)


def test_flips_and_translations():
    np.testing.assert_array_equal(Flip(axis=0).matrix(KEY, (5, 4)), np.diag([-1.0, 1, 1]))
    found = matrices(Translate(share=0.1))
    np.testing.assert_array_equal(found[:, :, :2], np.tile(np.eye(3)[:, :2], (1000, 1, 1)))
    steps = found[:, :2, 2]
    assert set(np.unique(steps[:, 0])) == {-2, -1, 0, 1, 2} and set(np.unique(steps[:, 1])) == {-3, -2, -1, 0, 1, 2, 3}
    assert np.all(np.abs(steps.mean(0)) < 0.25)  # four standard deviations


@pytest.mark.parametrize(("size", "angle"), [((20, 30), 40), ((20, 31), 10)])
def test_rotations_are_even_over_their_range(size, angle):
    found = matrices(Rotate(degrees=40, oblong=10), size)[:, :2, :2]
    np.testing.assert_allclose(found @ found.transpose(0, 2, 1), np.tile(np.eye(2), (1000, 1, 1)), atol=1e-6)
    degrees = np.rad2deg(np.arctan2(found[:, 0, 1], found[:, 0, 0]))
    counts = np.histogram(degrees, bins=4, range=(-angle, angle))[0]
    assert counts.sum() == 1000 and np.all(np.abs(counts - 250) < 55)


def test_rotations_of_volumes_take_three_planes():
    found = matrices(Rotate(degrees=30), (8, 9, 10))[:, :3, :3]
    np.testing.assert_allclose(found @ found.transpose(0, 2, 1), np.tile(np.eye(3), (1000, 1, 1)), atol=1e-6)
    assert np.all(np.std(found, 0)[~np.eye(3, dtype=bool)] > 0.1)


def test_factors_of_scale_lie_half_below_one():
    factors = 1 / matrices(Scale(range=(0.5, 3.0)))[:, 0, 0]
    assert factors.min() >= 0.5 and factors.max() <= 3 and abs((factors < 1).mean() - 0.5) < 0.064
    assert abs(factors.mean() - (0.75 + 2) / 2) < 0.1
    logarithms = -np.log(matrices(Scale(range=(0.25, 1.0), logarithmic=True))[:, 0, 0]) / np.log(4)
    assert (
        logarithms.min() > -1.0001
        and logarithms.max() < 0.0001
        and np.abs(np.histogram(logarithms, 4, (-1, 0))[0] - 250).max() < 56
    )
    stretched = matrices(Stretch(range=(0.5, 3.0)))
    assert abs(np.corrcoef(stretched[:, 0, 0], stretched[:, 1, 1])[0, 1]) < 0.15
    np.testing.assert_array_equal(local_scale(jnp.diag(jnp.array([0.5, 0.5, 1]))), 2)


def test_shears_keep_areas_and_tilts_keep_the_centre():
    slanted = matrices(Shear(degrees=45))
    np.testing.assert_allclose(np.linalg.det(slanted), 1, atol=1e-6)
    assert 0.95 < np.abs(slanted[:, 0, 1]).max() <= 1 + 1e-6
    tilted = matrices(Perspective(amount=0.4))
    np.testing.assert_array_equal(tilted[:, :2], np.tile(np.eye(3)[:2], (1000, 1, 1)))
    assert 0.95 * 0.4 < np.abs(tilted[:, 2, :2] * [10, 15]).max() <= 0.4 + 1e-6


def test_the_local_scale_is_that_of_the_derivatives():
    rng = np.random.default_rng(0)
    for axes in (1, 2, 3):
        matrix = np.eye(axes + 1) + rng.normal(0, 0.2, (axes + 1, axes + 1))

        def place(x, matrix=matrix, axes=axes):
            y = matrix @ np.append(x, 1)
            return y[:axes] / y[axes]

        slopes = [(place(step) - place(-step)) / 2e-4 for step in 1e-4 * np.eye(axes)]
        expected = np.abs(np.linalg.det(slopes)) ** (-1 / axes)
        np.testing.assert_allclose(jax.jit(local_scale)(jnp.asarray(matrix, jnp.float32)), expected, rtol=1e-4)


@pytest.mark.parametrize("size", [(11,), (7, 9), (5, 6, 4)])
@pytest.mark.parametrize("boundary", ["ignore", "mirror"])
def test_resampling_equals_scipy(size, boundary):
    rng = np.random.default_rng(1)
    array = rng.normal(size=(*size, 2)).astype(np.float32)
    label = rng.integers(0, 9, size)
    places = [rng.uniform(-1.8 * length, 2.8 * length, 60).astype(np.float32) for length in size]
    mode = {"ignore": "nearest", "mirror": "reflect"}[boundary]
    near = brought_inside([jnp.asarray(p) for p in places], size, boundary)
    for c in range(2):
        expected = ndimage.map_coordinates(array[..., c], places, order=1, mode=mode)
        np.testing.assert_allclose(linear(jnp.asarray(array), near)[:, c], expected, atol=2e-5)
    whole = np.floor(np.stack(places) + 0.5)
    expected = ndimage.map_coordinates(label, whole, order=0, mode=mode)
    np.testing.assert_array_equal(nearest(jnp.asarray(label), near), expected)
    known = np.all((whole >= 0) & (whole < np.array(size)[:, None]), 0)
    np.testing.assert_array_equal(inside([jnp.asarray(p) for p in places], size), known)


ALL = (
    *(Translate(), Rotate(degrees=30), Scale(range=(0.6, 0.7)), Shear(), Stretch(), Perspective(), Flip(probability=1)),
    Elastic(sigma=0.7),
)


def test_all_that_moves_is_one_map_the_first_of_the_list_first():
    """An image of coordinates tells where each pixel comes from."""
    size = (15, 18)
    image = np.stack(np.meshgrid(*map(np.arange, size), indexing="ij"), -1).astype(np.float32)
    label = np.arange(15 * 18, dtype=np.int32).reshape(size)
    pipeline = Pipeline(operations=ALL, clip=False)

    def run(key):
        drawn = [(used, op.matrix(own, size)) for op, own, used in streams(key, ALL[:-1])]
        shifts = [ALL[-1].shifts(own, size) for _, own, _ in streams(key, ALL[-1:])]
        return transform(key, image, {"label": label}, pipeline, fill=-1.0), drawn, shifts[0]

    (new, targets), drawn, shifts = jax.jit(run)(KEY)

    centre = (np.array(size) - 1) / 2
    places = [p - c for p, c in zip(np.moveaxis(image, -1, 0).astype(np.float64), centre)]
    places = np.stack([p + np.asarray(shift, np.float64) for p, shift in zip(places, shifts)])
    for used, matrix in reversed(drawn):  # from the result back to the source
        assert used
        row = np.tensordot(np.asarray(matrix, np.float64), np.stack([*places, np.ones(size)]), 1)
        places = row[:2] / row[2]
    places = np.moveaxis(places, 0, -1) + centre
    deep = np.all((places > 0.01) & (places < np.array(size) - 1.01), -1)
    far = np.any((places < -0.51) | (places > np.array(size) - 0.49), -1)
    assert deep.sum() > 60 and far.sum() > 20
    np.testing.assert_allclose(np.asarray(new)[deep], places[deep], atol=2e-4)
    assert np.all(np.asarray(new)[far] == -1) and np.all(np.asarray(targets["label"])[far] == 255)


def test_flips_and_quarter_turns_copy_pixels():
    rng = np.random.default_rng(0)
    image, label = rng.integers(0, 256, (6, 6, 2)).astype(np.uint8), rng.integers(0, 4, (6, 6)).astype(np.int32)
    pipeline = Pipeline(operations=(Flip(axis=0), Rotate90()), boundary="mirror")
    run = jax.jit(jax.vmap(lambda key: transform(key, image, {"label": label}, pipeline)))
    images, targets = run(KEYS[:64])
    ways = {}
    for k in range(4):
        for flip in (False, True):
            ways[np.rot90(np.flip(label, 0) if flip else label, k).tobytes()] = np.rot90(
                np.flip(image, 0) if flip else image, k
            )
    seen = {np.asarray(new).tobytes() for new in targets["label"]}
    assert seen == set(ways)
    for new_image, new in zip(images, targets["label"]):
        np.testing.assert_array_equal(new_image, ways[np.asarray(new).tobytes()])
    halves = matrices(Rotate90(), (6, 8))
    assert not halves[:, 0, 1].any() and set(halves[:, 0, 0]) == {-1, 1}


def test_elastic_shifts_are_smooth_and_have_their_deviation():
    for length, points in [(9, 3), (10, 4), (2, 3)]:
        weights = spline_weights(length, points)
        line = np.linspace(2, 7, points)
        np.testing.assert_allclose(weights @ line, np.linspace(2, 7, length), atol=1e-5)  # natural splines keep lines
    np.testing.assert_allclose(spline_weights(9, 3)[[0, 4, 8]], np.eye(3), atol=1e-6)
    assert spline_weights(1, 3).shape == (1, 3)
    shifts = np.stack(jax.jit(jax.vmap(lambda key: jnp.stack(Elastic(sigma=10).shifts(key, (9, 5)))))(KEYS))
    knots = shifts[:, :, [0, 4, 8]][..., [0, 2, 4]]
    assert np.all(np.abs(knots.std(0) - 10) < 0.9) and np.all(np.abs(knots.mean(0)) < 1.3)
    assert np.all(np.abs(np.corrcoef(knots.reshape(1000, -1).T) - np.eye(18)) < 0.16)


@pytest.mark.parametrize("operation", [Rotate(), Rotate90(), Shear()])
def test_what_turns_needs_two_axes(operation):
    with pytest.raises(ValueError, match=f"{type(operation).__name__} needs two axes; the image has 1"):
        operation.matrix(KEY, (9,))


def test_an_axis_that_the_image_does_not_have():
    with pytest.raises(ValueError, match=r"Flip.axis is 2; an image of 2 axes has 0 to 1"):
        Flip(axis=2).matrix(KEY, (4, 4))


def test_mapped_divides_by_the_last_row():
    matrix = np.array([[1.0, 2, 3], [0, 1, -1], [0.1, 0, 2]], np.float32)
    a, b = np.array([1.0, 4], np.float32), np.array([2.0, -3], np.float32)
    found = mapped(jnp.asarray(matrix), [jnp.asarray(a), jnp.asarray(b)])
    expected = matrix @ np.stack([a, b, np.ones(2)])
    np.testing.assert_allclose(np.stack(found), expected[:2] / expected[2], rtol=1e-6)
