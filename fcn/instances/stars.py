"""Star-convex polygons from predicted probabilities and distances: the best of those that overlap, painted as objects."""

from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float, Float32, Int, Int32, Real

from fcn.instances.polygons import covered, inner_radii, polygon_areas, shared_areas, shared_discs
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
    shapes = _Shapes.of(stars)
    alive, kept = np.ones(len(stars.points), bool), []
    for best in range(len(alive)):
        if alive[best]:
            kept.append(best)
            rivals = shapes.near(best)
            rivals = rivals[alive[rivals] & (rivals > best)]
            alive[rivals[shapes.overlap(best, rivals, threshold + 1e-6)]] = False
    return Stars(*(part[kept] for part in stars))


class _Shapes(NamedTuple):
    """Polygons whose vertices are cut to integers, and what is known of them before two are compared."""

    points: Int[np.ndarray, "m 2"]
    vertices: Float32[np.ndarray, "m rays 2"]
    """From the point."""
    areas: Float[np.ndarray, " m"]
    radii: Float[np.ndarray, " m"]
    """Of a disc around the point that lies inside; 0 where there is none."""
    low: Float[np.ndarray, "m 2"]
    high: Float[np.ndarray, "m 2"]
    """Their boxes, from the point."""
    by_row: Int[np.ndarray, " m"]
    """Their numbers in the order of the rows of their points."""
    rows: Int[np.ndarray, " m"]
    """These rows."""
    reach: float
    """By so many rows the largest leaves the row of its point."""

    @classmethod
    def of(cls, stars: Stars) -> "_Shapes":
        """The shapes of stars."""
        vertices = (np.trunc(stars.polygons()) - stars.points[:, None]).astype(np.float32)
        low, high = vertices.min(1), vertices.max(1)
        rows = stars.points[:, 0]
        by_row = np.argsort(rows, kind="stable")
        known = polygon_areas(vertices), inner_radii(vertices), low, high
        return cls(stars.points, vertices, *known, by_row, rows[by_row], float(np.abs(vertices[..., 0]).max(initial=0)))

    def near(self, best: int) -> Int[np.ndarray, " n"]:
        """The numbers of all whose box may meet that of one."""
        row = self.points[best, 0]
        first = np.searchsorted(self.rows, row + self.low[best, 0] - self.reach)
        return self.by_row[first : np.searchsorted(self.rows, row + self.high[best, 0] + self.reach, "right")]

    def overlap(self, best: int, rivals: Int[np.ndarray, " n"], threshold: float) -> Bool[np.ndarray, " n"]:
        """Which of others share more than a part of the smaller area with one.

        What boxes share is never less, what discs inside share never more; only where these leave it open areas are measured.
        """
        apart = (self.points[rivals] - self.points[best]).astype(np.float64)
        least = threshold * np.minimum(self.areas[rivals], self.areas[best])
        sides = np.minimum(self.high[best], apart + self.high[rivals]) - np.maximum(self.low[best], apart + self.low[rivals])
        boxes = np.maximum(sides, 0).prod(1)
        falls = shared_discs(float(self.radii[best]), self.radii[rivals], np.hypot(*apart.T)) > least + 1e-3
        unknown = np.flatnonzero((boxes > least) & ~falls)
        one, others = self.vertices[best].astype(np.float64), self.vertices[rivals[unknown]] + apart[unknown, None]
        falls[unknown] = shared_areas(one, others) > least[unknown]
        return falls


def paint(stars: Stars, shape: tuple[int, int]) -> Int32[np.ndarray, "h w"]:
    """The objects as an instance map: 1 is the first of `stars`, which covers those after it."""
    image = np.zeros(shape, np.int32)
    polygons = stars.polygons().astype(np.float64)
    for number in reversed(range(len(polygons))):
        box, mask = covered(polygons[number], shape)
        image[box][mask] = number + 1
    return image
