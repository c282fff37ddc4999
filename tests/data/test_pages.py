"""Pages of TIFF files, each as a file of its own."""

import numpy as np
import pytest
import tifffile

from fcn.data.pages import page_as_file

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
