"""Pages of TIFF files, each as a file of its own."""

from contextlib import nullcontext
from types import SimpleNamespace

import numpy as np
import pytest
import tifffile

from fcn.data import read_image
from fcn.data.reading import pages
from fcn.data.reading.pages import page_as_file

PAGES = np.random.default_rng(0).integers(0, 256, (2, 9, 8, 3), np.uint8)


def test_a_damaged_page_is_named(tmp_path):
    """The one before it is read."""
    path = tmp_path / "stack.tif"
    tifffile.imwrite(path, PAGES, photometric="rgb", compression="zlib")
    with tifffile.TiffFile(path) as file:
        place = file.pages[1].dataoffsets[0]
    whole = path.read_bytes()
    path.write_bytes(whole[:place] + b"\xff" * 20 + whole[place + 20 :])
    with page_as_file(path, 0) as page:
        np.testing.assert_array_equal(tifffile.imread(page), PAGES[0])
    with pytest.raises(ValueError, match=r"stack\.tif: page 2 cannot be decoded \(.+\)$"), page_as_file(path, 1):
        pass


def test_jpeg_pages_have_the_colours_that_they_are_decoded_to(tmp_path, monkeypatch):
    """Their photometric interpretation is that of what is compressed, YCbCr."""
    tags = tifffile.TiffTags()
    known = {"samplesperpixel": 3, "planarconfig": 1, "colormap": None, "tags": tags, "asarray": lambda: PAGES[0]}
    stored = SimpleNamespace(photometric=tifffile.PHOTOMETRIC.YCBCR, compression=tifffile.COMPRESSION.JPEG, **known)
    monkeypatch.setattr(pages, "_pages", lambda path: nullcontext([stored]))
    with page_as_file(tmp_path / "stack.tif", 0) as page:
        np.testing.assert_array_equal(read_image(page), PAGES[0])
