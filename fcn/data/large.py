"""Images that need not fit into memory: NumPy's, TIFF's and Zarr's, of which only what is asked for is read."""

import collections
import contextlib
import functools
import math
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Shaped

from fcn.data.reading.decode import REDUCED_OR_MASK, several_pages
from fcn.data.zarr_arrays import is_zarr, open_zarr
from fcn.errors import first_line

SUFFIXES = (".npy", ".tif", ".tiff")
KEPT = 2**28
"""Bytes of decoded strips or tiles that are kept, because what is read next often begins in them."""
_GEO_TAGS = (33550, 33922, 34264, 34735, 34736, 34737, 42112, 42113)
"""Scale, tie points, transformation, keys with their numbers and texts (GeoTIFF 1.1, section 7), and GDAL's two."""


class LargeTiff:
    """The pixels of a TIFF file in strips or tiles, of any number of channels; decoded where they are asked for.

    Those that are not compressed are mapped into memory: no more of them is read than is asked for, even of one strip.

    Attributes:
        shape: height, width and channels.
        dtype: uint8, uint16 or a type of floating-point numbers.
    """

    def __init__(self, page: Any):
        self._page, self._file = page, page.parent.filehandle
        self.shape = (page.imagelength, page.imagewidth, page.samplesperpixel)
        self.dtype = np.dtype(page.dtype)
        self._rows, self._columns = (page.tilelength, page.tilewidth) if page.is_tiled else (page.rowsperstrip, page.imagewidth)
        self._rows = min(self._rows, self.shape[0])
        self._kept: collections.OrderedDict[int, np.ndarray] = collections.OrderedDict()
        self._bytes = 0
        self.compressed = (page.compression, page.predictor, page.fillorder) != (1, 1, 1) or page.bitspersample % 8 != 0

    @property
    def at_once(self) -> int:
        """Bytes that are decoded whole: of a strip or tile, if it is compressed."""
        sides = self._rows, self._columns, 1 if self._page.planarconfig == 2 else self.shape[2]
        return self.compressed * math.prod(sides) * self.dtype.itemsize

    def __getitem__(self, places: tuple[np.ndarray, np.ndarray]) -> Shaped[np.ndarray, "h w c"]:
        """Rows and columns, as `numpy.ix_` gives them."""
        rows, columns = (np.ravel(each) for each in places)
        top, left = int(rows.min()), int(columns.min())
        window = np.empty((rows.max() + 1 - top, columns.max() + 1 - left, self.shape[2]), self.dtype)
        down, across = (-(-side // step) for side, step in zip(self.shape, (self._rows, self._columns), strict=False))
        planes = self.shape[2] if self._page.planarconfig == 2 else 1
        for plane in range(planes):
            channels = slice(plane, plane + 1) if planes > 1 else slice(None)
            for i in range(top // self._rows, int(rows.max()) // self._rows + 1):
                for j in range(left // self._columns, int(columns.max()) // self._columns + 1):
                    segment = self._segment((plane * down + i) * across + j)
                    _paste(window[..., channels], segment, i * self._rows - top, j * self._columns - left)
        return window[np.ix_(rows - top, columns - left)]

    def _segment(self, index: int) -> Shaped[np.ndarray, "h w c"]:
        """A strip or tile, those of the last calls from memory."""
        if (mapped := self._mapped(index)) is not None:
            return mapped
        if index in self._kept:
            self._kept.move_to_end(index)
            return self._kept[index]
        segment = self._decoded(index)
        self._kept[index] = segment
        self._bytes += segment.nbytes
        while self._bytes > KEPT and len(self._kept) > 1:
            self._bytes -= self._kept.popitem(last=False)[1].nbytes
        return segment

    def _mapped(self, index: int) -> Shaped[np.ndarray, "h w c"] | None:
        """A strip or tile where it lies in the file, if that holds its pixels as they are."""
        page, (height, _, channels) = self._page, self.shape
        top = index % -(-height // self._rows) * self._rows
        rows = self._rows if page.is_tiled else min(self._rows, height - top)
        shape = rows, self._columns, channels if page.planarconfig == 1 else 1
        start, count = page.dataoffsets[index], math.prod(shape) * self.dtype.itemsize
        if self.compressed or page.databytecounts[index] != count or start + count > self._bytes_of_file.size:
            return None
        return np.ndarray(shape, self.dtype.newbyteorder(page.parent.byteorder), self._bytes_of_file.data, start)

    @functools.cached_property
    def _bytes_of_file(self) -> np.ndarray:
        return np.memmap(self._file.path, mode="r")

    def _decoded(self, index: int) -> Shaped[np.ndarray, "h w c"]:
        page = self._page
        self._file.seek(page.dataoffsets[index])
        data = self._file.read(page.databytecounts[index])
        try:
            if len(data) < page.databytecounts[index]:
                raise ValueError("it ends before its last pixel")
            segment, _, shape = page.decode(data or None, index, jpegtables=page.jpegtables)
        except Exception as error:  # a decoder may raise anything for a damaged file
            raise ValueError(f"{self._file.path}: cannot be decoded ({first_line(str(error))})") from None
        return np.zeros(shape[1:], self.dtype) if segment is None else segment[0]  # None: nothing was written there


def _paste(window: np.ndarray, segment: np.ndarray, top: int, left: int) -> None:
    """Writes what of a segment lies in a window; it begins at these rows and columns of the window, which may be negative."""
    height, width = (min(a + first, b) for a, b, first in zip(segment.shape, window.shape, (top, left), strict=False))
    first, beside = max(top, 0), max(left, 0)
    window[first:height, beside:width] = segment[first - top : height - top, beside - left : width - left]


def in_parts(path: Path) -> bool:
    """Whether `open_large` reads it, by its name, or because it is a folder of Zarr's."""
    return path.suffix.lower() in SUFFIXES or is_zarr(path)


@contextlib.contextmanager
def open_large(path: str | Path) -> Iterator[Any]:
    """An image [H, W, C] as what gives some of its rows and columns, `image[numpy.ix_(rows, columns)]`, and reads no others.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: it is no array of images' types, has several pages, is turned by its orientation, or is damaged; the last
            also where pixels are read.
        ImportError: reading it takes tifffile or zarr, which is not installed.
    """
    path = Path(path)
    if is_zarr(path):
        yield _checked(path, open_zarr(path))
        return
    if path.suffix.lower() not in SUFFIXES:
        raise ValueError(
            f"{path}: only {', '.join(SUFFIXES)} files and arrays of Zarr are read in parts; save it as one of these"
        )
    if path.suffix.lower() == ".npy":
        yield _checked(path, _with_channels(_mapped(path)))
        return
    tifffile = _tifffile(path)
    try:
        tiff = tifffile.TiffFile(path)
    except tifffile.TiffFileError as error:
        raise ValueError(f"{path}: not a TIFF file, or damaged ({first_line(str(error))})") from None
    with tiff:
        image = _checked(path, LargeTiff(_only_page(path, tiff)))
        if image.at_once > KEPT:
            size = f"{image.at_once / 2**30:.1f} GiB"
            warnings.warn(
                f"{path}: strips or tiles of {size} are decoded whole; save it in smaller ones, or as .npy", stacklevel=3
            )
        yield image


def geo_tags(path: str | Path) -> list[tuple]:
    """What says where on Earth a TIFF file's pixels lie, as tifffile writes further tags; of other files nothing."""
    if Path(path).suffix.lower() not in SUFFIXES[1:]:
        return []
    with _tifffile(path).TiffFile(path) as tiff:
        tags = [tag for code in _GEO_TAGS if (tag := tiff.pages.first.tags.get(code))]
        return [(tag.code, int(tag.dtype), 0 if isinstance(tag.value, str) else tag.count, tag.value, True) for tag in tags]


def _mapped(path: Path) -> np.ndarray:
    try:
        return np.load(path, mmap_mode="r", allow_pickle=False)
    except (ValueError, EOFError):
        raise ValueError(f"{path}: not an array of numbers, or damaged") from None


def _with_channels(image: np.ndarray) -> np.ndarray:
    return image[..., None] if image.ndim == 2 else image


def _only_page(path: Path, tiff: Any) -> Any:
    whole = [page for page in tiff.pages if not page.subfiletype & REDUCED_OR_MASK]
    if len(whole) != 1:
        raise ValueError(f"{path}: {several_pages(len(whole))}")
    page = whole[0].aspage()
    if page.tags.valueof(274, 1) != 1:
        raise ValueError(f"{path}: its orientation turns it; save it upright")
    if page.photometric not in (1, 2) or page.imagedepth != 1:
        kind = getattr(page.photometric, "name", page.photometric)
        raise ValueError(f"{path}: pixels of the kind {kind}; save gray values of which 0 is black, or RGB")
    return page


def _checked(path: Path, image: Any) -> Any:
    known = image.dtype in (np.uint8, np.uint16) or np.issubdtype(image.dtype, np.floating)
    if len(image.shape) != 3 or 0 in image.shape or not known:
        form = "[height, width] or [height, width, channels], uint8, uint16 or floating point"
        raise ValueError(f"{path}: an array of type {image.dtype} and shape {tuple(image.shape)}; images are {form}")
    return image


def _tifffile(path: str | Path) -> Any:
    try:
        import tifffile
    except ImportError:
        raise ImportError(f"{path}: reading it in parts needs tifffile: pip install 'fcn-zoo[tiff]'") from None
    return tifffile
