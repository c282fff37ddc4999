"""Star-convex objects: how far it is from each pixel to the edge of its object, along rays all around."""

from typing import NamedTuple

import numpy as np
import scipy  # which loads its parts when they are first used
from jaxtyping import Float, Float32, Int32, Integer


def ray_steps(rays: int) -> Float32[np.ndarray, "rays 2"]:
    """Rows and columns by which a step of length 1 moves along each ray; the first points right, the next ones turn down.

    Raises:
        ValueError: for fewer than three rays.
    """
    if rays < 3:
        raise ValueError(f"rays is {rays}; a polygon has at least 3")
    angles = np.float32(2 * np.pi / rays) * np.arange(rays, dtype=np.float32)  # rounded as in `stardist`
    return np.stack([np.sin(angles), np.cos(angles)], -1).astype(np.float32)


def star_distances(instances: Integer[np.ndarray, "h w"], rays: int = 32, *, grid: int = 1) -> Float32[np.ndarray, "y x rays"]:
    """Distances from each pixel to the edge of its object along rays; `stardist.geometry.star_dist`.

    Schmidt et al., "Cell Detection with Star-Convex Polygons", MICCAI 2018, section 2. Steps of length 1 are taken until the
    nearest pixel is another object's or lies outside of the image; the last is taken back to the edge between the pixels.

    Args:
        instances: 0 for background, another number for each object.
        rays: n, at least 3.
        grid: only every so many rows and columns are measured from, the first ones on.

    Returns:
        float32; 0 in background.

    Raises:
        ValueError: for fewer than three rays.
    """
    rows, columns = np.nonzero(instances[::grid, ::grid])
    distances = np.zeros((*instances[::grid, ::grid].shape, rays), np.float32)
    if len(rows):
        field = _Field.of(instances, rows * grid, columns * grid)
        distances[rows, columns] = np.stack([_along(field, step) for step in ray_steps(rays)], -1)
    return distances


class _Field(NamedTuple):
    """An instance map with a border, flat, and the pixels that rays start from."""

    ids: Int32[np.ndarray, " places"]
    reach: Int32[np.ndarray, " places"]
    """Of each pixel the steps, straight or diagonal, to the nearest one of another object."""
    width: int
    starts: Int32[np.ndarray, " starts"]
    odd: Int32[np.ndarray, " starts"]
    """0 to 3: whether row (2) and column (1) of a start are odd."""

    @classmethod
    def of(cls, instances, rows, columns) -> "_Field":
        """The field of a map, and starts at rows and columns of it."""
        ids = np.pad(np.unique(instances, return_inverse=True)[1].reshape(instances.shape), 2, constant_values=-1)
        others = np.ones(ids.shape, bool)  # where a pixel of the eight around is another object's
        core = (slice(1, -1),) * 2
        around = [ids[1 + y : ids.shape[0] - 1 + y, 1 + x : ids.shape[1] - 1 + x] for y in (-1, 0, 1) for x in (-1, 0, 1)]
        others[core] = np.any([each != ids[core] for each in around], 0)
        reach = 1 + scipy.ndimage.distance_transform_cdt(~others, "chessboard")
        starts, odd = (rows + 2) * ids.shape[1] + columns + 2, 2 * (rows % 2) + columns % 2
        flat, reached, starts, odd = (np.ravel(each).astype(np.int32) for each in (ids, reach, starts, odd))
        return cls(flat, reached, ids.shape[1], starts, odd)


def _along(field: _Field, step: Float32[np.ndarray, " 2"]) -> Float32[np.ndarray, " starts"]:
    """The distances along one ray.

    Pixels nearer than the nearest one of another object need no look: as many steps are taken at once.
    """
    moved, lengths = _walk(step, int(field.reach.max()), max(len(field.ids) // field.width, field.width), field.width)
    places, odd, going = field.starts, field.odd, np.arange(len(field.starts))
    own, taken = field.ids[places], field.reach[places]
    found = np.zeros(len(places), np.float32)
    while len(going):
        reached = places + moved[odd, taken]
        inside = field.ids[reached] == own
        found[going[~inside]] = lengths[taken[~inside]]
        taken = taken[inside] + np.maximum(field.reach[reached[inside]] - 1, 1)
        places, odd, own, going = places[inside], odd[inside], own[inside], going[inside]
    return found


def _walk(step: Float32[np.ndarray, " 2"], reach: int, longest: int, width: int) -> tuple[np.ndarray, np.ndarray]:
    """By how many places of a flat array the nearest pixel has moved after 0, 1, 2 ... steps, [4, n], and the lengths, [n].

    Where two pixels are equally near, it is that of an even number: the four rows are those of `_Field.odd`.
    """
    count = int(np.ceil(longest / np.abs(step).max())) + reach + 2
    walked = np.cumsum(np.broadcast_to(step, (count, 2)), 0, dtype=np.float32)
    walked = np.concatenate([np.zeros((1, 2), np.float32), walked])
    odd = np.array([(0, 0), (0, 1), (1, 0), (1, 1)])[:, None]
    moved = (np.rint(odd + walked.astype(np.float64)) - odd).astype(np.int32)
    lengths = np.hypot(*(walked - (1 - 0.5 / np.abs(step).max()) * step).T)
    return moved[..., 0] * np.int32(width) + moved[..., 1], lengths


def edge_probabilities(instances: Integer[np.ndarray, "h w"]) -> Float[np.ndarray, "h w"]:
    """The distance of each pixel to the edge of its object, divided by the largest in the object; `stardist`'s `edt_prob`.

    The border of the image is no edge.

    Args:
        instances: 0 for background, a number above 0 for each object.

    Returns:
        float32, 0 to 1; 0 in background.
    """
    found = np.zeros(instances.shape, np.float32)
    known, numbers = np.unique(instances, return_inverse=True)
    numbers = numbers.reshape(instances.shape) if known[0] == 0 else numbers.reshape(instances.shape) + 1
    for number, box in enumerate(scipy.ndimage.find_objects(numbers), 1):
        wider = tuple(slice(max(side.start - 1, 0), side.stop + 1) for side in box)
        mask = numbers[wider] == number
        distances = scipy.ndimage.distance_transform_edt(mask if not mask.all() else np.pad(mask, 1))
        distances = distances if not mask.all() else distances[1:-1, 1:-1]
        found[wider][mask] = (distances / (distances.max() + 1e-10))[mask]
    return found
