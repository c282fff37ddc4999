"""Outlines of masks along the edges of pixels."""

import numpy as np
import scipy  # which loads its parts when they are first used
from jaxtyping import Bool, Int

_STEPS = ((1, 0), (0, 1), (-1, 0), (0, -1))
"""x and y of a step to the right, down, to the left and up."""


def outlines(mask: Bool[np.ndarray, "h w"]) -> list[list[Int[np.ndarray, "n 2"]]]:
    """The rings around each part of a mask that hangs together along edges: the outer one first, then those of its holes.

    Rings are x and y of corners, the first again at the end; pixel (row 0, column 0) covers 0..1 in x and in y. Outer rings go
    from left to right at the top, those of holes the other way around.
    """
    parts, count = scipy.ndimage.label(mask)
    return [_rings(parts == number) for number in range(1, count + 1)]


def _rings(part: Bool[np.ndarray, "h w"]) -> list[Int[np.ndarray, "n 2"]]:
    """Of one part, which lies to the right of each edge; the first edge is the outer ring's, as no row lies above it."""
    edges = _edges(part)
    rings = []
    for edge in sorted(edges, key=lambda edge: (edge[1], edge[0], edge[2])):
        if edge in edges:
            rings.append(_ring(edge, edges))
    return rings


def _edges(part: Bool[np.ndarray, "h w"]) -> set[tuple[int, int, int]]:
    """x and y of the corner where each edge begins, and its direction."""
    padded = np.pad(part, 1)
    core = (slice(1, -1), slice(1, -1))
    beside = (padded[:-2, 1:-1], padded[1:-1, 2:], padded[2:, 1:-1], padded[1:-1, :-2])  # above, right, below, left
    corners = ((0, 0), (1, 0), (1, 1), (0, 1))  # where the edge on that side begins
    edges = set()
    for direction, (other, (right, down)) in enumerate(zip(beside, corners)):
        rows, columns = np.nonzero(padded[core] & ~other)
        edges |= {(x, y, direction) for x, y in zip((columns + right).tolist(), (rows + down).tolist())}
    return edges


def _ring(edge: tuple[int, int, int], edges: set[tuple[int, int, int]]) -> Int[np.ndarray, "n 2"]:
    """The corners of the ring that an edge belongs to, whose edges are taken away.

    Where pixels meet at a corner only, it goes on along the other one, so that no ring touches itself.
    """
    (x, y, direction), turns = edge, [edge[:2]]
    while edge in edges:
        edges.remove(edge)
        x, y = x + _STEPS[direction][0], y + _STEPS[direction][1]
        onward = [(x, y, (direction + turn) % 4) for turn in (3, 0, 1)]
        edge = next((each for each in onward if each in edges), onward[1])
        if edge[2] != direction and edge in edges:
            turns.append((x, y))
        direction = edge[2]
    return np.array([*turns, turns[0]])
