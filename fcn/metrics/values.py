"""Errors of predicted values, such as depths."""

from typing import NamedTuple

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Num, Real

from fcn.metrics.protocol import Metric
from fcn.metrics.scores import divide


class ErrorSums(NamedTuple):
    """What was summed over the values that are known, for each image and channel.

    Attributes:
        count: how many values.
        absolute: of the absolute errors.
        squared: of the squared errors.
    """

    count: Num[Array | np.ndarray, "images k"]
    absolute: Float[Array | np.ndarray, "images k"]
    squared: Float[Array | np.ndarray, "images k"]


class ErrorMetrics(NamedTuple):
    """Float64 [K], a value for each channel; NaN where none is known.

    Attributes:
        mae: mean absolute error.
        rmse: square root of the mean squared error.
    """

    mae: Float[np.ndarray, " k"]
    rmse: Float[np.ndarray, " k"]


class Errors(Metric[ErrorSums]):
    """Absolute and squared errors over a data set. A state is the sums of each image, in the
    order in which they were counted: float32 of a batch, float64 on the host.

    Args:
        channels: K.
    """

    def __init__(self, channels: int = 1):
        self.channels = channels

    def init(self) -> ErrorSums:
        """No image."""
        return ErrorSums(np.zeros((0, self.channels), np.int64), *np.zeros((2, 0, self.channels)))

    def count(
        self, predictions: Float[Array | np.ndarray, "b *pixels k"], labels: Real[Array | np.ndarray, "..."]
    ) -> ErrorSums:
        """Sums over the pixels of each image of a batch; may be compiled. Labels, of the same shape, that are not finite do not
        count.

        Raises:
            ValueError: for shapes that do not match.
        """
        if predictions.shape != labels.shape:
            raise ValueError(f"predictions {predictions.shape} and labels {labels.shape} must have the same shape")
        known = jnp.isfinite(labels)
        error = jnp.where(known, predictions - jnp.where(known, labels, 0.0), 0.0)
        pixels = tuple(range(1, error.ndim - 1))
        return ErrorSums(jnp.sum(known, pixels, dtype=jnp.int32), jnp.sum(jnp.abs(error), pixels), jnp.sum(error**2, pixels))

    def merge(self, state: ErrorSums, other: ErrorSums) -> ErrorSums:
        """The images of both."""
        types = np.int64, np.float64, np.float64
        return ErrorSums(*(np.concatenate(both).astype(kind) for kind, *both in zip(types, state, other)))

    def compute(self, state: ErrorSums) -> ErrorMetrics:
        """The means over the values of all images."""
        count, absolute, squared = (np.sum(sums, 0) for sums in state)
        return ErrorMetrics(divide(absolute, count), np.sqrt(divide(squared, count)))
