"""Images that are no pictures: NumPy's files, and TIFF files of floats, of many channels and of pages."""

import sys

import numpy as np
import pytest
import tifffile
from PIL import Image

from fcn.data import check_source, open_source, read_image, resize_image
from fcn.data.layouts.layout import index
from fcn.data.reading.arrays import read_array
from fcn.data.reading.depth import find_range
from fcn.data.reading.images import image_type, read_size, verify_image

RNG = np.random.default_rng(0)
BANDS = RNG.integers(0, 4096, (5, 7, 13)).astype(np.uint16)
FLOATS = RNG.uniform(-3, 9, (5, 7, 2)).astype(np.float32)
GRAY = {"photometric": "minisblack", "metadata": None}


def save_planes(path, values):
    tifffile.imwrite(path, values.transpose(2, 0, 1), planarconfig="separate", **GRAY)


def save_pixels(path, values):
    tifffile.imwrite(path, values, planarconfig="contig", compression="zlib", **GRAY)


def save_one(path, values):
    tifffile.imwrite(path, values[..., 0], **GRAY)


def save_npy(path, values):
    np.save(path, values)


def save_pyramid(path, values):
    with tifffile.TiffWriter(path) as file:
        file.write(values, planarconfig="contig", **GRAY)
        file.write(values[::2, ::2], planarconfig="contig", subfiletype=1, **GRAY)


@pytest.mark.parametrize(
    ("save", "values"),
    [
        (save_npy, BANDS),
        (save_npy, FLOATS.astype(np.float64)),
        (save_planes, BANDS),
        (save_planes, BANDS[..., :3]),
        (save_pixels, BANDS.astype(np.uint8)),
        (save_pixels, FLOATS),
        (save_pixels, FLOATS.astype(np.int16)),
        (save_one, FLOATS[..., :1]),
        (save_one, BANDS[..., :1].astype(np.int16) - 9),
        (save_one, BANDS[..., :1].astype(np.uint32)),
        (save_pyramid, BANDS),
    ],
)
def test_values_are_those_that_are_stored(tmp_path, save, values):
    path = tmp_path / ("a.npy" if save is save_npy else "a.tif")
    save(path, values)
    found = read_array(path)
    assert found.dtype.kind == values.dtype.kind
    np.testing.assert_array_equal(found, values)
    high = float(values.max())
    expected = values if values.dtype == np.uint8 else np.clip(np.rint(values.astype(float) * 255 / high), 0, 255)
    np.testing.assert_allclose(read_image(path, value_range=(0, high)), expected, atol=0 if values.dtype.kind == "u" else 1)
    assert read_size(path) == (5, 7) and verify_image(path, ranged=True) == values.shape
    if values.dtype not in (np.uint8, np.uint16):
        for reader in (read_image, verify_image):
            with pytest.raises(ValueError, match=r"a\.(npy|tif): .*whose range is not known"):
                reader(path)


def test_channels_are_those_that_are_asked_for(tmp_path):
    np.save(tmp_path / "a.npy", BANDS.astype(np.uint8))
    with pytest.raises(ValueError, match=r"a\.npy: 13 channels, but 3 are asked for; set channels to 13"):
        read_image(tmp_path / "a.npy", channels=3)
    np.testing.assert_array_equal(read_image(tmp_path / "a.npy", channels=13), BANDS.astype(np.uint8))
    infrared = BANDS[..., :4].astype(np.uint8)
    Image.frombytes("RGBX", (7, 5), infrared.tobytes()).save(tmp_path / "nir.tif")
    Image.fromarray(infrared).save(tmp_path / "alpha.png")
    for name in ("nir.tif", "alpha.png"):
        np.testing.assert_array_equal(read_image(tmp_path / name, channels=4), infrared)
        assert verify_image(tmp_path / name, 4) == (5, 7, 4) and verify_image(tmp_path / name) == (5, 7, 3)
    np.save(tmp_path / "gray.npy", infrared[..., 0])
    np.testing.assert_array_equal(read_image(tmp_path / "gray.npy", channels=3), np.repeat(infrared[..., :1], 3, 2))
    resized = resize_image(infrared, (10, 3))
    np.testing.assert_array_equal(resized[..., 3:], resize_image(infrared[..., 3:], (10, 3)))


def test_pages_are_channels_where_it_is_said(tmp_path):
    pages = BANDS[..., :3].astype(np.uint8)
    first, *others = (Image.fromarray(pages[..., i]) for i in range(3))
    first.save(tmp_path / "stack.tif", save_all=True, append_images=others)
    with pytest.raises(ValueError, match=r"stack\.tif: holds 3 pages; .* or set pages to channels"):
        read_image(tmp_path / "stack.tif")
    np.testing.assert_array_equal(read_image(tmp_path / "stack.tif", pages=True), pages)
    assert image_type(tmp_path / "stack.tif", pages=True) == "TIF uint8, 3 channels"


def test_without_tifffile_what_pillow_knows_is_read(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "tifffile", None)
    Image.fromarray(FLOATS[..., 0]).save(tmp_path / "float.tif")
    np.testing.assert_array_equal(read_array(tmp_path / "float.tif"), FLOATS[..., :1])
    monkeypatch.undo()
    save_pixels(tmp_path / "bands.tif", BANDS)
    monkeypatch.setitem(sys.modules, "tifffile", None)
    with pytest.raises(ImportError, match=r"bands\.tif: .*pip install 'fcn-zoo\[tiff\]'"):
        read_image(tmp_path / "bands.tif")


@pytest.mark.parametrize("orientation", range(1, 9))
def test_orientation_is_obeyed(tmp_path, orientation):
    """As Pillow turns a picture."""
    stored = BANDS.astype(np.uint8)
    tifffile.imwrite(tmp_path / "a.tif", stored, planarconfig="contig", extratags=[(274, 3, 1, orientation, True)], **GRAY)
    Image.fromarray(stored[..., 0]).save(tmp_path / "b.tif", tiffinfo={274: orientation})
    np.testing.assert_array_equal(read_array(tmp_path / "a.tif")[..., :1], read_image(tmp_path / "b.tif"))


@pytest.mark.parametrize(
    ("name", "values", "message"),
    [
        ("a.npy", None, "not an image"),
        ("a.tif", None, "not an image"),
        ("a.npy", np.zeros((3, 50, 70)), r"shape \(3, 50, 70\); images are \[height, width, channels\]"),
        ("a.npy", np.zeros((2, 2), complex), "type complex128"),
        ("a.npy", np.zeros((0, 2)), r"shape \(0, 2\)"),
        ("a.npy", np.zeros((60, 70), np.uint8), "more than 4000 pixels; .*FCN_MAX_PIXELS"),
        ("a.png", np.zeros((60, 70), np.uint8), "more than 4000 pixels; .*FCN_MAX_PIXELS"),
    ],
)
def test_what_is_no_image_is_refused_by_name(tmp_path, monkeypatch, name, values, message):
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", Image.MAX_IMAGE_PIXELS)  # which the variable changes
    monkeypatch.setenv("FCN_MAX_PIXELS", "4000")
    if values is None:
        (tmp_path / name).write_text("no image")
    elif name.endswith("png"):
        Image.fromarray(values).save(tmp_path / name)
    else:
        np.save(tmp_path / name, values)
    with pytest.raises(ValueError, match=rf"{name}: .*{message}"):
        read_image(tmp_path / name, value_range=(0, 1))


def test_a_limit_that_is_no_number(tmp_path, monkeypatch):
    monkeypatch.setenv("FCN_MAX_PIXELS", "many")
    Image.fromarray(BANDS[..., 0]).save(tmp_path / "a.png")
    with pytest.raises(ValueError, match="FCN_MAX_PIXELS is 'many'; give a number of pixels"):
        read_image(tmp_path / "a.png")


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ([0.0, 0.2, 0.9], (0, 1)),
        ([-2.0, 0.0, 3.0], (-2, 3)),
        ([0.0, 100.0, np.nan, np.inf], (0, 100)),
        ([4.0, 4.0], (4, 5)),
        ([700, 800], (700, 800)),
        ([100, 800], (0, 800)),
    ],
)
def test_the_range_of_floats_and_of_integers_of_other_types(tmp_path, values, expected):
    np.save(tmp_path / "a.npy", np.array([values], np.float64 if isinstance(values[0], float) else np.int32))
    low, high = find_range([tmp_path / "a.npy"])
    assert low == pytest.approx(expected[0], abs=0.2) and high == pytest.approx(expected[1], abs=0.2)


def test_arrays_that_belong_to_pictures_are_no_images(tmp_path):
    for name in ("a.npy", "a_seg.npy", "b.npy", "c_seg.npy"):
        np.save(tmp_path / name, FLOATS)
    Image.fromarray(np.eye(5, 7, dtype=np.uint8)).save(tmp_path / "a.png")
    assert index(tmp_path) == {"a": tmp_path / "a.png", "b": tmp_path / "b.npy", "c_seg": tmp_path / "c_seg.npy"}
    with pytest.raises(ValueError, match=r"a\.png and a\.npy have the same name"):
        index(tmp_path, (".npy", ".png"))  # of labels either may be meant


def test_a_folder_of_arrays(tmp_path):
    for split in ("train", "val"):
        for kind in ("images", "labels"):
            (tmp_path / kind / split).mkdir(parents=True)
        np.save(tmp_path / "images" / split / "a.npy", FLOATS)
        Image.fromarray(np.eye(5, 7, dtype=np.uint8)).save(tmp_path / "labels" / split / "a.png")
    train = open_source("folder", "train", root=tmp_path)
    low, high = train.value_range
    assert low == pytest.approx(FLOATS.min(), abs=0.1) and high == pytest.approx(FLOATS.max(), abs=0.1)
    expected = np.clip(np.rint((FLOATS - low) * 255 / (high - low)), 0, 255)
    np.testing.assert_allclose(train[0]["image"], expected, atol=1)
    assert train.channels == 2 and "stored values" in train.remarks[-1]
    for source in (train, open_source("folder", "val", root=tmp_path, value_range=train.value_range)):
        check_source(source)
    with pytest.raises(ValueError, match="channels is 2; the data set 'shapes' is read as gray"):
        open_source("shapes", "train", channels=2)
