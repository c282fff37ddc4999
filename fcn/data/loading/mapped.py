"""Arrays that memory has no room for: in files of a folder of their own, of which only what is used is read."""

import tempfile
import threading
from collections.abc import Mapping
from pathlib import Path

import numpy as np


class Mapped:
    """A folder of arrays that is gone when nobody uses it any more; it is made when the first ones come, by any thread."""

    def __init__(self):
        self._folder: tempfile.TemporaryDirectory | None = None
        self._count = 0
        self._lock = threading.Lock()

    def put(self, arrays: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        """The arrays as memory-mapped ones, read-only."""
        with self._lock:
            self._folder = self._folder or tempfile.TemporaryDirectory(prefix="fcn-samples-")
            number, self._count = self._count, self._count + 1
        found = {}
        for name, values in arrays.items():
            path = Path(self._folder.name) / f"{number}-{name}.npy"
            np.save(path, values)
            found[name] = np.load(path, mmap_mode="r")
        return found
