"""What all losses share: what logits and labels mean in each mode, which entries count, and sums over all devices."""

from collections.abc import Sequence
from typing import Literal, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Integer, Real

from fcn.errors import unknown

Mode = Literal["multiclass", "binary", "multilabel"]
Logits = Float[Array | np.ndarray, "*pixels k"]
Labels = Integer[Array | np.ndarray, "..."]
Weights = Real[Array | np.ndarray, " n"] | Sequence[int | float]
PixelWeights = Real[Array | np.ndarray, "..."]


class Inputs(NamedTuple):
    """Logits and labels entry by entry; "..." are the axes of the pixels, the batch first.

    Attributes:
        x: float32 [..., K], the logits.
        target: bool [..., K], whether the class is there.
        valid: float32 [..., 1] ("multilabel": [..., K]), 1 where the entry counts and 0 where it is ignored.
    """

    x: Array
    target: Array
    valid: Array


def prepare(logits: Logits, labels: Labels, mode: Mode, ignore_index: int) -> Inputs:
    """Checks logits and labels and brings them into one form.

    Args:
        logits: [..., K]; K is 1 in "binary" and at least 2 in "multiclass".
        labels: class ids [...] in "multiclass", 0 or 1 [...] in "binary", 0 or 1 [..., K] in "multilabel". `ignore_index` and
            every other value are ignored.
        mode: what the channels of the logits mean.
        ignore_index: the label of entries that do not count.

    Raises:
        ValueError: for an unknown mode, shapes that do not fit it, or labels that are not integers.
    """
    check(logits, labels, mode)
    x, labels = jnp.asarray(logits, jnp.float32), jnp.asarray(labels)
    classes = x.shape[-1] if mode == "multiclass" else 2
    if mode != "multilabel":
        labels = labels[..., None]
    target = labels == (jnp.arange(classes) if mode == "multiclass" else 1)
    valid = (labels != ignore_index) & (labels >= 0) & (labels < classes)
    return Inputs(x, target & valid, valid.astype(jnp.float32))


def check(logits, labels, mode: Mode) -> None:
    """Raises ValueError where logits and labels do not fit the mode."""
    if mode not in ("multiclass", "binary", "multilabel"):
        raise unknown("mode", mode, ("multiclass", "binary", "multilabel"))
    channels = logits.shape[-1]
    if mode == "multiclass" and channels < 2:
        raise ValueError("one channel of logits has no softmax; use mode='binary', or num_classes=2 (background, object)")
    if mode == "binary" and channels != 1:
        raise ValueError(f"mode='binary' takes one channel of logits, not {channels}; use mode='multilabel' or 'multiclass'")
    if mode == "multilabel" and logits.shape != labels.shape:
        raise ValueError(f"labels {labels.shape} must have the shape of the logits {logits.shape} in mode='multilabel'")
    if mode != "multilabel" and logits.shape[:-1] != labels.shape:
        raise ValueError(f"labels {labels.shape} must have the shape of the logits {logits.shape} without their last axis")
    if not jnp.issubdtype(labels.dtype, jnp.integer):
        raise ValueError(f"labels must be integers (class ids), not {labels.dtype}")


def check_weights(class_weights, classes: int) -> None:
    """Raises ValueError where there is not one weight for each class."""
    if class_weights is not None and np.shape(class_weights) != (classes,):
        raise ValueError(f"class_weights of shape {np.shape(class_weights)} must have one weight for each of {classes} classes")


def weigh(valid: Array, pixel_weights: PixelWeights | None) -> Array:
    """`valid` times the weights of the pixels, [...]."""
    if pixel_weights is None:
        return valid
    if pixel_weights.shape != valid.shape[:-1]:
        raise ValueError(f"pixel_weights {pixel_weights.shape} must have the shape of the pixels {valid.shape[:-1]}")
    return valid * jnp.asarray(pixel_weights, jnp.float32)[..., None]


def chosen(classes: Sequence[int] | None, class_weights: Weights | None, channels: int) -> Array:
    """float32 [K]: the weight of each class in the mean over classes, 0 for those that are not among `classes`.

    Raises:
        ValueError: for a class that is not there, or weights that do not fit.
    """
    check_weights(class_weights, channels)
    weights = jnp.ones(channels) if class_weights is None else jnp.asarray(class_weights, jnp.float32)
    if classes is None:
        return weights
    strange = sorted(set(classes) - set(range(channels)))
    if strange or not len(classes):
        raise ValueError(f"classes {list(classes)} must be some of 0..{channels - 1}")
    return weights * jnp.isin(jnp.arange(channels), jnp.asarray(list(classes)))


def probabilities(x: Array, mode: Mode) -> Array:
    """Softmax over the channels in "multiclass", else the sigmoid of each."""
    return jax.nn.softmax(x, axis=-1) if mode == "multiclass" else jax.nn.sigmoid(x)


def sum_over(value: Array, axis_name: str | None) -> Array:
    """The sum over all devices of an axis."""
    return value if axis_name is None else jax.lax.psum(value, axis_name)


def gather_over(values: Array, axis_name: str | None) -> Array:
    """The arrays of all devices of an axis behind one another, the same on each.

    By a sum over devices, each of which fills its own part: so derivatives have the same scale as those of `sum_over`.
    """
    if axis_name is None:
        return values
    parts = jnp.zeros((jax.lax.axis_size(axis_name), *values.shape), values.dtype)
    parts = jax.lax.psum(parts.at[jax.lax.axis_index(axis_name)].set(values), axis_name)
    return parts.reshape(-1, *values.shape[1:])


def divide(numerator: Array, denominator: Array) -> Array:
    """The quotient; where the denominator is 0, the numerator (which is 0 too, and has a finite gradient)."""
    return numerator / jnp.where(denominator == 0, 1.0, denominator)


def weighted_mean(values: Array, weights: Array, axis_name: str | None) -> Array:
    """The mean of values over all devices by weights that broadcast to them; 0 where all weights are 0."""
    weights = jnp.broadcast_to(weights, values.shape)
    return divide(sum_over(jnp.sum(values * weights), axis_name), sum_over(jnp.sum(weights), axis_name))


def power(base: Array, exponent: float, eps: float = 1e-7) -> Array:
    """base ** exponent for base >= 0, straight below `eps`, so that the slope at 0 is finite for exponents below 1."""
    return jnp.where(base > eps, jnp.maximum(base, eps) ** exponent, base * eps ** (exponent - 1))
