"""Draw the scenes of the built-in data set `shapes`: textured objects on a textured ground, a pure function of the seed.

Every class has a shape and a fine texture of its own; colours are drawn at random, so that a pixel's colour says next to
nothing about its class. Objects overlap, cast shadows and lie under a lighting gradient and noise.
"""

import colorsys
import math
from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float, UInt8

CLASSES = ("background", "disc", "square", "triangle", "ring", "cross")
SIZE = 128
SEEDS = {"train": 2015, "val": 1411}
"""The stream of each split."""

_Plane = Float[np.ndarray, "h w"]
_Planes = Float[np.ndarray, "3 h w"]


class Scene(NamedTuple):
    """A scene: the image, the class of each pixel, and the object of each pixel, 0 on the ground."""

    image: UInt8[np.ndarray, "128 128 3"]
    label: UInt8[np.ndarray, "128 128"]
    instances: UInt8[np.ndarray, "128 128"]


def draw_scene(seed: int, index: int) -> Scene:
    """Scene `index` of the stream `seed`; equal arguments give equal scenes."""
    rng = np.random.default_rng((seed, index))
    image, label, instances = _ground(rng), *np.zeros((2, SIZE, SIZE), np.uint8)
    for number in range(1, 1 + rng.integers(2, 6)):
        covered = _draw_object(rng, image, label)
        instances[covered] = number
    image *= _lighting(rng)
    image += 0.035 * rng.standard_normal(image.shape, np.float32)
    pixels = (255 * np.clip(image, 0, 1)).astype(np.uint8)
    return Scene(np.ascontiguousarray(pixels.transpose(1, 2, 0)), label, instances)


def _ground(rng: np.random.Generator) -> _Planes:
    """Two colours mixed by smooth noise of three scales."""
    dark, light = _colour(rng, 0.25, 0.5), _colour(rng, 0.5, 0.85)
    mix = 0.5 + sum(amount * _smooth_noise(rng, cells) for cells, amount in ((3, 0.25), (9, 0.15), (40, 0.18)))
    return dark + np.clip(mix, 0, 1) * (light - dark)


def _draw_object(rng: np.random.Generator, image: _Planes, label: UInt8[np.ndarray, "h w"]) -> Bool[np.ndarray, "h w"]:
    """Paint one object of a random class and its shadow over the scene, in place; gives the pixels that it covers."""
    kind = int(rng.integers(1, len(CLASSES)))
    radius, angle = rng.uniform(20, 38), rng.uniform(0, 2 * math.pi)
    centre = rng.uniform(8, SIZE - 8, 2).tolist()
    rows, columns = (slice(max(0, int(c - radius - 9)), min(SIZE, int(c + radius + 10))) for c in centre)
    y = (np.arange(rows.start, rows.stop, dtype=np.float32) - centre[0])[:, None]
    x = (np.arange(columns.start, columns.stop, dtype=np.float32) - centre[1])[None, :]
    cosine, sine = math.cos(angle), math.sin(angle)
    u, v = x * cosine + y * sine, y * cosine - x * sine  # the object's own axes
    outline, texture = _SHAPES[kind - 1]
    distance = outline(u, v, radius)
    shadow = 0.45 * np.clip(0.7 - outline(u - 3 * sine, v - 3 * cosine, radius) / 7, 0, 1)  # three pixels down
    ink, paper = _colour(rng, 0.15, 0.5), _colour(rng, 0.7, 1.0)
    pattern = texture(u, v, rng.uniform(4.5, 6.5), rng.uniform(0, 2 * math.pi))
    pattern = pattern * np.clip(-0.7 - distance, 0, 1)  # a plain rim
    cover = np.clip(0.5 - distance, 0, 1)
    patch = image[:, rows, columns] * ((1 - shadow) * (1 - cover))
    image[:, rows, columns] = patch + (paper + pattern * (ink - paper)) * cover
    covered = np.zeros(label.shape, bool)
    covered[rows, columns] = distance < 0
    label[covered] = kind
    return covered


# Outlines: signed distance to the edge in pixels, negative inside.
def _disc(u: _Plane, v: _Plane, radius: float) -> _Plane:
    return np.hypot(u, v) - 0.9 * radius


def _square(u: _Plane, v: _Plane, radius: float) -> _Plane:
    return np.maximum(np.abs(u), np.abs(v)) - 0.75 * radius


def _triangle(u: _Plane, v: _Plane, radius: float) -> _Plane:
    return np.maximum(np.abs(u) * 0.866 - v * 0.5, v) - 0.6 * radius


def _ring(u: _Plane, v: _Plane, radius: float) -> _Plane:
    return np.abs(np.hypot(u, v) - 0.72 * radius) - 0.26 * radius


def _cross(u: _Plane, v: _Plane, radius: float) -> _Plane:
    a, b = np.abs(u), np.abs(v)
    return np.minimum(np.maximum(a - radius, b - 0.32 * radius), np.maximum(b - radius, a - 0.32 * radius))


# Textures: the share of ink, 0..1.
def _wave(t: _Plane, period: float, phase: float) -> _Plane:
    """Soft-edged stripes."""
    return np.clip(0.5 + 1.2 * np.sin(2 * np.pi / period * t + phase), 0, 1)


def _dots(u: _Plane, v: _Plane, period: float, phase: float) -> _Plane:
    step = 2 * np.pi / (1.35 * period)
    return np.clip(0.25 + 1.1 * np.cos(step * u + phase) * np.cos(step * v), 0, 1) ** 1.5


def _checks(u: _Plane, v: _Plane, period: float, phase: float) -> _Plane:
    step = np.pi / (0.9 * period)
    return np.clip(0.5 + 2 * np.sin(step * u + phase) * np.sin(step * v + phase), 0, 1)


def _stripes(u: _Plane, v: _Plane, period: float, phase: float) -> _Plane:
    return _wave(v, period, phase)


def _plain(u: _Plane, v: _Plane, period: float, phase: float) -> _Plane:
    return np.ones(np.broadcast_shapes(u.shape, v.shape), np.float32)


def _zigzag(u: _Plane, v: _Plane, period: float, phase: float) -> _Plane:
    fold = 2.2 * period
    return _wave(v + np.abs(np.mod(u, fold) - fold / 2), 1.25 * period, phase)


_SHAPES: tuple[tuple[Callable, Callable], ...] = (
    (_disc, _dots),
    (_square, _checks),
    (_triangle, _stripes),
    (_ring, _plain),
    (_cross, _zigzag),
)


def _colour(rng: np.random.Generator, low: float, high: float) -> _Planes:
    """A colour [3, 1, 1] of any hue with value low..high."""
    colour = colorsys.hsv_to_rgb(rng.uniform(), rng.uniform(0.15, 0.7), rng.uniform(low, high))
    return np.array(colour, np.float32)[:, None, None]


def _lighting(rng: np.random.Generator) -> _Plane:
    """Brightness that changes linearly across the scene by up to a quarter each way."""
    slope = rng.uniform(-0.25, 0.25, 2).astype(np.float32)
    axis = np.linspace(-1, 1, SIZE, dtype=np.float32)
    return 0.95 + 0.5 * (slope[0] * axis[:, None] + slope[1] * axis[None, :])


def _smooth_noise(rng: np.random.Generator, cells: int) -> _Plane:
    """Normal noise on a grid of `cells` x `cells`, interpolated linearly to the scene."""
    grid = rng.standard_normal((cells, cells), np.float32)
    place = np.linspace(0, cells - 1, SIZE, dtype=np.float32)
    left = np.minimum(place.astype(int), cells - 2)
    share = (place - left.astype(np.float32))[:, None]
    tall = grid[left] * (1 - share) + grid[left + 1] * share
    return tall[:, left] * (1 - share.T) + tall[:, left + 1] * share.T
