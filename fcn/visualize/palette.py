"""Colours for classes."""

import functools

import numpy as np
from jaxtyping import Float, Integer, UInt8
from PIL import Image

IGNORED = (222, 222, 222)
"""The colour of ignored pixels in `colourise`; `panel` and `legend` hatch it."""

_FIRST = (
    "26282f 3f83d6 f08c32 55a84f dd4b50 9a6cc8 edc949 4fb9bd f59bb5 96653f b0d45c 20508f 8c1d40 8d8fe8 0f6b4f"  # hexadecimal
)

_HEAT = [tuple(bytes.fromhex(code)) for code in "440154 3b528b 21918c 5ec962 fde725".split()]


def default_palette(n: int) -> UInt8[np.ndarray, "{n} 3"]:
    """Colours that are easy to tell apart; the first is dark, for a background.

    The first 15 are chosen by hand; each one after them is the colour of a grid that is farthest from all before it, from white
    and from `IGNORED`, measured in the OKLab space (Ottosson, "A perceptual color space for image processing", 2020). So the
    palette of n colours begins with that of n - 1.

    Args:
        n: number of classes, 1..256.

    Raises:
        ValueError: for another number.
    """
    if not 1 <= n <= 256:
        raise ValueError(f"a palette has 1..256 colours, not {n}")
    return _colours()[:n].copy()


def colourise(
    label: Integer[np.ndarray, "h w"], palette: UInt8[np.ndarray, "k 3"], ignore_index: int = 255
) -> UInt8[np.ndarray, "h w 3"]:
    """The colour of each label; `IGNORED` where it is `ignore_index`.

    Raises:
        ValueError: for a label that is neither 0..K-1 nor `ignore_index`.
    """
    label, palette = np.asarray(label), np.asarray(palette, np.uint8)
    ignored = label == ignore_index
    strange = np.unique(label[~ignored & ((label < 0) | (label >= len(palette)))])
    if strange.size:
        shown = ", ".join(map(str, strange[:5]))
        raise ValueError(f"label {shown} has no colour: the palette has 0..{len(palette) - 1}, ignored is {ignore_index}")
    colours = palette[np.where(ignored, 0, label)]
    colours[ignored] = IGNORED
    return colours


def indexed(pixels: UInt8[np.ndarray, "h w"], palette: UInt8[np.ndarray, "k 3"]) -> Image.Image:
    """Class numbers as a picture that keeps them, and that a viewer shows in the colours of a palette."""
    picture = Image.fromarray(pixels)
    picture.putpalette(palette.tobytes())
    return picture


def heat(values: Float[np.ndarray, "h w"], low: float, high: float) -> UInt8[np.ndarray, "h w 3"]:
    """Values as colours from dark blue (`low` and below) to yellow (`high` and above); `IGNORED` where there is none (NaN).

    The colours are five of Matplotlib's viridis and what lies between them: brightness rises evenly.
    """
    values = np.asarray(values, np.float64)
    place = np.clip((np.nan_to_num(values) - low) / max(high - low, 1e-12), 0, 1) * (len(_HEAT) - 1)
    anchors = np.arange(len(_HEAT))
    colours = np.stack([np.interp(place, anchors, channel) for channel in np.transpose(_HEAT)], -1)
    return np.where(np.isfinite(values)[..., None], np.rint(colours), IGNORED).astype(np.uint8)


@functools.cache
def _colours() -> np.ndarray:
    """The 256 colours of `default_palette`."""
    levels = np.arange(30, 241, 14)  # without the extremes, which glare
    candidates = np.stack(np.meshgrid(levels, levels, levels, indexing="ij"), -1).reshape(-1, 3)
    first = [tuple(bytes.fromhex(code)) for code in _FIRST.split()]
    colours, places = list(first), _oklab(candidates)
    distance = np.full(len(candidates), np.inf)
    for taken in _oklab(np.array([*first, (255, 255, 255), IGNORED])):
        distance = np.minimum(distance, np.linalg.norm(places - taken, axis=1))
    while len(colours) < 256:
        farthest = distance.argmax()
        colours.append(candidates[farthest])
        distance = np.minimum(distance, np.linalg.norm(places - places[farthest], axis=1))
    return np.array(colours, np.uint8)


def _oklab(rgb) -> np.ndarray:
    """sRGB 0..255 -> OKLab, the matrices of Ottosson (2020)."""
    c = np.asarray(rgb) / 255
    linear = np.where(c <= 0.04045, c / 12.92, ((c + 0.055) / 1.055) ** 2.4)
    to_lms = [[0.4122214708, 0.5363325363, 0.0514459929], [0.2119034982, 0.6806995451, 0.1073969566]]
    to_lms += [[0.0883024619, 0.2817188376, 0.6299787005]]
    to_lab = [[0.2104542553, 0.7936177850, -0.0040720468], [1.9779984951, -2.4285922050, 0.4505937099]]
    to_lab += [[0.0259040371, 0.7827717662, -0.8086757660]]
    return np.cbrt(linear @ np.transpose(to_lms)) @ np.transpose(to_lab)
