"""What the training loop asks of those with whom it works; classes of `fcn.data` and `fcn.parallel` are such, or your own."""

from collections.abc import Mapping
from typing import Any, Protocol, runtime_checkable

import numpy as np
from jaxtyping import PyTree, UInt8

Pictures = Mapping[str, UInt8[np.ndarray, "h w 3"]]
"""By name."""


@runtime_checkable
class Batches(Protocol):
    """A checkpointable iterator over batches, as `fcn.data.TrainLoader` is."""

    def __next__(self) -> dict[str, Any]: ...
    def get_state(self) -> dict: ...
    def set_state(self, state: dict) -> None: ...


@runtime_checkable
class Devices(Protocol):
    """Where steps are computed, as `fcn.parallel.Sharded` and `Pmapped` are."""

    def put_batch(self, batch: dict[str, Any]) -> Any: ...
    def get_state(self, state: PyTree) -> PyTree: ...
    def read(self, value: PyTree) -> Any: ...


@runtime_checkable
class Keeper(Protocol):
    """Where checkpoints go, as `fcn.training.checkpoint.Checkpoints` is."""

    def save(self, step: int, state: PyTree, progress: dict[str, Any], metrics: dict[str, float | None]) -> None: ...
    def wait(self) -> None: ...
    def latest(self) -> int | None: ...


@runtime_checkable
class Recorder(Protocol):
    """Where records go, as `fcn.training.records.Records` is."""

    def write(self, step: int, values: dict[str, float | None]) -> None: ...
    def show(self, step: int, pictures: Pictures) -> None: ...


@runtime_checkable
class Hook(Protocol):
    """Called after each step of which something is recorded, on every process.

    `metrics` are the values of the record (`train/loss`, `val/miou` ...). The next step consumes the buffers of `state`: copy
    what is to be kept.
    """

    def __call__(self, step: int, state: PyTree, metrics: Mapping[str, float | None]) -> None: ...
