"""Watersheds: regions that grow from seeds over a landscape, lowest places first. NumPy alone, any rank."""

import numpy as np
from jaxtyping import Bool, Int32, Integer, Real

LEVELS = 256


def watershed(
    landscape: Real[np.ndarray, "*pixels"],
    seeds: Integer[np.ndarray, "*pixels"],
    mask: Bool[np.ndarray, "*pixels"] | None = None,
) -> Int32[np.ndarray, "*pixels"]:
    """Floods a landscape from seeds; each pixel belongs to the seed whose water reaches it first.

    Meyer, "Un algorithme optimal pour la ligne de partage des eaux", 1991, without lines between regions, by waves over whole
    levels in place of a queue of pixels.

    Args:
        landscape: heights [H, W] (any rank) of one image; floats are rounded to 256 steps between their extremes.
        seeds: ids above 0 where water rises, else 0.
        mask: where water flows; None: everywhere.

    Returns:
        int32: the ids, 0 outside of the mask and where no water comes.

    Raises:
        ValueError: for arrays of different shapes, or heights that are not finite.
    """
    mask = np.ones(seeds.shape, bool) if mask is None else mask
    if not landscape.shape == seeds.shape == mask.shape:
        raise ValueError(f"landscape {landscape.shape}, seeds {seeds.shape} and mask {mask.shape} must have the same shape")
    heights, levels = _levels(landscape)
    labels = np.pad(np.where(mask, seeds, 0), 1).astype(np.int32)
    free, steps = (np.pad(mask, 1) & (labels == 0)).ravel(), _steps(labels.shape)
    heights, shape, labels = np.pad(heights, 1).ravel(), labels.shape, labels.ravel()
    waiting = [[] for _ in range(levels)]
    seeded = np.flatnonzero(labels)
    _wait(waiting, seeded, heights[seeded])
    for level in range(levels):
        while waiting[level]:
            front = np.concatenate(waiting[level])
            waiting[level] = []
            reached, owners = (front[:, None] + steps).ravel(), np.repeat(labels[front], len(steps))
            reached, owners = _first(reached[free[reached]], owners[free[reached]])
            labels[reached], free[reached] = owners, False
            _wait(waiting, reached, np.maximum(heights[reached], level))
    return labels.reshape(shape)[(slice(1, -1),) * len(shape)]


def _levels(landscape) -> tuple[np.ndarray, int]:
    """Heights as numbers 0, 1, ... of levels, and how many there are."""
    if not landscape.size:
        return np.zeros(landscape.shape, int), 0
    if not np.isfinite(landscape).all():
        raise ValueError("the heights of a landscape must be finite; these have NaN or infinite ones")
    if np.issubdtype(landscape.dtype, np.floating):
        low, high = float(landscape.min()), float(landscape.max())
        return np.rint((landscape - low) * ((LEVELS - 1) / (high - low or 1))).astype(int), LEVELS
    values, heights = np.unique(landscape, return_inverse=True)
    return heights.reshape(landscape.shape), len(values)


def _steps(shape: tuple[int, ...]) -> np.ndarray:
    """From a pixel of a flat array to those that touch it along an axis."""
    strides = np.cumprod((1, *shape[:0:-1]))[::-1]
    return np.concatenate([strides, -strides])


def _first(reached, owners) -> tuple[np.ndarray, np.ndarray]:
    """Each pixel once, in the order of arrival, with the first that comes."""
    first = np.sort(np.unique(reached, return_index=True)[1])
    return reached[first], owners[first]


def _wait(waiting, pixels, levels) -> None:
    """Puts pixels to those of their level."""
    for level in np.unique(levels):
        waiting[level].append(pixels[levels == level])
