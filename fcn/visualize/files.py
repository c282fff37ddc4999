"""Pictures as PNG files that are whole, or not there."""

import os
from collections.abc import Mapping
from pathlib import Path

import numpy as np
from PIL import Image

from fcn.draft import draft_of


def indexed(pixels: np.ndarray, palette: np.ndarray) -> Image.Image:
    """uint8 class numbers [H, W] that a viewer shows in the colours of a uint8 palette [K, 3]."""
    picture = Image.fromarray(pixels)
    picture.putpalette(palette.tobytes())
    return picture


def save_pictures(pictures: Mapping[Path, Image.Image], *, level: int = 6) -> None:
    """Writes PNG files, each in one piece: a kill, or a disk that is full, leaves the old files or the new ones.

    They take their places together, in the order that is given, once all are written.

    Args:
      pictures: the files and what is to be in them.
      level: of compression, 0 to 9; 1 takes a quarter of the time of 6, and a photo is a fifth larger.

    Raises:
      OSError: one cannot be written; the message names it.
    """
    drafts = {path: draft_of(path) for path in pictures}
    try:
        for path, draft in drafts.items():
            pictures[path].save(draft, format="PNG", compress_level=level)
        for path, draft in drafts.items():
            os.replace(draft, path)
    except OSError as error:
        told = OSError(f"{path} cannot be written: {error.strerror or error}")
        told.errno = error.errno
        raise told from None
    finally:
        for draft in drafts.values():
            draft.unlink(missing_ok=True)
