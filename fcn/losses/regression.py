"""Losses for values at each pixel (depth, heat maps): L1 and Huber."""

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Real

from fcn.losses.inputs import PixelWeights, sum_over, weighted_mean

Values = Float[Array | np.ndarray, "*pixels k"]
Targets = Real[Array | np.ndarray, "*pixels k"]


def l1_loss(
    predictions: Values, targets: Targets, *, pixel_weights: PixelWeights | None = None, axis_name: str | None = None
) -> Float[Array, ""]:
    """Mean absolute error over all values whose target is finite.

    Args:
        predictions: [B, H, W, K], float32 or bfloat16.
        targets: [B, H, W, K]; NaN and infinity mark values that do not count, such as depths that were not measured.
        pixel_weights: [B, H, W], not negative.
        axis_name: the `pmap` axis over which sum and weight are summed.

    Returns:
        A float32 scalar; 0 where nothing counts.

    Raises:
        ValueError: for shapes that do not match.
    """
    error, weight = _errors(predictions, targets, pixel_weights)
    return weighted_mean(jnp.abs(error), weight, axis_name)


def huber_loss(
    predictions: Values,
    targets: Targets,
    *,
    delta: float = 1.0,
    pixel_weights: PixelWeights | None = None,
    axis_name: str | None = None,
) -> Float[Array, ""]:
    """Mean Huber loss: half the squared error up to `delta`, delta (|error| - delta / 2) beyond.

    Huber, "Robust Estimation of a Location Parameter", 1964; equals PyTorch's HuberLoss.

    Args:
        delta: where the parabola becomes a line; above 0.

        The others are as in `l1_loss`.

    Returns:
        A float32 scalar; 0 where nothing counts.

    Raises:
        ValueError: for shapes that do not match, or a delta of 0 or less.
    """
    if delta <= 0:
        raise ValueError(f"delta must be above 0, not {delta}")
    error, weight = _errors(predictions, targets, pixel_weights)
    size = jnp.abs(error)
    near = jnp.minimum(size, delta)
    return weighted_mean(near * (size - near / 2), weight, axis_name)


def weight_of_values(
    predictions: Values, targets: Targets, *, pixel_weights: PixelWeights | None = None, axis_name: str | None = None, **_
) -> Float[Array, ""]:
    """The sum of the weights by which the means of `l1_loss` and `huber_loss` are divided; arguments as there."""
    return sum_over(jnp.sum(_errors(predictions, targets, pixel_weights)[1]), axis_name)


def _errors(predictions, targets, pixel_weights):
    if predictions.shape != targets.shape:
        raise ValueError(f"targets {targets.shape} must have the shape of the predictions {predictions.shape}")
    if pixel_weights is not None and pixel_weights.shape != predictions.shape[:-1]:
        raise ValueError(f"pixel_weights {pixel_weights.shape} must have the shape of the pixels {predictions.shape[:-1]}")
    predictions, targets = jnp.asarray(predictions, jnp.float32), jnp.asarray(targets, jnp.float32)
    valid = jnp.isfinite(targets)
    weight = valid * (1.0 if pixel_weights is None else jnp.asarray(pixel_weights, jnp.float32)[..., None])
    return jnp.where(valid, predictions - jnp.where(valid, targets, 0.0), 0.0), weight
