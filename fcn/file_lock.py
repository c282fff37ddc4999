"""One call at a time at a file, by a lock of the operating system, which a killed process leaves open."""

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path
from typing import IO

try:
    import fcntl
except ImportError:  # not a POSIX system
    fcntl = None


@contextlib.contextmanager
def locked(path: Path) -> Iterator[None]:
    """Holds a lock for who writes `path`, in a hidden file beside it that is removed in the end.

    Where the system, or the file system, has no locks, nothing is locked.

    Raises:
        BlockingIOError: another call holds it, of this process or of another one.
    """
    file = path.with_name(f".{path.name}.lock")
    handle = None
    try:
        handle = _acquired(file)
        yield
    except BlockingIOError as error:
        if handle is not None:
            raise
        raise BlockingIOError(f"{path} is being written by another call; wait for its end, or give another name") from error
    finally:
        if handle is not None:
            file.unlink(missing_ok=True)
            handle.close()


def _opened(file: Path) -> IO:
    """The file, which is made if there is none; that of another user may only be read."""
    try:
        return file.open("a")
    except PermissionError:
        if not file.exists():
            raise
        return file.open()


def _acquired(file: Path) -> IO | None:
    """The file, locked: the one that has its name, and not one that another call has removed meanwhile."""
    while fcntl is not None:
        handle = _opened(file)
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            with contextlib.suppress(FileNotFoundError):
                if os.path.samestat(os.fstat(handle.fileno()), file.stat()):
                    return handle
        except BlockingIOError:
            handle.close()
            raise
        except OSError:  # a file system without locks
            handle.close()
            file.unlink(missing_ok=True)
            return None
        handle.close()
    return None
