"""Files and folders that get their name when they are whole, with the permissions that the umask gives."""

import contextlib
import os
import secrets
import shutil
from collections.abc import Iterator
from pathlib import Path


def draft_of(path: Path) -> Path:
    """A path beside `path` that nobody uses, hidden. What is made there obeys the umask (unlike what `tempfile` makes)."""
    return path.with_name(f".{path.name}-{secrets.token_hex(8)}")


@contextlib.contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """A draft that takes the place of the file `path` in the end; after an error it is removed, and the old file stays."""
    draft = draft_of(path)
    try:
        yield draft
        os.replace(draft, path)
    finally:
        draft.unlink(missing_ok=True)


@contextlib.contextmanager
def draft_folder(path: Path) -> Iterator[Path]:
    """A folder beside `path`, whose parents are made; what is not renamed to `path` in the end is removed."""
    path.parent.mkdir(parents=True, exist_ok=True)
    draft = draft_of(path)
    draft.mkdir()
    try:
        yield draft
    finally:
        shutil.rmtree(draft, ignore_errors=True)


def open_to_readers(file: Path) -> None:
    """Gives a file in a `draft_folder` the permissions of new files; safetensors writes private ones."""
    file.chmod(file.parent.stat().st_mode & 0o666)
