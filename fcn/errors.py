"""Error messages: the nearest legal choice of a name, and the gist of others' errors."""

import difflib
from collections.abc import Iterable

_MANY = 40


def first_line(text: str) -> str:
    """What is quoted in a sentence of another's message, which may have many lines: the beginning of the first."""
    return text.splitlines()[0][:200].rstrip(".:; ")


def unknown(kind: str, given: object, allowed: Iterable[str]) -> ValueError:
    """The error for a name that is not among `allowed`, with the nearest: "unknown model 'unt'; did you mean 'unet'?".

    Args:
        kind: what the name stands for ("model", "encoder", "option of unet" ...).
        given: the name that was given.
        allowed: the names that exist; where none is near, all are listed, or the nearest of many.
    """
    allowed = sorted(allowed)
    text = str(given)
    longer = [name for name in allowed if text and name.startswith(text)][:5]
    shorter = [name for name in allowed if text.startswith(name)][-1:]
    near = longer or difflib.get_close_matches(text, allowed, n=1) or shorter
    if near:
        hint = f"did you mean {' or '.join(map(repr, near))}?"
    elif len(allowed) > _MANY:
        hint = f"the nearest of {len(allowed)} are {', '.join(difflib.get_close_matches(text, allowed, n=5, cutoff=0))}"
    else:
        hint = f"choose one of {', '.join(allowed) or 'none'}"
    return ValueError(f"unknown {kind} {given!r}; {hint}")
