"""Fonts for names in any script."""

import functools
from collections.abc import Iterator
from pathlib import Path

from fcn.text import printable

_SHOW_NOTHING = {0x200C, 0x200D, *range(0xFE00, 0xFE10)}
"""Joiners and variation selectors: a font need not have them."""
_LONGEST = 500
"""Characters: more fit into no picture of ours."""


@functools.lru_cache(1024)
def drawable(text: str) -> tuple[str, str | None]:
    r"""What a picture shows of a text, and the file of a font that has all its characters.

    The file is None for ASCII, which every font has. Where no font has them all, they become escapes: `\u8def`.
    """
    text = printable(text[:_LONGEST])
    if text.isascii():
        return text, None
    needed = {ord(char) for char in text + "…"} - _SHOW_NOTHING
    if path := next((path for path in _files() if needed <= _characters(path)), None):
        return text, path
    return text.encode("ascii", "backslashreplace").decode(), None


def _files() -> Iterator[str]:
    """DejaVu Sans, which matplotlib brings along, then the fonts of this machine, upright and regular ones first."""
    import matplotlib

    yield str(Path(matplotlib.get_data_path(), "fonts", "ttf", "DejaVuSans.ttf"))
    yield from _installed()


@functools.cache
def _installed() -> list[str]:
    from matplotlib.font_manager import fontManager

    fonts = sorted((font.style != "normal", font.weight != 400, font.fname) for font in fontManager.ttflist)
    return [path for *_, path in fonts if "LastResort" not in path]  # which has a box for every character


@functools.cache
def _characters(path: str) -> frozenset[int]:
    """The characters that a font file can draw; none where it cannot be read or has no outlines."""
    from matplotlib.ft2font import FT2Font

    try:
        font = FT2Font(path)
    except (OSError, RuntimeError):
        return frozenset()
    return frozenset(font.get_charmap()) if font.scalable else frozenset()
