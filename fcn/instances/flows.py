"""Objects as flows: of each pixel the way to the middle of its object, and back by following it."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import scipy  # which loads its parts when they are first used
from jaxtyping import Array, Float, Float32, Int, Int32, Integer

from fcn.instances.boundaries import renumbered

SCALE = 5
"""Networks learn flows of this length."""
_AT_ONCE = 4096
"""Points are followed in multiples of so many, so that few programs are compiled."""
_BORDER = 20
_LEAST, _FEW = 10, 2
"""A seed has more end points than the first, what grows from it more than the second."""


def instance_flows(instances: Integer[np.ndarray, "h w"]) -> Float32[np.ndarray, "h w 2"]:
    """Unit vectors (down, right) along which heat rises that comes from the middle of each object.

    Stringer et al., "Cellpose: a generalist algorithm for cellular segmentation", Nature Methods 18, 2021; as in
    `cellpose.dynamics` 4.2. Heat of 1 is added at the middle, then each pixel takes a ninth of the heat of the pixels of its
    object around it, itself included; so 2 (h + w + 2) times, of the largest object's box.

    Args:
        instances: 0 for background (and below: not known), another number for each object.

    Returns:
        float32; 0 in background, and in parts of an object that heat does not reach.
    """
    flows = np.zeros((*instances.shape, 2), np.float32)
    if not (instances > 0).any():
        return flows
    ids = np.pad(np.maximum(instances, 0), 1)
    places = np.argwhere(ids > 0)
    heat = np.zeros(ids.shape)
    heat[tuple(places.T)] = _diffused(ids, places)
    y, x = places.T
    slopes = np.stack([heat[y + 1, x] - heat[y - 1, x], heat[y, x + 1] - heat[y, x - 1]], -1)
    flows[y - 1, x - 1] = slopes / (1e-60 + np.hypot(*slopes.T)[:, None])
    return flows


def object_centers(instances: Integer[np.ndarray, "h w"]) -> Int[np.ndarray, "n 2"]:
    """The mean of the pixels of each object, rounded, halves up, or its pixel nearest to it; in the order of ids."""
    places = np.argwhere(instances > 0)
    ids, numbers = np.unique(instances[tuple(places.T)], return_inverse=True)
    count = np.bincount(numbers)
    means = np.stack([np.bincount(numbers, axis) / count for axis in places.T], -1)
    order = np.lexsort((((places - means[numbers]) ** 2).sum(1), numbers))
    nearest, rounded = places[order[np.cumsum(count) - count]], np.floor(means + 0.5).astype(int)
    return np.where((instances[tuple(rounded.T)] == ids)[:, None], rounded, nearest)


def _diffused(ids, places) -> Float[np.ndarray, " n"]:
    """The heat of each pixel of objects."""
    index = np.zeros(ids.shape, np.int32)
    index[tuple(places.T)] = np.arange(len(places))
    around = places[:, None] + [(y, x) for y in (-1, 0, 1) for x in (-1, 0, 1)]  # [n, 9, 2]
    near = tuple(np.moveaxis(around, -1, 0))
    same = ids[near] == ids[tuple(places.T)][:, None]
    pointers = np.concatenate([[0], np.cumsum(same.sum(1))])
    shape = (len(places), len(places))
    spread = scipy.sparse.csr_array((np.full(pointers[-1], 1 / 9), index[near][same], pointers), shape)
    boxes = [box for box in scipy.ndimage.find_objects(np.unique(ids, return_inverse=True)[1].reshape(ids.shape)) if box]
    extent = max(sum(side.stop - side.start for side in box) + 2 for box in boxes)
    source, heat = np.zeros(len(places)), np.zeros(len(places))
    source[index[tuple(object_centers(ids).T)]] = 1
    for _ in range(2 * extent):
        heat = spread @ (heat + source)
    return heat


def follow(flows: Float[np.ndarray, "h w 2"], places: Int[np.ndarray, "n 2"], steps: int = 200) -> Float32[np.ndarray, "n 2"]:
    """Where pixels come to that go along flows, step by step, on the device; they stay inside the image.

    Flows between pixels are interpolated as in `cellpose`, half a pixel of which is its own: positions are scaled by
    (size - 1), and looked up by `grid_sample` without aligned corners.

    Args:
        flows: (down, right) of each pixel; 0 outside of objects.
        places: (row, column).
        steps: how many.
    """
    starts = np.zeros((-(-len(places) // _AT_ONCE) * _AT_ONCE, 2), np.float32)
    starts[: len(places)] = places
    return np.asarray(_followed(flows.astype(np.float32), starts, steps))[: len(places)]


@partial(jax.jit, static_argnums=2)
def _followed(flows: Float32[Array, "h w 2"], starts: Float32[Array, "n 2"], steps: int) -> Float32[Array, "n 2"]:
    size, width = np.array(flows.shape[:2], np.float32), flows.shape[1] + 2
    padded = jnp.pad(flows, ((1, 1), (1, 1), (0, 0))).reshape(-1, 2)
    scale = size / np.maximum(size - 1, 1)

    def step(_, places):
        seen = places * scale + 0.5  # in the padded picture
        low = jnp.floor(seen)
        down, right = jnp.split(seen - low, 2, 1)
        row, column = low.astype(jnp.int32).T
        corner = row * width + column
        above = padded[corner] * (1 - right) + padded[corner + 1] * right
        below = padded[corner + width] * (1 - right) + padded[corner + width + 1] * right
        return jnp.clip(places + above * (1 - down) + below * down, 0, size - 1)

    return jax.lax.fori_loop(0, steps, step, starts)


def decode_flows(
    outputs: Float[np.ndarray, "h w 3"],
    *,
    threshold: int | float = 0.0,
    flow_error: int | float | None = 0.4,
    min_size: int = 15,
    largest: int | float = 0.4,
    steps: int = 200,
) -> Int32[np.ndarray, "h w"]:
    """The objects of predicted flows: pixels whose ways end together.

    Stringer et al., Nature Methods 18, 2021; as in `cellpose.dynamics` 4.2. Holes are filled.

    Args:
        outputs: of each pixel the flow (down, right), 5 long, and the logit that it is an object's.
        threshold: pixels of lower logits are background.
        flow_error: objects whose flows differ by more from those that their shape has are left out (mean square); None keeps
            all.
        min_size: objects of fewer pixels are left out.
        largest: and those that cover more than this share of the image.
        steps: that pixels go.

    Returns:
        int32 ids 1, 2, ... in the order of their first pixels; 0 for background.
    """
    cell = outputs[..., 2] > threshold
    ids = np.zeros(cell.shape, np.int32)
    places = np.argwhere(cell)
    if not len(places):
        return ids
    flows = np.where(cell[..., None], outputs[..., :2], 0) / SCALE
    ids[cell] = _gathered(follow(flows, places, steps), cell.shape)
    areas = np.bincount(ids.ravel())
    ids[np.isin(ids, np.flatnonzero(areas > largest * ids.size))] = 0
    if flow_error is not None:
        ids[flow_errors(ids, outputs[..., :2] / SCALE)[ids] > flow_error] = 0
    return renumbered(_filled(renumbered(ids, min_size)), min_size)


def flow_errors(ids: Int32[np.ndarray, "h w"], flows: Float[np.ndarray, "h w 2"]) -> Float[np.ndarray, " ids"]:
    """The mean square by which flows differ from those that the shape of each object has, by id."""
    squares = ((instance_flows(ids) - flows) ** 2).sum(-1)
    errors = np.bincount(ids.ravel(), squares.ravel()) / np.maximum(np.bincount(ids.ravel()), 1)
    errors[0] = 0  # background
    return errors


def _gathered(ends, shape) -> Int32[np.ndarray, " n"]:
    """The object of each end point: points lie together around the places where most end."""
    ends = tuple((ends.astype(int) + _BORDER).T)
    counts = np.zeros((shape[0] + 2 * _BORDER, shape[1] + 2 * _BORDER), int)
    np.add.at(counts, ends, 1)
    seeds = np.argwhere((counts == scipy.ndimage.maximum_filter(counts, 5)) & (counts > _LEAST))
    seeds = seeds[np.argsort(counts[tuple(seeds.T)], kind="stable")]  # the largest last, on top of others
    if not len(seeds):
        return np.zeros(len(ends[0]), np.int32)
    window = np.moveaxis(np.mgrid[-5:6, -5:6], 0, -1)
    around = tuple(np.moveaxis(seeds[:, None, None] + window, -1, 0))  # [n, 11, 11] each
    grown = np.broadcast_to((window == 0).all(-1), around[0].shape)
    for _ in range(5):
        grown = scipy.ndimage.maximum_filter(grown, (1, 3, 3)) & (counts[around] > _FEW)
    ids, number = np.zeros(counts.shape, np.int32), np.broadcast_to(np.arange(1, len(seeds) + 1)[:, None, None], grown.shape)
    ids[around[0][grown], around[1][grown]] = number[grown]
    return ids[ends]


def _filled(ids: Int32[np.ndarray, "h w"]) -> Int32[np.ndarray, "h w"]:
    """Objects without holes."""
    filled = ids.copy()
    for number, box in enumerate(scipy.ndimage.find_objects(ids), 1):
        whole = scipy.ndimage.binary_fill_holes(filled[box] == number)
        filled[box][whole] = number
    return filled
