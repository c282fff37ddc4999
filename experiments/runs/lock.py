"""One training at a time in a run folder, by a lock of the operating system, which a killed process leaves open."""

import os
import socket
from pathlib import Path

from experiments import command

try:
    import fcntl
except ImportError:  # not a POSIX system
    fcntl = None

NAME = ".fcn-lock"
"""The file that is locked. It stays, so that all lock the same one, and says who locked it last."""


class FolderLock:
    """A lock on a folder, held until `release` or the end of the process.

    Where the file system, or the system, has no locks, a sentence on stderr says so and nothing is locked.
    """

    def __init__(self, folder: Path):
        self._path, self._file = folder / NAME, None

    @property
    def held(self) -> bool:
        return self._file is not None

    def release(self) -> None:
        if self._file is not None:
            self._file.close()
            self._file = None

    def acquire_if_there(self) -> None:
        """Locks the folder if it has been locked before: nothing is made in a folder that may be another program's.

        One that may only be read is not locked: its result can be asked for.
        """
        if self._path.is_file() and os.access(self._path, os.W_OK):
            self.acquire()

    def acquire(self) -> None:
        """Locks the folder, which is made if it is not there; nothing happens if this object holds the lock.

        Raises:
          BlockingIOError: another process holds it; the message says which, and on which host.
        """
        if self.held:
            return
        self._path.parent.mkdir(parents=True, exist_ok=True)
        file = self._path.open("a+")
        try:
            self._lock(file)
        except BaseException:
            file.close()
            raise
        self._file = file
        file.truncate(0)
        file.write(f"process {os.getpid()} on {socket.gethostname()}")
        file.flush()

    def _lock(self, file) -> None:
        try:
            if fcntl is None:
                raise OSError("this system has no file locks")
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except (BlockingIOError, PermissionError):
            file.seek(0)
            holder = file.read() or "another process"
            message = f"{self._path.parent} is in use by {holder}; wait for its end, or choose another --workdir"
            raise BlockingIOError(message) from None
        except OSError as error:
            command.warn(f"{self._path.parent} is not locked ({error}): start no second training there")
