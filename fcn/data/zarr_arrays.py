"""Arrays of Zarr (formats 2 and 3), of which only the chunks are read that are asked for. Needs the package `zarr`."""

from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Shaped

from fcn.errors import first_line

_ARRAY, _GROUP, _EITHER = ".zarray", ".zgroup", "zarr.json"
"""The files by which a folder is an array or a group in format 2, and either of them in format 3."""


def is_zarr(path: Path) -> bool:
    """Whether a folder is an array, or a group of arrays."""
    return path.is_dir() and any((path / name).is_file() for name in (_ARRAY, _GROUP, _EITHER))


class LargeZarr:
    """The pixels of an array in chunks; decoded where they are asked for.

    Attributes:
        shape: height, width and channels.
        dtype: of the array.
    """

    def __init__(self, path: Path, array: Any):
        self._path, self._array = path, array
        self.shape = (*array.shape, 1) if array.ndim == 2 else tuple(array.shape)
        self.dtype = np.dtype(array.dtype)

    def __getitem__(self, places: tuple[np.ndarray, np.ndarray]) -> Shaped[np.ndarray, "h w c"]:
        """Rows and columns, as `numpy.ix_` gives them."""
        rows, columns = (np.ravel(each) for each in places)
        top, left = int(rows.min()), int(columns.min())
        try:
            window = np.asarray(self._array[top : int(rows.max()) + 1, left : int(columns.max()) + 1])
        except Exception as error:  # a codec may raise anything for a damaged chunk
            raise ValueError(f"{self._path}: cannot be decoded ({first_line(str(error))})") from None
        found = window[np.ix_(rows - top, columns - left)]
        return found if found.ndim == 3 else found[..., None]


def open_zarr(path: Path) -> LargeZarr:
    """The array in a folder.

    Raises:
        ValueError: it is a group, of which one array must be named, or damaged.
        ImportError: the package `zarr` is not installed.
    """
    try:
        import zarr
    except ImportError:
        raise ImportError(f"{path}: reading it needs zarr: pip install 'fcn-zoo[zarr]'") from None
    try:
        found: Any = zarr.open(path, mode="r")
        names = [] if isinstance(found, zarr.Array) else sorted(name for name, _ in found.arrays())
    except Exception as error:  # metadata may be damaged in any way
        raise ValueError(f"{path}: no array of Zarr, or damaged ({first_line(str(error))})") from None
    if not isinstance(found, zarr.Array):
        raise ValueError(
            f"{path}: a group of arrays; name one of them: {', '.join(str(path / name) for name in names) or 'none'}"
        )
    return LargeZarr(path, found)
