"""Pictures and arrays as files that are whole, or not there."""

import os
from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
from PIL import Image

from fcn.draft import draft_of

Picture = Image.Image | np.ndarray | str | Callable[[], str]
"""What is written to a file: a picture, an array, or text, or what makes the text."""


def save_pictures(pictures: Mapping[Path, Picture], *, level: int = 6) -> None:
    """Writes files, each in one piece: a kill, or a disk that is full, leaves the old files or the new ones.

    They take their places together, in the order that is given, once all are written.

    Args:
      pictures: the files and what is to be in them: arrays where they end in .npy; numbers of objects, uint16 or int32 [H, W],
        where they end in .tif; text, or what makes it; else PNG pictures, uint8.
      level: of compression, 0 to 9; 1 takes a quarter of the time of 6, and a photo is a fifth larger.

    Raises:
      OSError: one cannot be written; the message names it.
    """
    drafts = {path: draft_of(path) for path in pictures}
    try:
        for path, draft in drafts.items():
            _write(pictures[path], path, draft, level)
        for path, draft in drafts.items():
            os.replace(draft, path)
    except OSError as error:
        told = OSError(f"{path} cannot be written: {error.strerror or error}")
        told.errno = error.errno
        raise told from None
    finally:
        for draft in drafts.values():
            draft.unlink(missing_ok=True)


def _write(picture: Picture, path: Path, draft: Path, level: int) -> None:
    made = picture() if callable(picture) else picture
    if isinstance(made, str):
        draft.write_text(made, encoding="utf-8", newline="")
    elif path.suffix == ".npy":
        with open(draft, "wb") as file:  # given a name, NumPy would add an ending to it
            np.save(file, np.asarray(made), allow_pickle=False)
    else:
        image = Image.fromarray(made) if isinstance(made, np.ndarray) else made
        known = {"format": "TIFF", "compression": "tiff_adobe_deflate"} if path.suffix == ".tif" else {"format": "PNG"}
        image.save(draft, **known, compress_level=level)
