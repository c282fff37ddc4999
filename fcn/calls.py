"""Options as they are written behind a name on a command line: "gamma=3,axes=[1,2]" in "focal(gamma=3,axes=[1,2])"."""

import json
import re
from collections.abc import Collection
from typing import Any

from fcn.errors import unknown


def read_options(name: str, text: str, known: Collection[str]) -> dict[str, Any]:
    """ "gamma=3,axes=[1,2]" -> {"gamma": 3, "axes": [1, 2]}.

    Args:
        name: whose options they are, for messages.
        text: OPTION=VALUE with commas between; values are JSON, or else a word.
        known: the options that there are.

    Raises:
        ValueError: for what is not of this form, for an option that is not known, and for one that is given twice.
    """
    options = {}
    for piece in re.split(r",(?![^\[]*\])", text) if text else []:
        key, equals, value = piece.partition("=")
        if not equals or not value:
            raise ValueError(f"{piece!r} is no option of {name!r}; write OPTION=VALUE")
        if key not in known:
            raise unknown(f"option of {name}", key, known)
        if key in options:
            raise ValueError(f"{key} of {name} is given more than once")
        try:
            options[key] = json.loads(value)
        except json.JSONDecodeError:
            options[key] = value
    return options
