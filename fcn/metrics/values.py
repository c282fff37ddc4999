"""Errors of predicted values, such as depths."""

from typing import NamedTuple

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Num, Real

from fcn.metrics.protocol import Metric
from fcn.metrics.scores import divide


class ErrorSums(NamedTuple):
    """What was summed over the values that are known, for each of K channels.

    Attributes:
        count: how many values.
        absolute: of the absolute errors.
        squared: of the squared errors.
    """

    count: Num[Array | np.ndarray, " k"]
    absolute: Float[Array | np.ndarray, " k"]
    squared: Float[Array | np.ndarray, " k"]


class ErrorMetrics(NamedTuple):
    """Float64 [K], a value for each channel; NaN where none is known.

    Attributes:
        mae: mean absolute error.
        rmse: square root of the mean squared error.
    """

    mae: Float[np.ndarray, " k"]
    rmse: Float[np.ndarray, " k"]


class Errors(Metric[ErrorSums]):
    """Absolute and squared errors over a data set. A state is their sums: float32 of a batch, float64 of all.

    Args:
        channels: K.
    """

    def __init__(self, channels: int = 1):
        self.channels = channels

    def init(self) -> ErrorSums:
        """No value."""
        return ErrorSums(np.zeros(self.channels, np.int64), *np.zeros((2, self.channels)))

    def count(self, predictions: Float[Array | np.ndarray, "*pixels k"], labels: Real[Array | np.ndarray, "..."]) -> ErrorSums:
        """Sums over a batch; may be compiled. Labels, of the same shape, that are not finite do not count.

        Raises:
            ValueError: for shapes that do not match.
        """
        if predictions.shape != labels.shape:
            raise ValueError(f"predictions {predictions.shape} and labels {labels.shape} must have the same shape")
        known = jnp.isfinite(labels)
        error = jnp.where(known, predictions - jnp.where(known, labels, 0.0), 0.0)
        pixels = tuple(range(error.ndim - 1))
        return ErrorSums(jnp.sum(known, pixels, dtype=jnp.int32), jnp.sum(jnp.abs(error), pixels), jnp.sum(error**2, pixels))

    def merge(self, state: ErrorSums, other: ErrorSums) -> ErrorSums:
        """The values of both."""
        count = np.asarray(state.count, np.int64) + np.asarray(other.count, np.int64)
        return ErrorSums(count, *(np.asarray(a, np.float64) + np.asarray(b, np.float64) for a, b in zip(state[1:], other[1:])))

    def compute(self, state: ErrorSums) -> ErrorMetrics:
        """The means."""
        return ErrorMetrics(divide(state.absolute, state.count), np.sqrt(divide(state.squared, state.count)))
