"""What a service asks of the network that it serves."""

from collections.abc import Sequence
from typing import NamedTuple, Protocol

import numpy as np

from fcn.tasks import Task


class TooLarge(ValueError):
    """An image of more pixels than the service takes."""


class Key(NamedTuple):
    """What images have in common that can be predicted together."""

    size: tuple[int, int]
    """Height and width to which they are extended."""
    seen: tuple[int, int] | None = None
    """Those at which the network sees them; None: as they are."""


class Asked(NamedTuple):
    """An image that was read."""

    image: np.ndarray
    """uint8 [H, W, C]."""
    key: Key


class Served(Protocol):
    """A network that is served. Its methods run in threads."""

    name: str
    task: Task
    label_ids: tuple[int, ...] | None
    """What answers say for each class, where that is another number than its own."""

    def read(self, data: bytes) -> Asked:
        """The image in a file. Raises a ValueError: it cannot be read, or is `TooLarge`."""
        ...

    def scores(self, group: Sequence[Asked]) -> list[np.ndarray]:
        """What the task makes predictions and pictures of, for images of one key; one call at a time."""
        ...

    def most(self, key: Key, batch: int) -> int:
        """How many images of a key are predicted together, at most `batch`."""
        ...
