"""Pictures: exact colours where they are promised, layout where it is not."""

import jaxtyping
import numpy as np
import pytest
from PIL import Image

from fcn import visualize
from fcn.visualize import IGNORED, colourise, default_palette, legend, overlay, panel, plot_confusion, plot_curves
from fcn.visualize.palette import _oklab
from fcn.visualize.plots import _percent, _running_mean

CLASSES = ["background", "disk", "a square"]
PALETTE = default_palette(3)


@pytest.fixture
def unchecked():
    """Without run-time checks of the annotations, which would raise before the function's own errors."""
    jaxtyping.config.update("jaxtyping_disable", True)
    yield
    jaxtyping.config.update("jaxtyping_disable", False)


def example(shape=(20, 30), seed=0):
    rng = np.random.default_rng(seed)
    label = rng.integers(0, 3, shape).astype(np.int32)
    label[:4, :5] = 255
    return rng.integers(0, 256, (*shape, 3), np.uint8), label


def colours_of(picture):
    return {tuple(colour) for colour in picture.reshape(-1, 3).tolist()}


def share(picture, colour):
    return np.mean(np.all(picture == np.asarray(colour), axis=-1))


def test_palette():
    palette = default_palette(256)
    assert palette.shape == (256, 3) and palette.dtype == np.uint8
    assert palette[0].max() < 60  # the background is dark
    for n in (1, 2, 15, 16, 200):
        np.testing.assert_array_equal(default_palette(n), palette[:n])
    palette[:] = 0  # a copy: the next caller gets the colours again
    assert default_palette(2).any()


@pytest.mark.parametrize("n, least", [(8, 0.12), (40, 0.08), (256, 0.045)])
def test_palette_colours_are_easy_to_tell_apart(n, least):
    """In OKLab, where black and white are 1 apart and 0.02 is just visible; white and the ignored gray count as taken."""
    places = _oklab(np.concatenate([default_palette(n), [IGNORED, (255, 255, 255)]]))
    distances = np.linalg.norm(places[:n, None] - places, axis=-1)
    assert distances[~np.eye(n, n + 2, dtype=bool)].min() > least


def test_oklab_of_known_colours():
    """Values of Ottosson's page for white, and of its formulas for the primaries."""
    np.testing.assert_allclose(_oklab([[255, 255, 255], [0, 0, 0]]), [[1, 0, 0], [0, 0, 0]], atol=1e-6)
    np.testing.assert_allclose(_oklab([255, 0, 0]), [0.628, 0.2249, 0.1258], atol=1e-4)


@pytest.mark.parametrize("n", [0, 257, -1])
def test_palette_sizes(n):
    with pytest.raises(ValueError, match=rf"1..256 colours, not {n}"):
        default_palette(n)


def test_colourise_looks_up_every_pixel():
    _, label = example()
    colours = colourise(label, PALETTE)
    assert colours.dtype == np.uint8
    for index in np.ndindex(label.shape):
        assert tuple(colours[index]) == (IGNORED if label[index] == 255 else tuple(PALETTE[label[index]]))
    np.testing.assert_array_equal(colourise(label.astype(np.uint8), PALETTE), colours)


def test_colourise_with_another_ignore_index():
    assert colourise(np.array([[0, 1], [-1, 2]]), PALETTE, ignore_index=-1)[1, 0].tolist() == list(IGNORED)
    full = default_palette(256)
    np.testing.assert_array_equal(colourise(np.array([[255]]), full, ignore_index=-1)[0, 0], full[255])


@pytest.mark.parametrize("strange", [3, -1, 254])
def test_colourise_refuses_labels_without_a_colour(strange):
    with pytest.raises(ValueError, match=f"label {strange} has no colour: the palette has 0..2, ignored is 255"):
        colourise(np.array([[0, strange]]), PALETTE)


def test_overlay_mixes_image_and_colour():
    image, label = example()
    for alpha in (0.0, 0.3, 1.0):
        mixed = overlay(image, label, PALETTE, alpha)
        for index in [(0, 0), (5, 5), (19, 29), (10, 3)]:
            colour = image[index] if label[index] == 255 else (1 - alpha) * image[index] + alpha * PALETTE[label[index]]
            np.testing.assert_array_equal(mixed[index], np.rint(colour))
    assert mixed.dtype == np.uint8


@pytest.mark.parametrize(
    "image, expected",
    [
        (np.array([[7, 200]], np.uint8), [[7, 7, 7], [200, 200, 200]]),
        (np.array([[[7], [200]]], np.uint8), [[7, 7, 7], [200, 200, 200]]),
        (np.array([[[7, 1], [200, 1]]], np.uint8), [[7, 7, 7], [200, 200, 200]]),
        (np.array([[[1, 2, 3, 4, 5], [6, 7, 8, 9, 0]]], np.uint8), [[1, 2, 3], [6, 7, 8]]),
        (np.array([[0.2, 1.0]], np.float32), [[51, 51, 51], [255, 255, 255]]),
        (np.array([[-1.0, 3.0]]), [[0, 0, 0], [255, 255, 255]]),
        (np.array([[1000, 3000]], np.uint16), [[0, 0, 0], [255, 255, 255]]),
        (np.array([[5, 5]], np.int32), [[0, 0, 0], [0, 0, 0]]),
        (np.array([[np.nan, 1.0]]), [[0, 0, 0], [255, 255, 255]]),
        (np.array([[False, True]]), [[0, 0, 0], [255, 255, 255]]),
    ],
    ids=["gray", "one", "two", "five", "fraction", "float", "uint16", "constant", "nan", "bool"],
)
def test_any_image_becomes_rgb(image, expected):
    np.testing.assert_array_equal(overlay(image, np.array([[255, 255]]), PALETTE), [expected])


def test_overlay_refuses_another_size(unchecked):
    with pytest.raises(ValueError, match=r"label of shape \(2, 3\) does not fit an image of shape \(3, 2\)"):
        overlay(np.zeros((3, 2, 3), np.uint8), np.zeros((2, 3), int), PALETTE)


def test_legend_shows_every_colour():
    plain = legend(CLASSES, PALETTE)
    assert plain.dtype == np.uint8 and set(map(tuple, PALETTE.tolist())) <= colours_of(plain)
    assert IGNORED not in colours_of(plain) and IGNORED in colours_of(legend(CLASSES, PALETTE, ignored=True))
    narrow = legend(CLASSES, PALETTE, width=120)
    assert narrow.shape[1] == 120 and narrow.shape[0] == 3 * 28  # one column
    assert legend(["x" * 200, *CLASSES[1:]], PALETTE, width=200).shape[1] == 200
    with pytest.raises(ValueError, match="2 class names for 3 colours"):
        legend(CLASSES[:2], PALETTE)


def test_panel_shows_image_label_and_prediction():
    image, label = example()
    prediction = np.where(label == 255, 0, 2)
    picture = panel([image], [label], [prediction], CLASSES, PALETTE)
    factor = 10  # 30 pixels become 300, the nearest to 288
    left, top = 24, 24 + 26
    for i, expected in enumerate((image, colourise(label, PALETTE), colourise(prediction, PALETTE))):
        tile = picture[top : top + 20 * factor, left + 310 * i :][:, : 30 * factor]
        middles = tile[factor // 2 :: factor, factor // 2 :: factor]
        shown = (label != 255) | (i != 1)  # ignored pixels are hatched
        np.testing.assert_array_equal(middles[shown], expected[shown])
    hatched = picture[top : top + 4 * factor, left + 310 :][:, : 5 * factor]
    assert colours_of(hatched) == {IGNORED, (170, 170, 170)}


def test_panel_of_many_sizes_and_kinds():
    sizes = [(64, 48), (128, 128), (300, 700), (3, 5), (1, 1)]
    images = [np.full((*size, 1 + 2 * i), 99, np.uint8) for i, size in enumerate(sizes)]
    labels = [np.full(size, i % 3) for i, size in enumerate(sizes)]
    picture = panel(images, labels, labels, CLASSES, PALETTE)
    assert picture.dtype == np.uint8
    assert all(share(picture, colour) > 0.02 for colour in PALETTE)
    two = panel(images, labels, None, CLASSES, PALETTE, titles=("image", "truth"))
    assert two.shape[1] < picture.shape[1]


def test_large_images_are_reduced():
    picture = panel(np.zeros((1, 1000, 2000, 3), np.uint8), np.zeros((1, 1000, 2000), int), None, CLASSES, PALETTE)
    assert picture.shape[1] == 2 * 24 + 2 * 288 + 10


def test_panel_names_the_classes_that_occur_where_there_are_many():
    image, label = example()
    few = panel([image], [label], [label], [f"class {i}" for i in range(150)], default_palette(150))
    assert few.shape == panel([image], [label], [label], [f"class {i}" for i in range(3)], PALETTE).shape


@pytest.mark.parametrize(
    "counts, message", [((0, 0, 0), "as many labels"), ((2, 1, 1), r"not \[2, 1, 1\]"), ((1, 1, 2), r"not \[1, 1, 2\]")]
)
def test_panel_refuses_lists_of_different_lengths(counts, message):
    image, label = example()
    images, labels, predictions = [image] * counts[0], [label] * counts[1], [label] * counts[2]
    with pytest.raises(ValueError, match=message):
        panel(images, labels, predictions, CLASSES, PALETTE)


def test_panel_refuses_what_does_not_fit(unchecked):
    image, label = example()
    with pytest.raises(ValueError, match=r"prediction of shape \(19, 30\) does not fit"):
        panel([image], [label], [label[1:]], CLASSES, PALETTE)
    with pytest.raises(ValueError, match="label 3 has no colour"):
        panel([image], [label], [np.full_like(label, 3)], CLASSES, PALETTE)


RECORDS = [{"step": s, "train/loss": 2 * 0.99**s, "train/learning_rate": 1e-3} for s in range(0, 300, 3)]
EVALUATIONS = [
    {"step": 100, "val/miou": 0.4, "val/pixel_accuracy": 0.7, "val/loss": 1.0, "val/iou/disk": None},
    {"step": 200, "val/miou": None, "val/pixel_accuracy": float("nan")},
    {"step": 299, "val/miou": 0.8, "val/pixel_accuracy": 0.9},
]


def read(path):
    with Image.open(path) as picture:
        return np.asarray(picture.convert("RGB"))


@pytest.mark.parametrize("records", [RECORDS + EVALUATIONS, RECORDS[:1], []], ids=["run", "one", "none"])
def test_curves(tmp_path, records):
    plot_curves(iter(records), str(tmp_path / "curves.png"))
    picture = read(tmp_path / "curves.png")
    half = picture.shape[1] // 2
    blue = (63, 131, 214)
    assert (share(picture[:, :half], blue) > 0) == bool(records)
    assert (share(picture[:, half:], blue) > 0) == (len(records) > 1)
    assert share(picture, (255, 255, 255)) > 0.7


def test_running_mean():
    values = np.array([1.0, 5.0, 3.0, 7.0, 9.0])
    expected = [np.mean(values[max(0, i - 1) : i + 2]) for i in range(5)]
    np.testing.assert_allclose(_running_mean(values, 1), expected, rtol=1e-12)


@pytest.mark.parametrize("k", [1, 3, 31])
def test_confusion(tmp_path, k):
    matrix = np.full((k, k), 2) + 100 * np.eye(k, dtype=int)
    plot_confusion(matrix, [f"class {i}" for i in range(k)], tmp_path / "full.png")
    dark = share(read(tmp_path / "full.png"), (255, 255, 255))
    matrix[-1] = 0  # a class without labels: the row is hatched
    plot_confusion(matrix, [f"class {i}" for i in range(k)], tmp_path / "sparse.png")
    assert share(read(tmp_path / "sparse.png"), (238, 238, 238)) > 0.3 / (k + 4)
    assert dark < 0.7


def test_dollar_signs_in_names_are_no_mathematics(tmp_path):
    """Half a formula is an error of matplotlib's, a whole one would be typeset: as names both are what they are."""
    plot_confusion(np.eye(2, dtype=int), [r"$\frac{$", "$x$"], tmp_path / "half.png")
    plot_confusion(np.eye(2, dtype=int), [r"$\frac{$", "x"], tmp_path / "other.png")
    assert not np.array_equal(read(tmp_path / "half.png"), read(tmp_path / "other.png"))


def test_confusion_refuses_another_number_of_names(tmp_path):
    with pytest.raises(ValueError, match=r"2 class names for a matrix of shape \(3, 3\)"):
        plot_confusion(np.eye(3, dtype=int), ["a", "b"], tmp_path / "x.png")


def test_percentages_never_claim_nothing_or_all():
    shares = (0.01, 0.49, 0.5, 1.2, 54.6, 99.4, 99.7, 100.0)
    assert [_percent(s) for s in shares] == ["<1", "<1", "<1", "1", "55", "99", ">99", "100"]


def test_plots_leave_matplotlib_alone(tmp_path):
    """No figure that pyplot would keep open, no changed settings."""
    import matplotlib
    from matplotlib import pyplot

    settings, figures = dict(matplotlib.rcParams), pyplot.get_fignums()
    plot_curves(RECORDS[:2], tmp_path / "curves.png")
    plot_confusion(np.eye(2, dtype=int), ["a", "b"], tmp_path / "confusion.png")
    assert dict(matplotlib.rcParams) == settings and pyplot.get_fignums() == figures


def test_heat_runs_from_blue_to_yellow_and_shows_what_is_not_known():
    values = np.array([[-5.0, 0.0, 1.0, 2.0, 9.0, np.nan]])
    colours = visualize.heat(values, 0.0, 2.0)[0]
    np.testing.assert_array_equal(colours[[0, 1]], [(0x44, 0x01, 0x54)] * 2)
    np.testing.assert_array_equal(colours[2], (0x21, 0x91, 0x8C))
    np.testing.assert_array_equal(colours[[3, 4]], [(0xFD, 0xE7, 0x25)] * 2)
    np.testing.assert_array_equal(colours[5], visualize.IGNORED)


def test_several_classes_of_a_pixel_mix_their_colours(unchecked):
    image = np.full((1, 4, 3), 100, np.uint8)
    masks = np.array([[[0, 0], [1, 0], [1, 1], [255, 1]]], np.int32)
    palette = np.array([[200, 0, 0], [0, 100, 0]], np.uint8)
    tinted = visualize.overlay_masks(image, masks, palette, alpha=0.5)
    np.testing.assert_array_equal(tinted[0], [(100, 100, 100), (150, 50, 50), (100, 75, 50), (50, 100, 50)])
    with pytest.raises(ValueError, match="does not fit"):
        visualize.overlay_masks(image, masks[:, :2], palette)


def test_objects_have_an_outline_and_a_tint(unchecked):
    image, instances = np.full((5, 9), 100, np.uint8), np.zeros((5, 9), np.int32)
    instances[:, 1:6], instances[:, 6:], instances[0, 0] = 1, 26, -1
    shown = visualize.overlay_instances(image, instances, alpha=0.5)
    first, second = default_palette(3)[1:].astype(int)  # the second is that of 2 and of 26
    assert (shown[:, 0] == 100).all()  # no object, and nothing known
    np.testing.assert_array_equal(
        shown[2, [1, 2, 5, 6, 7]], np.rint([first, (first + 100) / 2, first, second, (second + 100) / 2])
    )
    with pytest.raises(ValueError, match=r"instances of shape .* does not fit"):
        visualize.overlay_instances(image, instances[:, 1:])


def test_a_gallery_holds_its_pictures_in_order():
    rows = [[np.full((4, 6, 3), 10 * (3 * row + column), np.uint8) for column in range(3)] for row in range(2)]
    sheet = visualize.gallery(rows)
    found = [value for value in range(0, 60, 10) if (sheet == value).all(-1).sum() >= 4 * 6]
    assert found == list(range(0, 60, 10))
    legend = visualize.gallery(rows, classes=["cell"])  # names without colours have the default ones
    np.testing.assert_array_equal(legend, visualize.gallery(rows, classes=["cell"], palette=visualize.default_palette(1)))
    with pytest.raises(ValueError, match="as many pictures in each row"):
        visualize.gallery([rows[0], rows[1][:2]])
