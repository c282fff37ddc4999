"""clDice: overlap of centre lines, for vessels, roads and other tubes."""

from collections.abc import Sequence
from functools import reduce

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
    prepare,
    probabilities,
    sum_over,
    weigh,
)


def cldice_loss(
    logits: Logits,
    labels: Labels,
    mode: Mode = "multiclass",
    *,
    iterations: int = 3,
    smooth: float = 1.0,
    classes: Sequence[int] | None = None,
    ignore_index: int = 255,
    class_weights: Weights | None = None,
    pixel_weights: PixelWeights | None = None,
    axis_name: str | None = None,
) -> Float[Array, ""]:
    """Soft clDice loss: 1 - the harmonic mean of each skeleton's share in the other mask.

    Shit et al., "clDice: A Novel Topology-Preserving Loss Function for Tubular Structure Segmentation", CVPR 2021, algorithms 1
    and 2. The paper adds it to Dice: `0.5*dice+0.5*cldice`.

    Args:
        logits: [B, L, K], [B, H, W, K] or [B, D, H, W, K]; K >= 2, in "binary" 1.
        labels: [B, H, W] integers, 0..K-1 ("binary": 0, 1) or `ignore_index`; "multilabel": [B, H, W, K] of 0, 1 or
            `ignore_index`. Ignored pixels count as empty.
        mode: "multiclass", "binary" or "multilabel".
        iterations: erosions; at least the radius of the widest tube in pixels.
        smooth: added to numerators and denominators.
        classes: ids of the classes in the mean; None: all. `range(1, K)` leaves a background out.
        ignore_index: the label of entries that do not count.
        class_weights: [K], weights of the mean over classes.
        pixel_weights: [B, H, W], not negative, weights in all sums over pixels; pixels of weight 0 are ignored.
        axis_name: the `pmap` axis over which the sums are summed.

    Returns:
        A float32 scalar in 0..1; 0 for a batch of ignored pixels.

    Raises:
        ValueError: for shapes or options that do not fit.
    """
    if iterations < 1:
        raise ValueError(f"iterations must be at least 1, not {iterations}")
    if logits.ndim not in (3, 4, 5):
        raise ValueError(f"logits {logits.shape} must have a batch axis, one to three axes of pixels, and channels")
    inputs = prepare(logits, labels, mode, ignore_index)
    weight = weigh(inputs.valid, pixel_weights)
    counted = weight > 0
    p, t = probabilities(inputs.x, mode) * counted, (inputs.target & counted).astype(jnp.float32)
    pixels = tuple(range(p.ndim - 1))

    def total(values):
        return sum_over(jnp.sum(weight * values, pixels), axis_name)

    def share(skeleton, mask):
        return divide(total(skeleton * mask) + smooth, total(skeleton) + smooth)

    precision, sensitivity = share(soft_skeleton(p, iterations), t), share(soft_skeleton(t, iterations), p)
    score = divide(2 * precision * sensitivity, precision + sensitivity)
    weights = chosen(classes, class_weights, logits.shape[-1])
    weights = weights * (total(1.0) > 0)
    return divide(jnp.sum(weights * (1 - score)), jnp.sum(weights))


def soft_skeleton(masks: Float[Array, "b *pixels k"], iterations: int) -> Float[Array, "b *pixels k"]:
    """Differentiable skeletons of masks with values 0..1 (algorithm 1 of the clDice paper)."""
    skeleton = jax.nn.relu(masks - _open(masks))
    for _ in range(iterations):
        masks = _erode(masks)
        rest = jax.nn.relu(masks - _open(masks))
        skeleton = skeleton + jax.nn.relu(rest - skeleton * rest)
    return skeleton


def _open(masks):
    return _dilate(_erode(masks))


def _erode(masks):
    """The least of a pixel and its neighbours along each axis."""
    return reduce(jnp.minimum, [_spread(masks, axis, jnp.minimum, jnp.inf) for axis in range(1, masks.ndim - 1)])


def _dilate(masks):
    """The largest in the 3x3 neighbourhood."""
    return reduce(lambda x, axis: _spread(x, axis, jnp.maximum, -jnp.inf), range(1, masks.ndim - 1), masks)


def _spread(x, axis, combine, outside):
    """Each element combined with its two neighbours along an axis."""
    widths = [(1, 1) if a == axis else (0, 0) for a in range(x.ndim)]
    padded = jnp.pad(x, widths, constant_values=outside)
    size = x.shape[axis]
    before, after = (jax.lax.slice_in_dim(padded, start, start + size, axis=axis) for start in (0, 2))
    return combine(combine(before, x), after)
