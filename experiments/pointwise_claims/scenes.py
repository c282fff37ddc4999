"""Small pictures to classify: discs, rings and crosses of any colour on a textured, noisy ground."""

from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Int

KINDS = ("ground", "disc", "ring", "cross")


class Scenes(NamedTuple):
    """Pictures with both kinds of labels.

    Attributes:
        images: [N, S, S, 3] float32 in 0..1.
        pixel_labels: [N, S, S] int32, index into `KINDS` for every pixel.
        image_labels: [N] int32, the kind of the (last) object; 0 where there is none.
    """

    images: Float[np.ndarray, "n s s 3"]
    pixel_labels: Int[np.ndarray, "n s s"]
    image_labels: Int[np.ndarray, " n"]


def scenes(
    rng: np.random.Generator,
    number: int,
    size: int,
    *,
    objects: int = 1,
    radii: tuple[float, float] = (5.5, 8.5),
    jitter: float = 3.0,
    offsets: Float[np.ndarray, "n 2"] | None = None,
    kinds: tuple[int, ...] = (1, 2, 3),
) -> Scenes:
    """Draws pictures; the colour says nothing about the kind.

    Args:
        rng: source of all randomness.
        number: how many pictures.
        size: their side in pixels.
        objects: in each picture; one stands near the centre, more stand on a jittered grid, so that they do not overlap.
        radii: smallest and largest radius in pixels.
        jitter: how far an object may lie from its place, in pixels, down and to the right.
        offsets: how far it does lie, instead of at random.
        kinds: which kinds occur; 0 is a place without object.
    """
    images, labels = _ground(rng, number, size), np.zeros((number, size, size), np.int32)
    y, x = np.mgrid[:size, :size].astype(np.float32) + np.float32(0.5)
    places = int(np.ceil(np.sqrt(objects)))
    for i in range(objects):
        kind = rng.choice(kinds, number)
        cell = np.array([i // places + 0.5, i % places + 0.5]) * size / places
        centre = cell + (rng.uniform(-jitter, jitter, (number, 2)) if offsets is None else offsets)
        inside = _inside(rng, kind, y - centre[:, :1, None], x - centre[:, 1:, None], rng.uniform(*radii, number))
        colour = _contrasting(rng, number)
        cover = (inside & (kind > 0)[:, None, None])[..., None]
        images = np.where(cover, colour + 0.04 * _noise(rng, images.shape), images)
        labels = np.where(cover[..., 0], kind[:, None, None], labels)
    return Scenes(np.clip(images, 0, 1).astype(np.float32), labels.astype(np.int32), kind.astype(np.int32))


def _ground(rng, number, size):
    """Random waves of two frequencies around a mid gray, and noise."""
    y, x = np.mgrid[:size, :size].astype(np.float32) / 32
    ground = np.full((number, size, size, 3), 0.45, np.float32)
    for frequency in (1.0, 3.0):
        wave = frequency * _noise(rng, (2, number, 1, 1, 3))
        phase = rng.uniform(0, 2 * np.pi, (number, 1, 1, 3)).astype(np.float32)
        ground += 0.06 * np.sin(2 * np.pi * (wave[0] * y[..., None] + wave[1] * x[..., None]) + phase)
    return ground + 0.03 * _noise(rng, ground.shape)


def _noise(rng, shape):
    return rng.standard_normal(shape, dtype=np.float32)


def _contrasting(rng, number):
    """Colours that differ from gray: one channel high or low at random, the others anywhere."""
    colour = rng.uniform(0.1, 0.9, (number, 3))
    colour[np.arange(number), rng.integers(0, 3, number)] = rng.choice([0.02, 0.98], number)
    return colour[:, None, None].astype(np.float32)


def _inside(rng, kind, y, x, radius):
    """Which pixels belong to the object of each picture, at a random angle."""
    angle = rng.uniform(0, np.pi / 2, (len(kind), 1, 1))
    u, v = np.abs(x * np.cos(angle) + y * np.sin(angle)), np.abs(y * np.cos(angle) - x * np.sin(angle))
    radius, kind = radius[:, None, None], kind[:, None, None]
    disc = np.hypot(u, v) < radius
    ring = disc & (np.hypot(u, v) > 0.5 * radius)
    cross = (np.maximum(u, v) < radius) & (np.minimum(u, v) < 0.33 * radius)
    return np.select([kind == 2, kind == 3], [ring, cross], disc)
