"""TIFF files of several pages, each of which is an image of its own."""

import tempfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Shaped

from fcn.data.reading.decode import REDUCED_OR_MASK
from fcn.errors import first_line

TIFF = (".tif", ".tiff")
_JPEG = (6, 7, 34892, 33007)
"""Compressions of TIFF files."""


def count_pages(path: str | Path) -> int:
    """The pages of a TIFF file that are images; of other files 1.

    Raises:
        ValueError: it is no TIFF file, or damaged.
        ImportError: it takes tifffile, which is not installed.
    """
    if Path(path).suffix.lower() not in TIFF:
        return 1
    with _pages(path) as pages:
        return len(pages)


def read_pages(path: str | Path) -> Shaped[np.ndarray, "pages h w *c"]:
    """All pages, which are the slices of a volume, and have one size.

    Raises:
        ValueError: it is no TIFF file, is damaged, or pages are of several sizes.
        ImportError: it takes tifffile, which is not installed.
    """
    with _pages(path) as pages:
        slices = [_decoded(page, f"{path}: page {number}") for number, page in enumerate(pages, 1)]
    if other := next((one.shape for one in slices if one.shape != slices[0].shape), None):
        raise ValueError(f"{path}: pages of shapes {slices[0].shape} and {other}; the slices of a volume have one size")
    return np.stack(slices)


@contextmanager
def page_as_file(path: str | Path, page: int) -> Iterator[Path]:
    """A page as a file of its own, which is gone in the end. Errors as `count_pages`, and a ValueError if it is damaged."""
    import tifffile

    with tempfile.TemporaryDirectory() as folder, _pages(path) as pages:
        found, alone = pages[page], Path(folder) / "page.tif"
        how: dict[str, Any] = {"photometric": found.photometric, "planarconfig": found.planarconfig}
        if found.photometric == tifffile.PHOTOMETRIC.YCBCR and found.compression in _JPEG:
            how["photometric"] = "rgb"  # to which tifffile decodes it
        if found.samplesperpixel == 1:
            how["planarconfig"] = None
        if found.colormap is not None:
            how["colormap"] = found.colormap
        turned = [(274, 3, 1, found.tags.valueof(274, 1), True)]
        tifffile.imwrite(alone, _decoded(found, f"{path}: page {page + 1}"), metadata=None, extratags=turned, **how)
        yield alone


def _decoded(page: Any, name: str) -> np.ndarray:
    try:
        return page.asarray()
    except (zlib.error, RuntimeError) as error:  # of tifffile, and of the decoders that it takes
        raise ValueError(f"{name} cannot be decoded ({first_line(str(error) or type(error).__name__)})") from None


@contextmanager
def _pages(path: str | Path) -> Iterator[list[Any]]:
    try:
        import tifffile
    except ImportError:
        raise ImportError(f"{path}: reading its pages needs tifffile: pip install 'fcn-zoo[tiff]'") from None
    try:
        tiff = tifffile.TiffFile(path)
    except tifffile.TiffFileError as error:
        raise ValueError(f"{path}: not a TIFF file, or damaged ({first_line(str(error))})") from None
    with tiff:
        yield [page.aspage() for page in tiff.pages if not getattr(page, "subfiletype", 0) & REDUCED_OR_MASK]
