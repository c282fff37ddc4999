"""What the training loop asks of those with whom it works; classes of `fcn.data` and `fcn.parallel` are such, or your own."""

from collections.abc import Mapping
from typing import ClassVar, Protocol, runtime_checkable

import jax
import numpy as np
from jaxtyping import Array, PyTree, UInt8

from fcn.metrics import Metric

Pictures = Mapping[str, UInt8[np.ndarray, "h w 3"]]
"""By name."""


@runtime_checkable
class Batches(Protocol):
    """A checkpointable iterator over batches, as `fcn.data.TrainLoader` is."""

    def __next__(self) -> dict[str, np.ndarray]: ...
    def get_state(self) -> dict: ...
    def set_state(self, state: dict) -> None: ...


@runtime_checkable
class Devices(Protocol):
    """Where steps are computed, as `fcn.parallel.Sharded` and `Pmapped` are."""

    def put_batch(self, batch: dict[str, np.ndarray]) -> dict[str, jax.Array]: ...
    def get_state(self, state: PyTree) -> PyTree: ...
    def read(self, value: PyTree) -> PyTree: ...


@runtime_checkable
class Keeper(Protocol):
    """Where checkpoints go, as `fcn.training.checkpoint.Checkpoints` is."""

    def save(self, step: int, state: PyTree, progress: dict[str, object], metrics: dict[str, float | None]) -> None: ...
    def wait(self) -> None: ...
    def latest(self) -> int | None: ...


@runtime_checkable
class Recorder(Protocol):
    """Where records go, as `fcn.training.records.Records` is."""

    def write(self, step: int, values: dict[str, float | None]) -> None: ...
    def show(self, step: int, pictures: Pictures) -> None: ...


@runtime_checkable
class Measured(Protocol):
    """What is measured of a network, as an `fcn.tasks.Task` says it."""

    on_host: ClassVar[bool]

    def scores(self, logits: Array) -> Array: ...
    def prediction(self, scores: Array) -> PyTree: ...
    def truth(self, targets: dict[str, Array | np.ndarray]) -> PyTree: ...
    def metric(self) -> Metric: ...
    def weighed_losses(self, logits: Array, targets: PyTree, images: Array, *, axis_name: str | None = None) -> Array: ...


@runtime_checkable
class Hook(Protocol):
    """Called after each step of which something is recorded, on every process.

    `metrics` are the values of the record (`train/loss`, `val/miou` ...). The next step consumes the buffers of `state`: copy
    what is to be kept.
    """

    def __call__(self, step: int, state: PyTree, metrics: Mapping[str, float | None]) -> None: ...
