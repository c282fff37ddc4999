"""Lovász losses: the convex extension of the Jaccard loss."""

from collections.abc import Sequence

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from fcn.losses.inputs import (
    Labels,
    Logits,
    Mode,
    PixelWeights,
    Weights,
    chosen,
    divide,
    gather_over,
    prepare,
    sum_over,
    weigh,
)


def lovasz_loss(
    logits: Logits,
    labels: Labels,
    mode: Mode = "multiclass",
    *,
    per_image: bool = False,
    classes: Sequence[int] | None = None,
    ignore_index: int = 255,
    class_weights: Weights | None = None,
    pixel_weights: PixelWeights | None = None,
    axis_name: str | None = None,
) -> Float[Array, ""]:
    """Lovász-softmax ("multiclass") or Lovász hinge ("binary", "multilabel").

    Berman, Rannen Triki, Blaschko, "The Lovász-Softmax Loss", CVPR 2018, sections 3 and 4. Equals LovaszLoss of
    segmentation-models-pytorch: the softmax's is a mean over the classes that occur in the labels, and the hinge takes the
    channels of "multilabel" together as one set of pixels. Images whose pixels are all ignored are in no mean.

    Args:
        logits: [B, H, W, K] scores (any number of leading axes); K >= 2, in "binary" 1.
        labels: [B, H, W] integers, 0..K-1 ("binary": 0, 1) or `ignore_index`; "multilabel": [B, H, W, K] of 0, 1 or
            `ignore_index`.
        mode: "multiclass", "binary" or "multilabel".
        per_image: the mean of the images' losses instead of the loss of all pixels of the batch.
        classes: ids of the classes in the mean of "multiclass"; None: all.
        ignore_index: the label of entries that do not count.
        class_weights: [K], weights of the mean over classes, "multiclass" only.
        pixel_weights: [B, H, W], not negative: so many pixels each one is, in the Jaccard loss that is extended.
        axis_name: the `pmap` axis: all devices' pixels are gathered, unless `per_image`.

    Returns:
        A float32 scalar.

    Raises:
        ValueError: for shapes or options that do not fit.
    """
    if mode != "multiclass" and (classes is not None or class_weights is not None):
        raise ValueError("classes and class_weights belong to mode='multiclass': the hinge takes all channels together")
    inputs = prepare(logits, labels, mode, ignore_index)
    x = jax.nn.softmax(inputs.x, axis=-1) if mode == "multiclass" else inputs.x
    weight = jnp.broadcast_to(weigh(inputs.valid, pixel_weights), x.shape)
    arrays = [_lists(a, mode, per_image) for a in (x, inputs.target & (weight > 0), weight)]
    if not per_image:
        arrays = [gather_over(a.swapaxes(1, 2).astype(jnp.float32), axis_name) for a in arrays]
        arrays = [a.reshape(1, -1, a.shape[-1]).swapaxes(1, 2) for a in arrays]
    x, target, weight = arrays[0], arrays[1] > 0, arrays[2]
    if mode == "multiclass":
        losses, weights = _softmax(x, target, weight, chosen(classes, class_weights, logits.shape[-1]))
    else:
        losses, weights = _hinge(x, target, weight), 1.0
    images = jnp.any(weight > 0, (1, 2))
    image_losses = divide(jnp.sum(weights * losses, -1), jnp.sum(weights * jnp.ones_like(losses), -1))
    image_axis = axis_name if per_image else None
    total = sum_over(jnp.sum(jnp.where(images, image_losses, 0.0)), image_axis)
    return divide(total, sum_over(jnp.sum(images, dtype=jnp.float32), image_axis))


def _lists(values: Array, mode: Mode, per_image: bool) -> Array:
    """[images, lists, entries]: a list per class in "multiclass", else one of all channels."""
    images, channels = (values.shape[0] if per_image else 1), values.shape[-1]
    if mode == "multiclass":
        return values.reshape(images, -1, channels).swapaxes(1, 2)
    return values.reshape(images, 1, -1)


def _softmax(p, target, weight, class_weights):
    losses = _extend(jnp.where(weight > 0, jnp.abs(target - p), -1.0), target, weight)
    return losses, class_weights * jnp.any(target, -1)


def _hinge(x, target, weight):
    errors = 1 - x * jnp.where(target, 1.0, -1.0)
    return _extend(jnp.where(weight > 0, errors, -jnp.inf), target, weight)


def _extend(errors, target, weight) -> Array:
    """The Lovász extension of the Jaccard loss at the positive part of the errors (algorithm 1 of the paper)."""
    order = jnp.argsort(-jax.lax.stop_gradient(errors), axis=-1)
    errors, target, weight = (jnp.take_along_axis(a, order, -1) for a in (errors, target, weight))
    positives = jnp.sum(weight * target, -1, keepdims=True)
    missed = positives - jnp.cumsum(weight * target, -1)
    union = positives + jnp.cumsum(weight * ~target, -1)
    jaccard = jnp.where(union > 0, 1 - divide(missed, union), 0.0)
    slope = jnp.diff(jaccard, axis=-1, prepend=0.0)
    return jnp.sum(jnp.where((weight > 0) & (errors > 0), errors, 0.0) * slope, -1)
