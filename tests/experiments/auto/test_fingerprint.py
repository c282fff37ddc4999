"""What is found in images decides how they are trained on."""

import numpy as np
import pytest
from PIL import Image

from experiments.auto.fingerprint import areas_and_edges, class_width, fingerprint, is_gray, target_spacing
from experiments.building.build import load_data
from experiments.configuration.config import DataConfig
from fcn.data import Prepared


def stripes(width, classes=2, size=(12, 24)):
    columns = np.arange(size[1]) // width % classes
    return np.broadcast_to(columns, size).astype(np.int32)


@pytest.mark.parametrize("width", [2, 3, 4])
def test_inner_stripes_are_as_wide_as_they_are(width):
    areas, edges = areas_and_edges(stripes(width), 2)
    assert areas.sum() == 12 * 24 and edges.sum() == 2 * 12 * (24 // width - 1)
    inner = stripes(width)[:, width:-width]
    assert class_width([areas_and_edges(np.pad(inner, ((0, 0), (1, 1)), constant_values=255), 2)]) == pytest.approx(
        width, rel=width / 12
    )


def test_the_width_of_slabs():
    """Of four, whose outer sides are no outline."""
    label = np.broadcast_to(stripes(4)[:4, None, :16], (4, 3, 16))
    assert class_width([areas_and_edges(label, 2)]) == pytest.approx(4 * 4 / 3)


def test_a_background_and_classes_without_outline_do_not_count():
    label = np.zeros((20, 20), np.int32)
    label[8:12, 8:12] = 1
    label[0, 0] = 255
    assert areas_and_edges(label, 3).tolist() == [[383, 16, 0], [16, 16, 0]]
    assert class_width([areas_and_edges(label, 3)]) == 2 * 16 / 16
    assert class_width([areas_and_edges(np.zeros((4, 4), np.int32), 2)]) is None
    assert class_width([]) is None


class Images:
    """Three images, gray though they are stored as RGB; one is dark."""

    name, classes, palette, ignore_index = "three", ("ground", "thing"), np.zeros((2, 3), np.uint8), 255
    sizes = ((16, 24), (16, 24), (20, 40))

    def __init__(self, *brightness):
        self.brightness = brightness

    def __len__(self):
        return len(self.sizes)

    def __getitem__(self, i):
        size = self.sizes[i]
        return {
            "image": np.full((*size, 3), self.brightness[i], np.uint8),
            "label": stripes(4, size=size),
            "name": str(i),
        }


def test_the_fingerprint_of_mixed_sizes():
    found = fingerprint(Prepared(Images(200, 30, 210), mixed=True))
    assert (found.size, found.images, found.classes, found.channels) == ((16, 24), 3, 2, 1)
    assert not found.alike and found.uneven and 3 < found.width < 6
    as_read = fingerprint(Prepared(Images(200, 190, 210), mixed=True), as_read=True)
    assert not as_read.uneven and as_read.channels == 3


class Volumes(Images):
    """Three volumes of two channels; slices of the last lie closer."""

    sizes, spacings = ((4, 16, 24), (4, 16, 24), (8, 20, 24)), ((2.0, 1.0, 1.0), (2.0, 1.0, 1.0), (1.0, 0.8, 1.0))
    channel_names = ("CT", "CT")

    def __getitem__(self, i):
        size = self.sizes[i]
        image = np.full((*size, 2), self.brightness[i], np.float32)
        label = np.broadcast_to(stripes(4, size=size[1:]), size).astype(np.int32)
        return {"image": image, "label": label, "name": str(i), "spacing": self.spacings[i]}


def test_the_fingerprint_of_volumes():
    """Of several spacings the median is taken, at which the third has 4x16x24 voxels, too."""
    found = fingerprint(Prepared(Volumes(200, 30, 210), mixed=True))
    assert (found.size, found.spacing, found.resampled, found.alike) == ((4, 16, 24), (2.0, 1.0, 1.0), True, True)
    assert (found.channels, found.kind, found.photos, found.ct) == (2, "volumes", False, True)


@pytest.mark.parametrize(
    ("distances", "slices", "wanted"),
    [((5, 5, 4.9), 20, 4.92), ((2, 2, 2), 20, 2), ((5, 5, 4.9), 90, 5), ((5, 5, 0.1), 20, 1.08)],
)
def test_slices_that_lie_far_apart_keep_their_distance(distances, slices, wanted):
    spacings = [(distance, 1.0, 0.9) for distance in distances]
    assert target_spacing(spacings, [(slices, 100, 100)] * 3) == pytest.approx((wanted, 1.0, 0.9))


@pytest.mark.parametrize(("colour", "channels"), [((9, 9, 9), 1), ((9, 90, 9), 3)])
def test_gray_and_colour_files_are_gray_only_where_all_look_so(tmp_path, colour, channels):
    """Whatever the first file is; nothing need be said about channels."""
    for name, image in (("a", np.full((12, 24), 7)), ("b", np.full((12, 24, 3), colour)), ("c", np.full((16, 24), 5))):
        for kind, values in (("images", image), ("labels", stripes(4, size=image.shape[:2]))):
            (tmp_path / kind / "train").mkdir(parents=True, exist_ok=True)
            Image.fromarray(values.astype(np.uint8)).save(tmp_path / kind / "train" / f"{name}.png")
    train = load_data(DataConfig("folder", str(tmp_path)), "train", mixed=True)
    assert fingerprint(train).channels == channels and train.shape[-1] == 3


def test_colours_are_no_gray():
    image = np.zeros((2, 2, 3), np.uint8)
    assert is_gray(image) and is_gray(image[..., :1]) and not is_gray(np.zeros((2, 2, 4), np.uint8))
    image[0, 0, 1] = 1
    assert not is_gray(image)
