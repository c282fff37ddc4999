"""What every metric of a data set has: a state that grows batch by batch, device by device, host by host."""

from collections.abc import Callable
from typing import Any, Protocol, TypeVar, runtime_checkable

import jax
import numpy as np

State = TypeVar("State")


@runtime_checkable
class Metric(Protocol[State]):
    """`init`, `update`, `merge` and `compute`; a state is a pytree of arrays, integers or float64 on the host.

        state = metric.init()
        for predictions, labels in batches:
            state = metric.update(state, predictions, labels)
        result = metric.compute(state)

    `update` merges `count`, the state of a batch alone, which may be compiled where the metric says so. States of several
    devices, hosts or parts of a data set are merged in the order of their images: the result is that of all images together.
    """

    def init(self) -> State:
        """The state of no image."""
        ...

    def count(self, predictions: Any, labels: Any) -> State:
        """The state of one batch; integers of 32 bits where it is compiled."""
        ...

    def merge(self, state: State, other: State) -> State:
        """The state of the images of both, those of `other` behind; on the host."""
        ...

    def compute(self, state: State) -> Any:
        """What the state says; on the host."""
        ...

    def update(self, state: State, predictions: Any, labels: Any) -> State:
        """The state with a batch more; on the host."""
        return self.merge(state, jax.device_get(self.count(predictions, labels)))


class PerImage(Metric[np.ndarray]):
    """A metric of single images as one of a data set: the values of all images, and their mean where they are defined.

        metric = PerImage(lambda p, t: [surface_dice(p == c, t == c, tolerance=2) for c in range(k)], k)

    A state is float64 [N, size].

    Args:
        function: (prediction, label) of one image -> `size` numbers, on the host.
        size: how many.
    """

    def __init__(self, function: Callable[[Any, Any], Any], size: int = 1):
        self.function, self.size = function, size

    def init(self) -> np.ndarray:
        """No rows."""
        return np.zeros((0, self.size))

    def count(self, predictions: Any, labels: Any) -> np.ndarray:
        """A row for each image; not compiled."""
        rows = [np.reshape(self.function(*image), self.size) for image in zip(predictions, labels, strict=True)]
        return np.reshape(np.asarray(rows, np.float64), (-1, self.size))

    def merge(self, state: np.ndarray, other: np.ndarray) -> np.ndarray:
        """The rows of both."""
        return np.concatenate([state, other])

    def compute(self, state: np.ndarray) -> np.ndarray:
        """float64 [size], the mean over the images whose value is not NaN; NaN where there is none."""
        return np.array([column[~np.isnan(column)].mean() if (~np.isnan(column)).any() else np.nan for column in state.T])
