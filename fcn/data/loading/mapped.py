"""Arrays that memory has no room for: in files of a folder of their own, of which only what is used is read."""

import tempfile
from collections.abc import Mapping
from pathlib import Path

import numpy as np


class Mapped:
    """A folder of arrays that is gone when nobody uses it any more; it is made when the first ones come."""

    def __init__(self):
        self._folder: tempfile.TemporaryDirectory | None = None
        self._count = 0

    def put(self, arrays: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        """The arrays as memory-mapped ones, read-only."""
        self._folder = self._folder or tempfile.TemporaryDirectory(prefix="fcn-samples-")
        found = {}
        for name, values in arrays.items():
            path = Path(self._folder.name) / f"{self._count}-{name}.npy"
            np.save(path, values)
            found[name] = np.load(path, mmap_mode="r")
        self._count += 1
        return found
