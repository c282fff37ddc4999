"""Images of 16 bits: all bits of gray and colour files, and the range of values that a set of images makes use of."""

import contextlib
import functools
import itertools
import math
import os
import sys
import threading
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
from jaxtyping import Int, Shaped, UInt8, UInt16
from PIL import Image
from PIL.ImageFile import ImageFile

from fcn.data.reading.arrays import array_kind, read_array
from fcn.data.reading.decode import Refused, opened, readable, signed, upright, white_is_zero

ValueRange = tuple[int | float, ...]
"""The stored values that become 0 and 255."""
WHOLE_RANGE: ValueRange = (0, 65535)
"""That of 16 bits, whatever their images make use of; given as itself it leaves that of floats and of 32 bits unknown."""
MODES = ("I", "I;16", "I;16L", "I;16B", "I;16N")
_AT_ONCE = 64
"""Files that are taken before they are counted; `map` takes all, which may be bytes."""
_SHARE = 1e-4
_OUTSIDE = 1e-2
"""The share of values outside the range that is no matter of noise."""
_OTHER_BYTE = {"B": "L", "L": "B", "N": "B" if sys.byteorder == "little" else "L"}


def is_deep(image: ImageFile) -> bool:
    """Whether an image that is not yet decoded has more than 8 bits a channel."""
    return image.mode in MODES or ";16" in raw_mode(image)


def raw_mode(image: ImageFile) -> str:
    """How the pixels lie in the file, in Pillow's words: "RGB;16B"."""
    arguments = image.tile[0].args if image.tile else ""
    return str(arguments[0] if isinstance(arguments, tuple) and arguments else arguments)


def refuse_unclear_depth(image: ImageFile) -> None:
    """Raise `Refused` for a deep image whose values mean something else than 0..65535 from black to white."""
    if not is_deep(image):
        return
    if image.mode == "I" and image.format not in ("PNG", "PPM"):
        kind = "signed" if signed(image) else "32-bit"
        raise Refused(f"{kind} integers, whose range is not known; save it with 8 or 16 bits a channel, unsigned")
    if white_is_zero(image):
        raise Refused("16 bits of which 0 is white (PhotometricInterpretation 0); save it with 0 as black")
    if raw_mode(image).startswith(("RGBa;16", "CMYK;16")):
        raise Refused(f"16-bit {image.mode} pixels are not read; save it as RGB without transparency")


def read_deep(image: ImageFile, file: str | Path | bytes) -> UInt16[np.ndarray, "h w *c"]:
    """The values of a deep image, upright: gray [h, w], gray with transparency [h, w, 2], or colour [h, w, 3 or 4].

    `file` is what `image` was opened from.
    """
    raw = raw_mode(image)
    if image.mode in MODES:
        return np.asarray(upright(image)).astype(np.uint16)
    if raw == "LA;16B":  # four bytes a pixel, read as if they were four channels
        pairs = np.asarray(upright(_read_as(image, "RGBA")))
        return _joined(pairs.reshape(*pairs.shape[:2], 2, 2), 0, 1)
    # Pillow decodes the upper byte of each channel; told that the bytes lie the other way round, it decodes the lower.
    upper = np.asarray(upright(image))
    with readable(file) as stream, Image.open(stream) as again:
        lower = np.asarray(upright(_read_as(again, raw[:-1] + _OTHER_BYTE[raw[-1]])))
    return _joined(np.stack([upper, lower], -1), 0, 1)


def _joined(pairs: UInt8[np.ndarray, "..."], upper: int, lower: int) -> UInt16[np.ndarray, "..."]:
    return (pairs[..., upper].astype(np.uint16) << 8) | pairs[..., lower]


def _read_as(image: ImageFile, raw: str) -> ImageFile:
    def changed(arguments):
        return (raw, *arguments[1:]) if isinstance(arguments, tuple) else raw

    image.tile = [tile._replace(args=changed(tile.args)) for tile in image.tile]
    return image


def to_bytes(values: Shaped[np.ndarray, "..."], value_range: ValueRange | None) -> UInt8[np.ndarray, "..."]:
    """Values as 0..255: those of `value_range` (default: 0..65535) linearly, what lies outside as 0 or 255, NaN as 0.

    Bytes stay as they are.
    """
    low, high = value_range or WHOLE_RANGE
    if values.dtype == np.uint8:
        return values
    if values.dtype == np.uint16:
        return _table(low, high)[values]
    exact = values.astype(np.float32 if values.dtype.kind == "f" else np.float64)
    return np.clip(np.rint(np.nan_to_num((exact - low) * (255 / (high - low)))), 0, 255).astype(np.uint8)


@functools.lru_cache(maxsize=8)
def _table(low: int | float, high: int | float) -> UInt8[np.ndarray, "65536"]:
    return np.clip(np.rint((np.arange(65536) - low) * (255 / (high - low))), 0, 255).astype(np.uint8)


def checked_range(value_range: ValueRange) -> ValueRange:
    """`value_range` itself.

    Raises:
        ValueError: it is not two finite numbers, the smaller first.
    """
    if len(value_range) != 2 or not (np.isfinite(value_range).all() and value_range[0] < value_range[1]):
        raise ValueError(f"value_range is {value_range}; give the stored values of black and white, such as (0, 4095)")
    return float(value_range[0]), float(value_range[1])


def find_range(files: Iterable[str | Path | bytes], pages: bool = False) -> ValueRange | None:
    """The range of values that images of more than 8 bits make use of; None for 0..65535, or if there are none.

    Of 16 bits it ends at the largest number of as many bits as hold all values but the largest ten-thousandth (hot pixels), so
    that data of 12 bits give (0, 4095). It begins at 0, or, where all values but the smallest ten-thousandth lie in the upper
    half, there. Of other types (floats, negative numbers) it holds all but the extreme ten-thousandths of each image, and is
    (0, 1) where these lie within and reach beyond a half.

    Args:
        files: of the images.
        pages: the pages of TIFF files are channels.
    """
    total, spans = _look_through(files, pages)
    if not spans:
        return _range_of(total) if total.any() else None
    if total.any():
        spans.append(_range_of(total) or WHOLE_RANGE)
    low, high = min(low for low, _ in spans), max(high for _, high in spans)
    if low >= 0 and 0.5 < high <= 1:
        return 0.0, 1.0
    low = 0.0 if 0 <= low < high / 2 else low
    return low, high if low < high else low + 1


def _look_through(files: Iterable[str | Path | bytes], pages: bool) -> tuple[Int[np.ndarray, "65536"], list[ValueRange]]:
    """How often each 16-bit value occurs, and the span of each image of another type."""
    total, spans, files = np.zeros(65536, np.int64), [], iter(files)
    with ThreadPoolExecutor(min(8, os.cpu_count() or 1)) as pool:
        while some := list(itertools.islice(files, _AT_ONCE)):
            for found in pool.map(functools.partial(_look, pages=pages), some):
                if isinstance(found, tuple):
                    spans.append(found)
                elif found is not None:
                    total += found
    return total, spans


def exposure(file: str | Path | bytes, pages: bool = False) -> ValueRange | None:
    """The range that one image makes use of, 0..65535 included; None for an image of 8 bits. `pages` as in `find_range`."""
    return None if _look(file, pages) is None else find_range([file], pages) or WHOLE_RANGE


class SetRange:
    """The range of a set of images: the one that is given, or that found (once, when it is first asked for) in some files."""

    def __init__(self, given: ValueRange | None, files: Callable[[], Iterable[str | Path | bytes]], pages: bool = False):
        self._files, self._pages, self._lock, self._given = files, pages, threading.Lock(), given is not None
        self._known = self._given
        self._range = None if given is None or given is WHOLE_RANGE else checked_range(given)

    def get(self) -> ValueRange | None:
        """The stored values that become 0 and 255; None: 0 and 65535 of 16 bits, or no image has more than 8."""
        with self._lock:
            if not self._known:
                self._range, self._known = find_range(self._files(), self._pages), True
        return self._range

    def remark(self) -> str:
        """What a user should know of it: which one was found, or how much lies outside one that was given."""
        found = self.get()
        if self._given:
            return "" if found is None else self._outside(found)
        return "" if found is None else "stored values {:g}..{:g} are read as black..white".format(*found)

    def _outside(self, value_range: ValueRange) -> str:
        low, high = value_range
        counts, _ = _look_through(self._files(), self._pages)
        first, end = max(0, math.ceil(low)), max(0, math.floor(high) + 1)
        dark, bright = (counts[:first].sum(), counts[end:].sum()) / counts.sum().clip(1)
        parts = [f"{share:.1%} are {where}" for share, where in ((dark, "black"), (bright, "white")) if share > _OUTSIDE]
        shares = " and ".join(parts)
        return f"of the stored values {shares}, because they lie outside {low:g}..{high:g}" if parts else ""


def _look(file: str | Path | bytes, pages: bool = False) -> Int[np.ndarray, "65536"] | ValueRange | None:
    """How often each value occurs in an image of 16 bits, the span of one of another type, or None.

    Images of 8 bits are not decoded; what is wrong with one that cannot be read is told to whoever reads it.
    """
    with contextlib.suppress(ValueError, OSError):
        if isinstance(file, bytes) or array_kind(file, pages) is None:
            return _count(file)
        values = read_array(file, pages=pages)
        return _count_values(values) if values.dtype == np.uint16 else _span(values)
    return None


def _span(values: Shaped[np.ndarray, "h w c"]) -> ValueRange | None:
    """The least and the greatest value without the extreme ten-thousandths; of a large image every so many a value counts."""
    if values.dtype == np.uint8:
        return None
    some = values.ravel()[:: max(1, values.size // 2**20)].astype(np.float64)
    some = some[np.isfinite(some)]
    return (float(np.quantile(some, _SHARE)), float(np.quantile(some, 1 - _SHARE))) if some.size else None


def _count(file: str | Path | bytes) -> Int[np.ndarray, "65536"] | None:
    """How often each value occurs in a picture, or None for one of 8 bits, which is not decoded."""
    with opened(file) as image:
        if not is_deep(image):
            return None
        refuse_unclear_depth(image)
        values = read_deep(image, file)
    if values.ndim == 3 and values.shape[2] in (2, 4):  # transparency is no value
        values = values[..., :-1]
    return _count_values(values)


def _count_values(values: UInt16[np.ndarray, "..."]) -> Int[np.ndarray, "65536"]:
    return np.bincount(values.ravel(), minlength=65536)


def _range_of(counts: Int[np.ndarray, "65536"]) -> ValueRange | None:
    shares = np.cumsum(counts) / counts.sum()
    smallest, largest = (int(np.searchsorted(shares, share)) for share in (_SHARE, 1 - _SHARE))
    high = max(2 ** largest.bit_length() - 1, 1)
    low = smallest if high / 2 < smallest < high else 0
    return None if (low, high) == WHOLE_RANGE else (float(low), float(high))
