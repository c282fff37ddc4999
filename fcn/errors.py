"""Error messages that name the nearest legal choice."""

import difflib
from collections.abc import Iterable


def unknown(kind: str, given: object, allowed: Iterable[str]) -> ValueError:
    """The error for a name that is not among `allowed`, with the nearest one: "unknown model 'unt'; did you mean 'unet'?".

    Args:
        kind: what the name stands for ("model", "encoder", "option of unet" ...).
        given: the name that was given.
        allowed: the names that exist; all are listed where none is near.
    """
    allowed = sorted(allowed)
    near = difflib.get_close_matches(str(given), allowed, n=1)
    hint = f"did you mean {near[0]!r}?" if near else f"choose one of {', '.join(allowed) or 'none'}"
    return ValueError(f"unknown {kind} {given!r}; {hint}")
