"""Images that are read in parts: the pixels that are asked for, whatever strips and tiles they lie in."""

import numpy as np
import pytest
import tifffile

from fcn.data import large
from fcn.data.large import geo_tags, open_large

GEO = [(33550, 12, 3, (2.0, 2.0, 0.0), True), (34735, 3, 4, (1, 1, 0, 0), True), (34737, 2, 0, "WGS 84|", True)]
ROWS, COLUMNS = [3, 2, 0, 0, 40, 69, 69], [89, 60, 33, 32, 31, 0]


def pixels(channels=3, kind=np.uint8):
    return np.random.default_rng(0).integers(0, 256, (70, 90, channels)).astype(kind)


@pytest.mark.parametrize(
    ("image", "how"),
    [
        (pixels(), {}),
        (pixels(), {"tile": (32, 32), "compression": "zlib"}),
        (pixels(), {"rowsperstrip": 16, "compression": "zlib", "predictor": True}),
        (pixels(5), {"tile": (16, 32)}),
        (pixels(1), {"rowsperstrip": 7}),
        (pixels(2, np.uint16), {"tile": (16, 16)}),
        (pixels(1, np.float32), {}),
    ],
)
def test_tiff_files_in_strips_and_tiles(image, how, tmp_path):
    look = {
        "photometric": "rgb" if image.shape[2] == 3 else "minisblack",
        "planarconfig": "contig" if image.shape[2] > 1 else None,
    }
    tifffile.imwrite(tmp_path / "x.tif", image if image.shape[2] > 1 else image[..., 0], **look, **how)
    with open_large(tmp_path / "x.tif") as found:
        assert (found.shape, found.dtype) == (image.shape, image.dtype)
        np.testing.assert_array_equal(found[np.ix_(ROWS, COLUMNS)], image[np.ix_(ROWS, COLUMNS)])


@pytest.mark.parametrize("how", [{"rowsperstrip": 16}, {"tile": (16, 32)}])
def test_channels_in_planes(how, tmp_path):
    tifffile.imwrite(tmp_path / "x.tif", pixels().transpose(2, 0, 1), photometric="rgb", planarconfig="separate", **how)
    with open_large(tmp_path / "x.tif") as found:
        np.testing.assert_array_equal(found[np.ix_(ROWS, COLUMNS)], pixels()[np.ix_(ROWS, COLUMNS)])


@pytest.mark.parametrize("how", [{}, {"rowsperstrip": 16}, {"tile": (16, 32), "byteorder": ">"}])
def test_what_is_not_compressed_is_mapped(how, tmp_path, monkeypatch):
    """Of one strip, too, nothing is decoded; a file that is cut off is damaged all the same."""
    tifffile.imwrite(tmp_path / "x.tif", pixels(3, np.uint16), photometric="rgb", **how)
    with open_large(tmp_path / "x.tif") as found:
        monkeypatch.setattr(found._page, "decode", None)
        np.testing.assert_array_equal(found[np.ix_(ROWS, COLUMNS)], pixels()[np.ix_(ROWS, COLUMNS)])
        assert not found._kept and found.at_once == 0
    (tmp_path / "x.tif").write_bytes((tmp_path / "x.tif").read_bytes()[:30_000])
    with open_large(tmp_path / "x.tif") as found, pytest.raises(ValueError, match="it ends before its last pixel"):
        found[np.ix_([69], [89])]


def test_large_parts_that_are_decoded_whole_are_told(tmp_path, monkeypatch):
    tifffile.imwrite(tmp_path / "x.tif", pixels(), photometric="rgb", rowsperstrip=70, compression="zlib")
    monkeypatch.setattr(large, "KEPT", 70 * 90 * 3 - 1)
    with (
        pytest.warns(UserWarning, match=r"x.tif: strips or tiles of 0.0 GiB are decoded whole"),
        open_large(tmp_path / "x.tif"),
    ):
        pass


def test_no_more_is_read_than_is_asked_for_and_little_is_kept(tmp_path, monkeypatch):
    tifffile.imwrite(tmp_path / "x.tif", pixels(), tile=(16, 16), compression="zlib", photometric="rgb")
    monkeypatch.setattr(large, "KEPT", 2 * 16 * 16 * 3)
    with open_large(tmp_path / "x.tif") as found:
        decode, decoded = found._page.decode, []
        monkeypatch.setattr(
            found._page, "decode", lambda data, index, **how: decoded.append(index) or decode(data, index, **how)
        )
        found[np.ix_(range(20, 30), range(10, 20))]
        found[np.ix_(range(20, 30), range(12, 20))]
        assert decoded == [6, 7]
        found[np.ix_([0], [0])]
        found[np.ix_([20], [10])]
        assert decoded == [6, 7, 0, 6]


def test_arrays_are_mapped(tmp_path):
    np.save(tmp_path / "x.npy", pixels())
    np.save(tmp_path / "gray.npy", pixels(1)[..., 0])
    with open_large(tmp_path / "x.npy") as found, open_large(tmp_path / "gray.npy") as gray:
        assert isinstance(found, np.memmap) and gray.shape == (70, 90, 1)
        np.testing.assert_array_equal(found[np.ix_(ROWS, COLUMNS)], pixels()[np.ix_(ROWS, COLUMNS)])


def test_where_on_earth_pixels_lie(tmp_path):
    """The tags, written to another file, are the same."""
    tifffile.imwrite(tmp_path / "x.tif", pixels(), photometric="rgb", extratags=GEO)
    assert geo_tags(tmp_path / "x.tif") == GEO
    assert geo_tags(tmp_path / "x.png") == []


def test_what_is_refused(tmp_path):
    (tmp_path / "text.npy").write_text("no array")
    (tmp_path / "text.tif").write_text("no image")
    np.save(tmp_path / "counts.npy", pixels().astype(np.int64))
    tifffile.imwrite(tmp_path / "pages.tif", pixels(4).transpose(2, 0, 1), photometric="minisblack")
    tifffile.imwrite(tmp_path / "turned.tif", pixels(), photometric="rgb", extratags=[(274, 3, 1, 6, True)])
    tifffile.imwrite(tmp_path / "white.tif", pixels(1)[..., 0], photometric="miniswhite")
    for name, said in (
        ("text.npy", "not an array of numbers, or damaged"),
        ("text.tif", "not a TIFF file, or damaged"),
        ("counts.npy", "an array of type int64"),
        ("pages.tif", "holds 4 pages"),
        ("turned.tif", "its orientation turns it"),
        ("white.tif", "pixels of the kind MINISWHITE"),
        ("x.png", "only .npy, .tif, .tiff files and arrays of Zarr are read in parts"),
    ):
        with pytest.raises(ValueError, match=rf"{name}: {said}"), open_large(tmp_path / name):
            pass


def test_a_file_that_was_cut_off(tmp_path):
    tifffile.imwrite(tmp_path / "x.tif", pixels(), photometric="rgb", rowsperstrip=16)
    whole = (tmp_path / "x.tif").read_bytes()
    (tmp_path / "x.tif").write_bytes(whole[: len(whole) - 3])
    with open_large(tmp_path / "x.tif") as found:
        found[np.ix_([0], [0])]
        with pytest.raises(ValueError, match=r"x\.tif: cannot be decoded \(it ends before its last pixel\)"):
            found[np.ix_([69], [0])]
