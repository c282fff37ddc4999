"""Augmentation and normalisation against slow versions in plain Python."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from fcn.data import AugmentConfig, augment, augment_batch, normalise
from fcn.preprocessing import Preprocessing

MEAN, STD = (0.4, 0.5, 0.6), (0.2, 0.3, 0.25)
RECORD = Preprocessing(MEAN, STD)


fast_augment = jax.jit(augment, static_argnums=3)
fast_batch = jax.jit(augment_batch, static_argnums=(2, 3))


def sample(size=(9, 12), channels=3, seed=0):
    rng = np.random.default_rng(seed)
    return rng.integers(0, 256, (*size, channels)).astype(np.uint8), rng.integers(0, 5, size).astype(np.int32)


def keys(count):
    return [jax.random.fold_in(jax.random.key(0), i) for i in range(count)]


def test_normalise():
    image = sample()[0]
    expected = (image.astype(np.float64) / 255 - MEAN) / STD
    for given in (image, image.astype(np.float32), jnp.asarray(image)):
        result = normalise(given, MEAN, np.array(STD, np.float32))
        assert result.dtype == jnp.float32
        np.testing.assert_allclose(result, expected, atol=2e-6)
    np.testing.assert_allclose(normalise(image[None, ..., :1], (0.4,), (0.2,))[0], expected[..., :1], atol=2e-6)


def test_the_default_changes_nothing():
    image, label = sample()
    for key in keys(3):
        for config in (AugmentConfig(), AugmentConfig(crop=label.shape)):
            new_image, new_label = fast_augment(key, image, label, config)
            assert new_image.dtype == jnp.float32
            np.testing.assert_array_equal(new_image, image)
            np.testing.assert_array_equal(new_label, label)


@pytest.mark.parametrize(("field", "axis"), [("flip", 1), ("vertical_flip", 0)])
def test_flips_mirror_half_of_the_samples(field, axis):
    image, label = sample()
    turned = 0
    for key in keys(200):
        new_image, new_label = fast_augment(key, image, label, AugmentConfig(**{field: True}))
        mirrored = not np.array_equal(new_label, label)
        np.testing.assert_array_equal(new_image, np.flip(image, axis) if mirrored else image)
        np.testing.assert_array_equal(new_label, np.flip(label, axis) if mirrored else label)
        turned += mirrored
    assert 70 < turned < 130  # four standard deviations


@pytest.mark.parametrize("crop", [(5, 7), (9, 12), (12, 9), (15, 20)])
def test_crops_at_scale_one_copy_pixels_and_reach_every_place(crop):
    image, label = sample()
    rows, columns = (abs(a - b) + 1 for a, b in zip(crop, label.shape))
    seen = set()
    change = jax.jit(lambda key: augment(key, image, label, AugmentConfig(crop=crop), fill=9.0))
    padded_image = np.pad(image, ((20, 20), (20, 20), (0, 0)), constant_values=9)
    padded_label = np.pad(label, 20, constant_values=255)
    for key in keys(16 * rows * columns):
        new_image, new_label = change(key)
        found = [
            (i, j)
            for i in range(20 + min(0, 9 - crop[0]), 21 + max(0, 9 - crop[0]))
            for j in range(20 + min(0, 12 - crop[1]), 21 + max(0, 12 - crop[1]))
            if np.array_equal(new_label, padded_label[i : i + crop[0], j : j + crop[1]])
        ]
        assert len(found) == 1
        i, j = found[0]
        np.testing.assert_array_equal(new_image, padded_image[i : i + crop[0], j : j + crop[1]])
        seen.add(found[0])
    assert len(seen) == rows * columns


def slow_scale_crop(image, label, config, chance, fill):
    """The same crop of the scaled image, one pixel after the other."""
    low, high = config.scale
    scale = low * (high / low) ** float(chance[0])
    height, width = label.shape
    crop = config.crop or label.shape
    new_image, new_label = np.zeros((*crop, image.shape[-1])), np.full(crop, 255)
    starts = [float(chance[1 + axis]) * (scale * label.shape[axis] - crop[axis]) for axis in (0, 1)]
    for i in range(crop[0]):
        for j in range(crop[1]):
            y, x = (i + 0.5 + starts[0]) / scale, (j + 0.5 + starts[1]) / scale  # pixel (0, 0) covers 0..1
            if not (0 <= y < height and 0 <= x < width):
                new_image[i, j] = fill
                continue
            new_label[i, j] = label[int(y), int(x)]
            total = weight_sum = 0
            for r in range(height):
                for c in range(width):
                    near_y, near_x = min(max(y - 0.5, 0), height - 1), min(max(x - 0.5, 0), width - 1)
                    wide = min(scale, 1)
                    weight = max(0, 1 - abs(near_y - r) * wide) * max(0, 1 - abs(near_x - c) * wide)
                    total, weight_sum = total + weight * image[r, c].astype(float), weight_sum + weight
            new_image[i, j] = total / weight_sum
    return new_image, new_label


@pytest.mark.parametrize("crop", [None, (6, 15)])
@pytest.mark.parametrize("scale", [(0.4, 0.9), (1.0, 2.5), (0.5, 2.0)])
def test_scale_crop_equals_the_slow_version(crop, scale):
    image, label = sample()
    config = AugmentConfig(scale=scale, crop=crop)
    for key in keys(4):
        new_image, new_label = fast_augment(key, image, label, config, fill=77.0)
        slow_image, slow_label = slow_scale_crop(image, label, config, jax.random.uniform(key, (8,)), 77.0)
        np.testing.assert_allclose(new_image, slow_image, atol=2e-3)  # places rounded to float32, times steps of up to 255
        np.testing.assert_array_equal(new_label, slow_label)


def test_image_and_label_stay_together():
    """A smooth picture whose value tells its own place: the label follows it within half a pixel of the source."""
    label = np.arange(40, dtype=np.int32)[:, None] + np.zeros((1, 30), np.int32)
    image = label[..., None].astype(np.float32)
    config = AugmentConfig(scale=(0.5, 2.0), crop=(32, 32), flip=True, vertical_flip=True)
    for key in keys(20):
        new_image, new_label = fast_augment(key, image, label, config, fill=-1.0)
        inside = np.asarray(new_label) != 255
        assert inside.mean() > 0.2
        assert np.abs(new_image[..., 0] - new_label)[inside].max() <= 0.76  # half a pixel, and a quarter at the border
        assert (np.asarray(new_image)[~inside] == -1).all()


def test_scales_are_log_uniform():
    """Over a ramp that cannot leave the crop, the share that is seen tells the scale: its logarithm is uniform."""
    image, label = sample((40, 40))
    config = AugmentConfig(scale=(0.25, 1.0))
    sizes = [np.sqrt((fast_augment(key, image, label, config)[1] != 255).sum()) / 40 for key in keys(300)]
    steps = np.histogram(np.log2(sizes), bins=4, range=(-2.05, 0.05))[0]
    assert steps.sum() == 300 and np.abs(steps - 75).max() < 32  # four standard deviations


def test_colour_jitter():
    image, label = sample()
    config = AugmentConfig(brightness=0.4, contrast=0.5, saturation=0.6)
    for key in keys(5):
        chance = np.asarray(jax.random.uniform(key, (8,)), np.float64)
        by = 1 + np.array([0.4, 0.5, 0.6]) * (2 * chance[3:6] - 1)
        luma = image @ np.array([0.299, 0.587, 0.114])
        changed = luma[..., None] + by[2] * (image - luma[..., None])
        changed = np.clip(by[0] * (luma.mean() + by[1] * (changed - luma.mean())), 0, 255)
        new_image, new_label = fast_augment(key, image, label, config)
        np.testing.assert_allclose(new_image, changed, atol=2e-4)
        np.testing.assert_array_equal(new_label, label)


def test_gray_images_have_no_saturation():
    image, label = sample(channels=1)
    new_image, _ = augment(jax.random.key(1), image, label, AugmentConfig(saturation=1.0))
    np.testing.assert_allclose(new_image, image, atol=1e-4)


FULL = AugmentConfig(flip=True, scale=(0.5, 2.0), crop=(8, 10), brightness=0.2, contrast=0.2, saturation=0.2)


def batch_of(order):
    parts = [sample(seed=i) for i in order]
    return {
        "image": np.stack([p[0] for p in parts]),
        "label": np.stack([p[1] for p in parts]),
        "index": np.array(order, np.int32),
        "epoch": np.full(len(order), 3, np.int32),
    }


def test_a_sample_changes_in_the_same_way_wherever_it_stands():
    first, second = (fast_batch(jax.random.key(5), batch_of(order), FULL, RECORD) for order in ([0, 1, 2, 3], [2, 0, 3, 1]))
    for key in ("image", "label"):
        np.testing.assert_array_equal(first[key][2], second[key][0])
        np.testing.assert_array_equal(first[key][0], second[key][1])
    alone = fast_batch(jax.random.key(5), batch_of([2]), FULL, RECORD)
    np.testing.assert_array_equal(first["label"][2], alone["label"][0])
    np.testing.assert_allclose(first["image"][2], alone["image"][0], atol=1e-5)


def test_a_batch_is_its_samples_normalised_with_the_mean_outside():
    batch = batch_of([1, 8])
    result = fast_batch(jax.random.key(5), batch, FULL, RECORD)
    for row, index in enumerate([1, 8]):
        key = jax.random.fold_in(jax.random.fold_in(jax.random.key(5), 3), index)
        image, label = fast_augment(key, batch["image"][row], batch["label"][row], FULL, fill=255 * np.array(MEAN, np.float32))
        np.testing.assert_allclose(result["image"][row], normalise(image, MEAN, STD), atol=1e-5)
        np.testing.assert_array_equal(result["label"][row], label)
    outside = np.asarray(result["label"]) == 255
    assert outside.any() and np.abs(np.asarray(result["image"])[outside]).max() < 1e-6
    np.testing.assert_array_equal(result["index"], batch["index"])
    epochs = [fast_batch(jax.random.key(5), {**batch, "epoch": np.full(2, e)}, FULL, RECORD)["image"] for e in (3, 4)]
    assert np.abs(epochs[0] - epochs[1]).max() > 0.1


FACTORS = "at least 0.01 and at most 100"


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"scale": (2.0, 1.0)}, "augment.scale is (2.0, 1.0); the smaller factor comes first, as in (1.0, 2.0)"),
        ({"scale": (0.0, 1.0)}, "augment.scale is (0.0, 1.0); it must be " + FACTORS),
        (
            {"scale": (1.0, float("inf"))},
            "augment.scale is (1.0, inf); it must be a finite number, " + FACTORS,
        ),
        (
            {"scale": (float("nan"), 1.0)},
            "augment.scale is (nan, 1.0); it must be a finite number, " + FACTORS,
        ),
        ({"crop": (0, 3)}, "augment.crop is (0, 3); it must be at least 1 and at most 32768"),
        ({"crop": (10**9, 10**9)}, "augment.crop is (1000000000, 1000000000); it must be at least 1 and at most 32768"),
        ({"contrast": 1.5}, "augment.contrast is 1.5; it must be at least 0 and at most 1"),
        ({"brightness": float("nan")}, "augment.brightness is nan; it must be a finite number, at least 0 and at most 1"),
        ({"saturation": float("inf")}, "augment.saturation is inf; it must be a finite number, at least 0 and at most 1"),
    ],
)
def test_illegal_settings_are_refused(wrong, message):
    with pytest.raises(ValueError) as caught:
        AugmentConfig(**wrong)
    assert str(caught.value) == message
