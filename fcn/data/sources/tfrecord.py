"""Random access to TFRecord files without TensorFlow.

A record is its length (8 bytes, little-endian), a checksum of that (4), the data, and a checksum of the data (4).
"""

import os
import struct
from collections.abc import Iterable, Sequence
from typing import Any


class TFRecords(Sequence):
    """A sequence of the raw records in some TFRecord files.

    Args:
        instructions: which records of which files: objects with `filename`, `skip` and `take`.

    Raises:
        FileNotFoundError: a file does not exist.
        ValueError: a file is cut short.
    """

    def __init__(self, instructions: Iterable[Any]):
        self._places: list[tuple[int, int, int]] = []  # file descriptor, offset, length
        self._files = []
        for part in instructions:
            file = open(part.filename, "rb")  # noqa: SIM115 - kept open for reading
            self._files.append(file)
            self._places += _scan(file, part.filename)[part.skip : part.skip + part.take]

    def __len__(self) -> int:
        return len(self._places)

    def __getitem__(self, index: int) -> bytes:
        descriptor, offset, length = self._places[index]
        return os.pread(descriptor, length, offset)


def _scan(file: Any, name: str) -> list[tuple[int, int, int]]:
    places, offset, size = [], 0, os.fstat(file.fileno()).st_size
    while offset < size:
        header = os.pread(file.fileno(), 8, offset)
        length = struct.unpack("<Q", header)[0] if len(header) == 8 else size
        if offset + length + 16 > size:
            raise ValueError(f"{name}: cut short or not a TFRecord file")
        places.append((file.fileno(), offset + 12, length))
        offset += length + 16
    return places
