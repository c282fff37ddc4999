"""Text of others (names of classes, of files) where people read it: no control characters, cut to a width, aligned."""

import unicodedata
from collections.abc import Callable, Sequence

_JOINERS = "\u200c\u200d"
"""Between letters and emoji: they belong to words, and move nothing."""


def printable(text: str) -> str:
    r"""`text` with `\x1b`, `\n`, `\u202e` ... in place of what would move, colour or reorder other text, or shows nothing.

    Letters of any script, spaces and emoji stay as they are.
    """
    return "".join(char if _is_visible(char) else char.encode("unicode_escape").decode() for char in text)


def _is_visible(char: str) -> bool:
    return char.isprintable() or char in _JOINERS or unicodedata.category(char) == "Zs"


def columns(text: str) -> int:
    """How many columns of a terminal `text` takes: two for each wide character (Chinese, emoji), none for marks on others."""
    return sum(map(_columns, text))


def _columns(char: str) -> int:
    if unicodedata.category(char) in ("Mn", "Me", "Cf"):
        return 0
    return 2 if unicodedata.east_asian_width(char) in "WF" else 1


def cut(text: str, room: int | float, measure: Callable[[str], int | float] = columns) -> str:
    """`text`, or as much of its beginning as fits with an ellipsis.

    Args:
        text: of any length.
        room: how wide the result may be; the ellipsis alone is the least.
        measure: the width of a text, in the unit of `room`; columns of a terminal by default.
    """
    if measure(text) <= room:
        return text
    fits, too_long = 0, len(text)  # numbers of characters
    while too_long - fits > 1:
        middle = (fits + too_long) // 2
        if measure(text[:middle] + "…") <= room:
            fits = middle
        else:
            too_long = middle
    return text[:fits].rstrip() + "…"


def join(items: Sequence[str], room: int) -> str:
    """The items with commas between them; where they are wider than `room` columns, an ellipsis stands for the last ones."""
    whole = ", ".join(items)
    if columns(whole) <= room:
        return whole
    shorter = (", ".join([*items[:count], "…"]) for count in reversed(range(1, len(items))))
    return next((line for line in shorter if columns(line) <= room), cut(whole, room))


def pad(text: str, room: int) -> str:
    """`text` with spaces behind it, `room` columns wide."""
    return text + " " * (room - columns(text))


def short_name(text: str, room: int = 40) -> str:
    """A name in a line or a table of a terminal: printable, and cut to `room` columns."""
    return cut(printable(text[: 4 * room]), room)
