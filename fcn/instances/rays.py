"""Star-convex objects: how far it is from each pixel to the edge of its object, along rays all around."""

import numpy as np
import scipy  # which loads its parts when they are first used
from jaxtyping import Float, Float32, Integer


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
    padded = np.pad(instances.astype(np.int64), 2, constant_values=-1)
    rows, columns = np.nonzero(instances[::grid, ::grid])
    starts = np.stack([rows * grid, columns * grid], -1)
    distances = np.zeros((*instances[::grid, ::grid].shape, rays), np.float32)
    measured = [_along(padded, starts, step) for step in ray_steps(rays)]
    distances[rows, columns] = np.stack(measured, -1)
    return distances


def _along(padded, starts, step: Float32[np.ndarray, " 2"]) -> Float32[np.ndarray, " starts"]:
    """The distances along one ray."""
    flat, width = padded.ravel(), padded.shape[1]
    places = (starts[:, 0] + 2) * width + starts[:, 1] + 2
    own, going, found = flat[places], np.arange(len(places)), np.zeros(len(places), np.float32)
    back = (1 - 0.5 / np.abs(step).max()) * step
    walked = np.zeros(2, np.float32)
    while len(going):
        walked = walked + step
        inside = flat[places + _moved(starts, going, walked, width)] == own
        found[going[~inside]] = np.hypot(*(walked - back))
        places, own, going = places[inside], own[inside], going[inside]
    return found


def _moved(starts, going, walked, width: int):
    """By how many places of a flat array the nearest pixel has moved; where two are equally near, that of an even number."""
    if np.all(np.abs(walked % 1 - 0.5) > 1e-4):
        row, column = np.rint(walked).astype(int)
        return row * width + column
    moved = (np.rint(starts[going] + walked) - starts[going]).astype(int)
    return moved[:, 0] * width + moved[:, 1]


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
