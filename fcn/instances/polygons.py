"""Polygons in a plane: their areas, what pairs of them share, and the pixels that they cover. Vertices are (row, column)."""

import numpy as np
from jaxtyping import Bool, Float

_APART = np.array([0.7548776662, 0.5698402910]) * 1e-7
"""By so much one of two polygons is moved, so that no vertex lies on an edge and no edges lie on each other."""


def polygon_areas(polygons: Float[np.ndarray, "*m n 2"]) -> Float[np.ndarray, "*m"]:
    """The area of each polygon, by the shoelace formula."""
    return np.abs(_cross(polygons, np.roll(polygons, -1, -2)).sum(-1)) / 2


def inner_radii(polygons: Float[np.ndarray, "*m n 2"]) -> Float[np.ndarray, "*m"]:
    """The radius of the largest disc around the origin within the lines of a polygon's edges; 0 where it is outside of one.

    Args:
        polygons: their vertices in the order of rising angles around the origin.
    """
    after = np.roll(polygons, -1, -2)
    lengths = np.hypot(*np.moveaxis(after - polygons, -1, 0))
    distances = _cross(polygons, after) / np.where(lengths > 0, lengths, 1)
    nearest = np.where(lengths > 0, distances, np.inf).min(-1)
    return np.where(np.isfinite(nearest), np.maximum(nearest, 0), 0)


def shared_discs(radius: float, others: Float[np.ndarray, " m"], apart: Float[np.ndarray, " m"]) -> Float[np.ndarray, " m"]:
    """The area that a disc shares with each of others, whose middles are so far away."""
    r, s, d = np.maximum(radius, 1e-9), np.maximum(others, 1e-9).astype(np.float64), np.maximum(apart, 1e-9)
    of_r, of_s = (np.arccos(np.clip((d**2 + a**2 - b**2) / (2 * d * a), -1, 1)) for a, b in ((r, s), (s, r)))
    kite = np.sqrt(np.maximum((r + s - d) * (d + r - s) * (d - r + s) * (d + r + s), 0)) / 2
    return r**2 * of_r + s**2 * of_s - kite


def shared_areas(polygon: Float[np.ndarray, "n 2"], others: Float[np.ndarray, "m n 2"]) -> Float[np.ndarray, " m"]:
    """The area that a polygon shares with each of others: by Green's theorem along the edges of either that lie in the other.

    Args:
        polygon: simple (it may touch itself), its vertices in the order of rising angles, as rays have them.
        others: the same.

    Returns:
        float64, exact within 1e-6 of the perimeters.
    """
    a, b = polygon - polygon.mean(0), others - polygon.mean(0) - _APART
    of_b, of_a = _sides(a, b), _sides(b, a)  # [m, edges of a, vertices of b], [m, edges of b, vertices of a]
    pair, i, j = np.nonzero(_changes(of_b) & _changes(of_a).swapaxes(1, 2))  # edge i crosses edge j
    enters = np.where(of_b[pair, i, j] > 0, 1, -1)  # b's edge goes to the right of a's, a's to the left of b's: it enters
    in_b = _inside(_windings(b, a[0]), enters, (pair, i), _place(of_a[pair, j], i), len(a))
    in_a = _inside(_windings(a, b[:, :1]), -enters, (pair, j), _place(of_b[pair, i], j), len(a))
    along_a, along_b = (_cross(each, np.roll(each, -1, -2)) for each in (a, b))
    return np.abs((along_a * in_b).sum(1) + (along_b * in_a).sum(1)) / 2


def covered(polygon: Float[np.ndarray, "n 2"], shape: tuple[int, int]) -> tuple[tuple[slice, slice], Bool[np.ndarray, "h w"]]:
    """The pixels of an image whose middle lies in a polygon, on its edge or its vertex: a box, and a mask of it.

    The same as `skimage.draw.polygon`.
    """
    low, high = np.maximum(np.ceil(polygon.min(0)), 0).astype(int), np.minimum(np.floor(polygon.max(0)) + 1, shape).astype(int)
    box = (slice(low[0], max(high[0], low[0])), slice(low[1], max(high[1], low[1])))
    rows, columns = (np.arange(side.start, side.stop) for side in box)
    turns, edges = np.zeros((len(rows), len(columns)), int), np.zeros((len(rows), len(columns)), bool)
    y, x = polygon[:, 0] - rows[:, None], polygon[:, 1] - columns[:, None]
    next_y, next_x = np.roll(y, -1, 1), np.roll(x, -1, 1)
    row, edge = np.nonzero((y > 0) != (next_y > 0))  # the few edges that cross each row
    side = x[:, edge].T * next_y[row, edge, None] - y[row, edge, None] * next_x[:, edge].T
    up = next_y[row, edge, None] > 0
    np.add.at(turns, row, np.where(up, side > 0, -(side < 0).astype(int)))
    np.logical_or.at(edges, row, side == 0)
    for r, k in zip(*np.nonzero((y == 0) & (next_y == 0))):
        edges[r] |= (np.minimum(x, next_x)[:, k] <= 0) & (np.maximum(x, next_x)[:, k] >= 0)
    exact = polygon[(polygon == np.rint(polygon)).all(1)].astype(int) - low
    exact = exact[((exact >= 0) & (exact < edges.shape)).all(1)]
    edges[tuple(exact.T)] = True
    return box, (turns != 0) | edges


def _sides(polygons, vertices):
    """On which side of each edge vertices lie, above 0 to its left: twice the area of the triangle, [m, edges, vertices]."""
    steps = np.roll(polygons, -1, -2) - polygons
    normals = np.stack([steps[..., 1], -steps[..., 0]], -1)  # rows, columns
    return normals @ np.moveaxis(vertices, -1, -2) - (normals * polygons).sum(-1)[..., None]


def _changes(sides):
    """Whether an edge between two vertices goes to the other side."""
    left = sides > 0
    return left != np.roll(left, -1, -1)


def _place(sides, edge):
    """Where on its edge a crossing lies, 0 to 1, by the sides of the edge's ends."""
    pairs = np.arange(len(edge))
    start, end = sides[pairs, edge], sides[pairs, (edge + 1) % sides.shape[1]]
    return start / (start - end)


def _inside(start, enters, where, places, edges: int):
    """How much of each edge lies inside, [m, edges]: as much as of its start, and from each crossing on so much more.

    Args:
        start: [m], how often the other polygon goes around the first vertex.
        enters: of each crossing, 1 where the edge comes inside, -1 where it leaves.
        where: (pair, edge) of each crossing.
        places: of each crossing, on the edge.
        edges: how many there are.
    """
    shape = (len(start), edges)
    numbers = np.ravel_multi_index(where, shape)

    def total(values):
        return np.bincount(numbers, values, shape[0] * shape[1]).reshape(shape)

    steps = total(enters)
    return start[:, None] + np.cumsum(steps, 1) - steps + total(enters * (1 - places))


def _windings(polygons, points):
    """How often each polygon goes around a point."""
    to_vertex = polygons - points
    to_next = np.roll(to_vertex, -1, -2)
    side = _cross(to_vertex, to_next)
    up = (to_vertex[..., 0] <= 0) & (to_next[..., 0] > 0) & (side > 0)
    down = (to_vertex[..., 0] > 0) & (to_next[..., 0] <= 0) & (side < 0)
    return np.broadcast_to(up.sum(-1) - down.sum(-1), np.broadcast_shapes(polygons.shape[:-2], points.shape[:-2]) or (1,))


def _cross(a, b):
    return a[..., 1] * b[..., 0] - a[..., 0] * b[..., 1]
