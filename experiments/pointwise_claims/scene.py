"""The picture that the claims use when none is given: a still life of fruit, drawn with numpy."""

import numpy as np
from jaxtyping import Float

SUN = np.array([-0.50, -0.62, 0.60]) / np.linalg.norm([-0.50, -0.62, 0.60])
"""Direction to the light: x to the right, y down, z to the viewer."""


def still_life(height: int = 240, width: int = 320) -> Float[np.ndarray, "h w 3"]:
    """Draws fruit on a blue cloth: RGB in 0..1, float32, the same pixels on every call.

    Args:
        height: rows; the scene is drawn in units of the height, so any size shows the same fruit.
        width: columns; 4/3 of the height shows the whole scene.
    """
    y, x = (np.mgrid[:height, :width] + 0.5) / height
    canvas = _Canvas(x, y, _wall_and_cloth(x, y))
    canvas.fruit((0.34, 0.53), (0.150, 0.250), colour=(0.68, 0.79, 0.17), dark=(0.30, 0.42, 0.05), waist=0.52)  # pear
    canvas.stem((0.342, 0.285), (0.372, 0.215))
    canvas.fruit((0.98, 0.595), (0.185, 0.182), colour=(1.00, 0.56, 0.05), dark=(0.62, 0.20, 0.00), peel=0.05)  # orange
    canvas.fruit((0.635, 0.655), (0.190, 0.178), colour=(0.90, 0.10, 0.10), dark=(0.36, 0.00, 0.05))  # apple
    canvas.stem((0.640, 0.50), (0.668, 0.415))
    canvas.leaf((0.72, 0.425), (0.072, 0.030), 0.35)
    for column, row in ((0, 0), (1, 0), (2, 0), (3, 0), (0.5, 1), (1.5, 1), (2.5, 1), (1, 2), (2, 2)):  # grapes
        centre = (1.00 + 0.088 * column + 0.006 * row, 0.855 - 0.070 * row + 0.010 * np.sin(3 * column))
        canvas.fruit(centre, (0.052, 0.052), colour=(0.48, 0.22, 0.66), dark=(0.16, 0.04, 0.30), shadow=0.25)
    canvas.fruit((0.30, 0.83), (0.178, 0.100), colour=(1.00, 0.87, 0.14), dark=(0.72, 0.48, 0.00), peel=0.03, tip=0.5)  # lemon
    return np.clip(canvas.pixels, 0.0, 1.0).astype(np.float32)


class _Canvas:
    """Paints from back to front; every shape has an edge that is smooth over about one pixel."""

    def __init__(self, x, y, pixels):
        self.x, self.y, self.pixels = x, y, pixels
        self.edge = 1.0 / x.shape[0]

    def paint(self, cover, colour):
        self.pixels = self.pixels * (1.0 - cover[..., None]) + cover[..., None] * colour

    def fruit(self, centre, radii, *, colour, dark, peel=0.0, waist=0.0, tip=0.0, shadow=0.55):
        """A shaded ellipsoid with a soft shadow, a highlight and blue light from the cloth below.

        `waist` narrows the upper half (a pear), `tip` points the ends (a lemon), `peel` roughens the skin (an orange).
        """
        u, v = (self.x - centre[0]) / radii[0], (self.y - centre[1]) / radii[1]
        ground = np.hypot((self.x - centre[0] - 0.35 * radii[0]) / (1.25 * radii[0]), (v - 0.93) / 0.33)
        self.paint(shadow * _fall(ground, 1.0, 0.8), np.array([0.02, 0.05, 0.16]))
        u = u / (1.0 - waist * _fall(v, -0.15, 0.95))
        radius = np.sqrt(np.abs(u) ** (2.0 - tip) + v**2)
        depth = np.sqrt(np.clip(1.0 - u**2 - v**2, 0.0, 1.0))
        bumps = peel * (np.sin(u * 61 + 5 * v) * np.sin(v * 57 - 4 * u)) * depth
        light = np.clip(u * SUN[0] + v * SUN[1] + depth * SUN[2] + bumps, -0.2, 1.0)[..., None]
        shade = np.array(dark) + (np.array(colour) - np.array(dark)) * np.clip(0.12 + 1.05 * light, 0.0, 1.0)
        shade = shade + 0.18 * np.clip(v, 0.0, 1.0)[..., None] ** 3 * np.array([0.15, 0.45, 0.9])  # the cloth's blue
        half = SUN + np.array([0.0, 0.0, 1.0])
        half = half / np.linalg.norm(half)
        gloss = np.clip(u * half[0] + v * half[1] + depth * half[2] + 0.2 * bumps, 0.0, 1.0) ** 60
        shade = shade + 0.65 * gloss[..., None] * np.array([1.0, 0.97, 0.9])
        self.paint(_fall(radius, 1.0, 2 * self.edge / min(radii)), shade)

    def stem(self, start, end):
        """A brown line that gets thinner to its end."""
        direction = np.subtract(end, start)
        along = ((self.x - start[0]) * direction[0] + (self.y - start[1]) * direction[1]) / (direction @ direction)
        along = np.clip(along, 0.0, 1.0)
        distance = np.hypot(self.x - start[0] - along * direction[0], self.y - start[1] - along * direction[1])
        self.paint(_fall(distance, 0.011 - 0.004 * along, 2 * self.edge), np.array([0.30, 0.18, 0.08]))

    def leaf(self, centre, radii, slope):
        """A green leaf with a lighter vein."""
        x, y = self.x - centre[0], self.y - centre[1]
        u, v = (x + slope * -y) / radii[0], (y + slope * x) / radii[1]
        cover = _fall(np.abs(u) ** 1.5 + np.abs(v), 1.0, 2 * self.edge / radii[1])
        vein = np.exp(-((v / 0.12) ** 2))[..., None]
        self.paint(cover, np.array([0.14, 0.50, 0.18]) + (0.12 - 0.10 * v[..., None]) + 0.25 * vein * np.array([0.7, 1, 0.4]))


def _fall(distance, edge, softness):
    """1 inside `edge`, 0 outside, smooth over `softness` around it."""
    t = np.clip((edge + softness / 2 - distance) / softness, 0.0, 1.0)
    return t * t * (3.0 - 2.0 * t)


def _wall_and_cloth(x, y):
    """A sunlit wall above a blue cloth with white stripes in perspective."""
    warm = np.exp(-(((x - 0.25) / 0.75) ** 2 + ((y - 0.05) / 0.55) ** 2))[..., None]
    wall = np.array([0.62, 0.50, 0.46]) + warm * np.array([0.36, 0.36, 0.22])
    horizon = 0.56
    depth = np.clip(y - horizon, 1e-3, None)
    across, away = (x - 0.667) / (depth + 0.45), 0.25 / (depth + 0.12)
    stripes = np.maximum(_stripe(across, 0.55), _stripe(away, 0.62) * (depth > 0.08))[..., None]
    light = (0.75 + 0.55 * np.clip(depth, 0, 0.5))[..., None]
    cloth = light * (np.array([0.10, 0.34, 0.66]) * (1 - stripes) + stripes * np.array([0.80, 0.88, 0.95]))
    table = _fall(horizon - y, 0.0, 0.01)[..., None]
    return wall * (1 - table) + cloth * table


def _stripe(position, period):
    return _fall(np.abs((position / period) % 1.0 - 0.5), 0.05, 0.03)
