"""Star-convex polygons from predicted probabilities and distances: the best of those that overlap, painted as objects."""

from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Int, Int32, Real

from fcn.instances.polygons import covered, polygon_areas, shared_areas
from fcn.instances.rays import ray_steps


class Stars(NamedTuple):
    """Star-convex objects, the most probable first.

    Attributes:
        points: [m, 2], row and column in the image.
        distances: [m, rays], from the point to the edge, in pixels.
        probabilities: [m].
    """

    points: Int[np.ndarray, "m 2"]
    distances: Float[np.ndarray, "m rays"]
    probabilities: Float[np.ndarray, " m"]

    def polygons(self) -> Float[np.ndarray, "m rays 2"]:
        """Their vertices, row and column, float32."""
        return (self.points[:, None] + self.distances[..., None] * ray_steps(self.distances.shape[1])).astype(np.float32)


def candidates(
    probabilities: Float[np.ndarray, "y x"],
    distances: Real[np.ndarray, "y x rays"],
    threshold: int | float,
    *,
    grid: int = 1,
    border: int = 0,
) -> Stars:
    """The places whose probability is above a threshold, the most probable first; of equal ones the last in the image first.

    Args:
        probabilities: that a place is the middle of an object.
        distances: from there to its edge along rays, in pixels; at least 0.001 is taken.
        threshold: 0 to 1.
        grid: rows and columns of the image from one place to the next.
        border: so many places along the border are none. `stardist` leaves 2, which loses objects there.
    """
    places = np.argwhere(probabilities > threshold)
    inside = (places >= border) & (places < np.subtract(probabilities.shape, border))
    rows, columns = places[inside.all(1)].T
    order = np.argsort(probabilities[rows, columns], kind="stable")[::-1]
    rows, columns = rows[order], columns[order]
    lengths = np.maximum(distances[rows, columns], 1e-3).astype(np.float32)
    return Stars(np.stack([rows, columns], -1) * grid, lengths, probabilities[rows, columns])


def suppress(stars: Stars, threshold: int | float) -> Stars:
    """Leaves out what overlaps with something more probable: non-maximum suppression, the best first.

    Schmidt et al., MICCAI 2018, section 2; as in `stardist`, overlap is the shared area over the smaller of both areas, of
    polygons whose vertices are cut to integers.

    Args:
        stars: the most probable first.
        threshold: the overlap from which on the less probable one falls, 0 to 1.
    """
    polygons = np.trunc(stars.polygons()).astype(np.float64)
    areas, low, high = polygon_areas(polygons), polygons.min(1), polygons.max(1)
    alive, kept = np.arange(len(polygons)), []
    while len(alive):
        best, alive = alive[0], alive[1:]
        kept.append(best)
        near = np.all((low[alive] < high[best]) & (high[alive] > low[best]), 1)
        close = alive[near]
        shared = shared_areas(polygons[best], polygons[close])
        falls = shared > (threshold + 1e-6) * np.minimum(areas[close], areas[best])
        near[near] = falls
        alive = alive[~near]
    return Stars(*(part[kept] for part in stars))


def paint(stars: Stars, shape: tuple[int, int]) -> Int32[np.ndarray, "h w"]:
    """The objects as an instance map: 1 is the first of `stars`, which covers those after it."""
    image = np.zeros(shape, np.int32)
    polygons = stars.polygons().astype(np.float64)
    for number in reversed(range(len(polygons))):
        box, mask = covered(polygons[number], shape)
        image[box][mask] = number + 1
    return image
