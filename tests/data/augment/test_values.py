"""What changes values: formulas in NumPy, SciPy, scikit-image and Pillow."""

import io

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from PIL import Image
from scipy import ndimage
from skimage.color import rgb2yiq, yiq2rgb

from fcn.data.augment import (
    Blur,
    Brightness,
    CoarseDropout,
    Contrast,
    Gamma,
    GaussianNoise,
    Hue,
    JpegBlocks,
    LowResolution,
    Saturation,
    Sharpen,
    ShotNoise,
)
from fcn.data.augment.filters import gaussian, jpeg
from fcn.data.augment.noise import box
from fcn.data.augment.operation import factor, some_channels, uniform

KEYS = jax.random.split(jax.random.key(5), 1000)
KEY = KEYS[0]


def picture(size=(9, 12), channels=3, seed=0):
    return np.random.default_rng(seed).uniform(0, 255, (*size, channels)).astype(np.float32)


IMAGE = picture()


def test_factors_lie_half_below_one_and_numbers_evenly():
    factors, numbers = (np.asarray(jax.vmap(lambda key, draw=draw: draw(key, (0.5, 3.0)))(KEYS)) for draw in (factor, uniform))
    assert abs((factors < 1).mean() - 0.5) < 0.064 and abs(numbers.mean() - 1.75) < 0.1
    for drawn in (factors, numbers):
        assert drawn.min() >= 0.5 and drawn.max() <= 3
    assert abs(factors[factors < 1].mean() - 0.75) < 0.03 and abs(factors[factors > 1].mean() - 2) < 0.11
    above = np.asarray(jax.vmap(lambda key: factor(key, (1.0, 3.0)))(KEYS))
    assert abs(above.mean() - 2) < 0.08


@pytest.mark.parametrize("image", [IMAGE, picture((7,), 1)], ids=["image", "signal"])
def test_nothing_changes_at_zero_strength(image):
    same = (1.0, 1.0)
    operations = [
        *(Brightness(range=same, centred=centred) for centred in (False, True)),
        Contrast(range=same, keep_range=True),
        *(Gamma(range=same, inverted=inverted, keep_statistics=True, per_channel=True) for inverted in (False, True)),
        Saturation(range=same),
        Hue(degrees=0),
        Blur(sigma=(0.0, 0.0)),
        Blur(channels=0),
        Sharpen(amount=(0.0, 0.0)),
        LowResolution(range=same),
        GaussianNoise(deviation=(0.0, 0.0)),
        ShotNoise(photons=(1e9, 1e9)),
        CoarseDropout(share=(0.0, 0.0)),
    ]
    for changed in jax.jit(lambda x: [operation.change(KEY, x) for operation in operations])(image):
        np.testing.assert_allclose(changed, image, atol=0.04)  # the noise of 1e9 photons, four deviations


@pytest.mark.parametrize("per_channel", [False, True])
def test_brightness_contrast_and_gamma(per_channel):
    image, shape = IMAGE.astype(np.float64), (3,) if per_channel else ()
    span = (0.5, 2.0)
    options = {"range": span, "per_channel": per_channel}
    operations = [
        Brightness(**options),
        Brightness(**options, centred=True),
        Contrast(**options),
        Contrast(**options, keep_range=True),
        Gamma(**options),
        Gamma(**options, inverted=True),
        Gamma(**options, keep_statistics=True),
    ]
    by, found = jax.jit(lambda x: (factor(KEY, span, shape), [op.change(KEY, x) for op in operations]))(IMAGE)
    by = np.asarray(by, np.float64)
    mean, low, high = image.mean((0, 1)), image.min((0, 1)), image.max((0, 1))
    middle = mean if per_channel else (image @ [0.299, 0.587, 0.114]).mean()
    power = low + (high - low) * ((image - low) / (high - low)) ** by
    expected = [
        by * image,
        mean + by * (image - mean),
        middle + by * (image - middle),
        np.clip(middle + by * (image - middle), low, high),
        power,
        high - (high - low) * ((high - image) / (high - low)) ** by,
        mean + image.std((0, 1)) / power.std((0, 1)) * (power - power.mean((0, 1))),
    ]
    for changed, right in zip(found, expected, strict=True):
        np.testing.assert_allclose(changed, right, atol=2e-3)
    assert abs(by - 1).min() > 0.01


def test_gamma_of_a_flat_channel_leaves_it():
    image = np.full((4, 4, 1), 7, np.float32)
    np.testing.assert_allclose(jax.jit(Gamma(keep_statistics=True).change)(KEY, image), image)


def test_colours():
    run = jax.jit(lambda x: (Saturation(range=(0.2, 0.9)).change(KEY, x), Hue(degrees=90).change(KEY, x)))
    pale, turned = run(IMAGE)
    by, angle = float(uniform(KEY, (0.2, 0.9))), np.deg2rad(float(uniform(KEY, (-90, 90))))
    gray = (IMAGE @ [0.299, 0.587, 0.114])[..., None]
    np.testing.assert_allclose(pale, gray + by * (IMAGE - gray), atol=1e-3)
    yiq = rgb2yiq(IMAGE / 255)
    cosine, sine = np.cos(angle), np.sin(angle)
    yiq[..., 1:] = yiq[..., 1:] @ np.array([[cosine, sine], [-sine, cosine]])
    np.testing.assert_allclose(turned, 255 * yiq2rgb(yiq), atol=0.15)  # scikit-image has more digits of YIQ
    assert abs(angle) > 0.1


def test_images_that_are_not_rgb_have_no_colours():
    image = picture(channels=4)
    assert Saturation().change(KEY, image) is image and Hue().change(KEY, image) is image


@pytest.mark.parametrize("size", [(9, 12), (3, 4), (5, 4, 3)])
def test_gaussian_filters_equal_scipy(size):
    image = picture(size, 2)
    sigmas = np.array([1.3, 0.6], np.float32)
    each, both = jax.jit(lambda x, sigmas: (gaussian(x, sigmas, 6), gaussian(x, 1.3, 6)))(image, sigmas)
    for c, sigma in enumerate(sigmas):
        expected = ndimage.gaussian_filter(image[..., c].astype(np.float64), sigma, radius=6, mode="reflect")
        np.testing.assert_allclose(each[..., c], expected, atol=2e-4)
    np.testing.assert_allclose(both[..., 0], each[..., 0], atol=1e-4)


def test_blur_and_sharpening():
    sharp, blurred = jax.jit(lambda x: (Sharpen(amount=(2.0, 2.0)).change(KEY, x), gaussian(x, 1.0, 4)))(IMAGE)
    np.testing.assert_allclose(sharp, IMAGE + 2 * (IMAGE - np.asarray(blurred)), atol=2e-3)
    run = jax.jit(jax.vmap(lambda key: some_channels(key, 0.3, jnp.ones((1, 5)), jnp.zeros((1, 5)))))
    chosen = np.asarray(run(KEYS))
    assert np.all(np.abs(chosen.mean(0) - 0.3) < 0.06)


def slow_low_resolution(image, by):
    """One axis after the other, one pixel after the other."""
    for axis in range(image.ndim - 1):
        lines = np.moveaxis(image, axis, 0)
        length = len(lines)
        count = max(round(by * length), 1)
        coarse = np.stack([lines[int((i + 0.5) * length / count)] for i in range(count)])
        fine = []
        for i in range(length):
            place = min(max((i + 0.5) * count / length - 0.5, 0), count - 1)
            low = int(place)
            share = place - low
            fine.append((1 - share) * coarse[low] + share * coarse[min(low + 1, count - 1)])
        image = np.moveaxis(np.stack(fine), 0, axis)
    return image


@pytest.mark.parametrize("by", [0.01, 0.55, 0.9])
def test_low_resolution(by):
    changed = jax.jit(LowResolution(range=(by, by)).change)(KEY, IMAGE)
    np.testing.assert_allclose(changed, slow_low_resolution(IMAGE.astype(np.float64), by), atol=2e-3)


@pytest.mark.parametrize("channels", [1, 3])
def test_blocks_are_those_of_jpeg(channels):
    """Pillow rounds values before and after: of coefficients between two steps it takes the other one here and there."""
    smooth = ndimage.gaussian_filter(picture((30, 41), channels, seed=2), (1, 1, 0))
    image = np.rint(smooth).astype(np.uint8)
    run = jax.jit(jpeg)
    for quality, share in ((15.0, 0.1), (50.0, 0.2), (90.0, 0.5)):
        file = io.BytesIO()
        Image.fromarray(image.squeeze()).save(file, "JPEG", quality=int(quality), subsampling=0)
        expected = np.asarray(Image.open(file), np.float32).reshape(image.shape)
        apart = np.abs(np.clip(run(image.astype(np.float32), quality), 0, 255) - expected)
        assert apart.mean() < share * np.abs(image - expected).mean()
        if quality == 15:
            blocks = apart[:24, :40].reshape(3, 8, 5, 8, channels).max((1, 3, 4))
            assert (blocks < 2).mean() > 0.8
    with pytest.raises(ValueError, match="JpegBlocks needs two axes; the image has 3: leave it out"):
        JpegBlocks().change(KEY, np.zeros((8, 8, 8, 1), np.float32))


def test_noise_has_its_deviation():
    flat = np.full((40, 50, 2), 100, np.float32)
    wide = np.concatenate([flat, flat + 60])

    def run(x):
        same = (0.1, 0.1)
        operations = GaussianNoise(deviation=same), GaussianNoise(deviation=same, relative=True), ShotNoise(photons=(50, 50))
        return [operation.change(KEY, x) for operation in operations]

    for changed, expected in zip(jax.jit(run)(wide), (25.5, 3, np.sqrt(255 * 100 / 50))):
        noise = np.asarray(changed - wide)[:40]
        assert abs(noise.std() / expected - 1) < 0.05 and abs(noise.mean()) < expected / 15
    drawn = jax.jit(jax.vmap(lambda key: GaussianNoise(deviation=(0.0, 0.2)).change(key, flat[:20, :20])))(KEYS[:200])
    deviations = np.asarray(drawn).reshape(200, -1).std(1) / 255
    assert abs(deviations.mean() - 0.1) < 0.02 and deviations.max() < 0.22


def test_boxes_lie_inside_with_their_share():
    masks = np.asarray(jax.jit(jax.vmap(lambda key: box(key, (10, 20), (0.2, 0.5))))(KEYS))
    heights, widths = masks.any(2).sum(1), masks.any(1).sum(1)
    assert heights.min() == 2 and heights.max() == 5 and widths.min() == 4 and widths.max() == 10
    np.testing.assert_array_equal(masks.sum((1, 2)), heights * widths)
    tops = masks.any(2).argmax(1)
    assert np.all((np.histogram(tops[heights == 2], bins=np.arange(10))[0]) > 0)


def test_coarse_dropout_takes_the_mean():
    dropped = np.asarray(jax.jit(jax.vmap(lambda key: CoarseDropout(boxes=3, share=(0.2, 0.4)).change(key, IMAGE)))(KEYS[:50]))
    hidden = np.any(dropped != IMAGE, -1)
    np.testing.assert_allclose(dropped[hidden], np.tile(IMAGE.mean((0, 1)), (hidden.sum(), 1)), rtol=1e-5)
    assert hidden.any((1, 2)).all() and 0.08 < hidden.mean() < 0.25


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Gamma(range=(2.0, 1.0)), r"Gamma.range is \(2.0, 1.0\); the lower value comes first: \(1.0, 2.0\)"),
        (lambda: Blur(probability=1.5), "Blur.probability is 1.5; it must be at least 0 and at most 1"),
        (lambda: Hue(degrees=float("nan")), "Hue.degrees is nan; it must be a finite number, at least 0 and at most 180"),
    ],
)
def test_illegal_ranges_are_refused(make, message):
    with pytest.raises(ValueError, match=message):
        make()
