"""Objects as interior and inner boundary: a class map that keeps touching objects apart, and back again."""

from collections.abc import Callable, Sequence

import jax
import jax.numpy as jnp
import numpy as np
import scipy  # which loads its parts when they are first used
from jaxtyping import Array, Bool, Float, Int32, Integer, Shaped

from fcn.metrics import watershed

BACKGROUND, INTERIOR, BOUNDARY = range(3)
CLASSES = ("background", "interior", "boundary")
AnyArray = np.ndarray | Array
_LEVELS = (0.5, 0.6, 0.7, 0.8, 0.9, 0.95, 0.98)
"""Of the probability of an interior, at which it may fall into parts."""


def boundary_classes(instances: Integer[AnyArray, "*pixels"], width: int = 1) -> Int32[AnyArray, "*pixels"]:
    """Background, interior and inner boundary of objects.

    Caicedo et al., "Evaluation of Deep Learning Strategies for Nucleus Segmentation in Fluorescence Images", Cytometry A 95,
    2019. The boundary is the pixels of an object that touch another one or background along an axis, as in
    `skimage.segmentation.find_boundaries(mode="inner")`; the border of the image is none, nor are pixels of which nothing is
    known.

    Args:
        instances: [H, W] (any rank) of one image: 0 for background, another number for each object, below 0 where nothing is
            known. Of a JAX array the result is one, too, and it is made on the device.
        width: pixels of the boundary: those that can be reached from outside of the object by so many steps along axes.

    Returns:
        int32: 0 for background, 1 for interior, 2 for boundary; -1 where nothing is known.
    """
    xp = jnp if isinstance(instances, jax.Array) else np
    edge = _either_side(instances, lambda first, second: (first != second) & (first >= 0) & (second >= 0))
    for _ in range(width - 1):
        edge |= _either_side(edge & (instances > 0), lambda first, second: first | second)
    of_objects = xp.where(edge, BOUNDARY, INTERIOR)
    return xp.where(instances > 0, of_objects, xp.where(instances < 0, -1, BACKGROUND)).astype(np.int32)


def _either_side(values: Shaped[AnyArray, "*pixels"], of_two: Callable) -> Bool[AnyArray, "*pixels"]:
    """Of which pixels something is true together with the one before or after along an axis."""
    xp = jnp if isinstance(values, jax.Array) else np
    found = xp.zeros(values.shape, bool)
    for axis, rooms in enumerate(np.eye(values.ndim, dtype=int)):
        before = (slice(None),) * axis
        pairs = of_two(values[(*before, slice(None, -1))], values[(*before, slice(1, None))])
        found |= xp.pad(pairs, [(0, room) for room in rooms]) | xp.pad(pairs, [(room, 0) for room in rooms])
    return found


def decode_boundaries(
    probabilities: Float[np.ndarray, "*pixels 3"],
    *,
    weights: Sequence[int | float] = (1, 1, 1),
    min_size: int = 0,
    split: int | float = 0.25,
) -> Int32[np.ndarray, "*pixels"]:
    """The objects of probabilities of background, interior and boundary.

    Each part of the interior that hangs together, corners included, is an object. Where the boundary between two has a gap,
    what is surely interior often falls into two parts, which are objects then. They grow over the boundary around them, pixels
    that are surely boundary last. Foreground in which no interior lies is an object of its own: a thin one has none.

    Args:
        probabilities: [H, W, 3] (any rank) of one image; of logits take the softmax first.
        weights: those of the classes in the cross-entropy of the training, by which probabilities are too large. Interiors are
            told by probabilities with them, which keeps near objects apart; foreground by those without, else objects of
            heavy boundaries are too large.
        min_size: objects of fewer pixels are left out.
        split: the least share of an interior that each of its parts has where it is split; 1 splits none.

    Returns:
        int32 ids 1, 2, ... in the order of their first pixels; 0 for background.

    Raises:
        ValueError: for another number of channels, or values below 0, as logits have.
    """
    if probabilities.shape[-1] != len(CLASSES):
        raise ValueError(f"three channels are decoded (background, interior, boundary), not {probabilities.shape[-1]}")
    if (probabilities < 0).any():
        raise ValueError(f"a value is {probabilities.min():.4g}; probabilities are 0 to 1: of logits give the softmax")
    classes = probabilities.argmax(-1)
    foreground = (probabilities / np.asarray(weights)).argmax(-1) != BACKGROUND
    seeds = _label((classes == INTERIOR) & foreground)
    for level in _LEVELS if split < 1 else ():
        seeds = _split(seeds, _label((seeds > 0) & (probabilities[..., INTERIOR] > level)), split)
    parts, _ = scipy.ndimage.label(foreground)
    thin = foreground & ~np.isin(parts, parts[seeds > 0])
    seeds = np.where(thin, seeds.max() + parts, seeds)
    return renumbered(watershed(probabilities[..., BOUNDARY], seeds, foreground), min_size)


def _label(mask: Bool[np.ndarray, "*pixels"]) -> Int32[np.ndarray, "*pixels"]:
    """The parts that hang together, corners included."""
    return scipy.ndimage.label(mask, np.ones((3,) * mask.ndim, int))[0]


def _split(
    seeds: Integer[np.ndarray, "*pixels"], parts: Integer[np.ndarray, "*pixels"], share: int | float
) -> Integer[np.ndarray, "*pixels"]:
    """Seeds in which two or more parts lie, each of at least a share of the seed's pixels, become these parts."""
    within = np.zeros(parts.max() + 1, int)
    within[parts] = seeds
    large = np.bincount(parts.ravel()) >= share * np.bincount(seeds.ravel())[within]
    large[0] = False  # what lies in no part
    several = np.bincount(within[large], minlength=seeds.max() + 1) > 1
    numbers = np.where(large & several[within], seeds.max() + np.arange(len(large)), 0)
    return np.where(several[seeds], numbers[parts], seeds)


def renumbered(ids: Integer[np.ndarray, "*pixels"], min_size: int = 0) -> Int32[np.ndarray, "*pixels"]:
    """Objects of at least `min_size` pixels as 1, 2, ... in the order of their first pixels."""
    known, first, numbers, areas = np.unique(ids, return_index=True, return_inverse=True, return_counts=True)
    kept = (known != 0) & (areas >= min_size)
    table = np.zeros(len(known), np.int32)
    table[np.flatnonzero(kept)[np.argsort(first[kept])]] = np.arange(1, kept.sum() + 1)
    return table[numbers].reshape(ids.shape)
