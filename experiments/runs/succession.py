"""One run follows another in a folder, and a kill at any moment loses nothing.

With --overwrite the old run is set aside, moved to a folder in the folder, config.json last, until the new one has a
checkpoint. If the new one ends before that, the old one comes back, config.json first. So where its config.json lies tells what
is whose:

  set aside       all of the old run lies there, and all that lies outside is the new run's
  not set aside   whatever is set aside goes back: a kill came while it was moved, and there is no new run
"""

import os
import shutil
from collections.abc import Iterable
from pathlib import Path

from experiments.configuration.config import TrainConfig, to_json
from experiments.runs.lock import FolderLock
from experiments.runs.run_folder import ASIDE, RunFolder
from fcn.training.checkpoint import Checkpoints, half_removed
from fcn.training.records import write_json

REMOVED = ".fcn-removed"


class Succession:
    """A `with` statement around a training in `folder`: it is the only one there, and one run is left at the end."""

    def __init__(self, folder: RunFolder):
        self._folder, self._lock = folder, FolderLock(folder.path)

    def __enter__(self):
        self._lock.acquire_if_there()
        self._settle()
        return self

    def __exit__(self, *_):
        self._settle()
        self._lock.release()

    def begin(self, config: TrainConfig) -> None:
        """Makes `folder` that of a new run of `config`, or leaves the one that goes on there as it is until `go_on`.

        Raises:
          FileExistsError: it holds something else; see `RunFolder.refuse_other`.
          BlockingIOError: another training uses it.
        """
        self._lock.acquire()
        self._settle()
        self._folder.refuse_other(config)
        if config.overwrite:
            set_aside(self._folder)
        elif not self._folder.is_kept():
            clear(self._folder)
        else:
            _remove(self._folder, half_removed(self._folder.checkpoints))
            return
        write_json(self._folder.config, to_json(config))

    def go_on(self, config: TrainConfig) -> None:
        """Makes the run that goes on one of `config`, which may have more steps; it is not finished then."""
        self._folder.result.unlink(missing_ok=True)
        write_json(self._folder.config, to_json(config))

    def _settle(self) -> None:
        if self._lock.held:
            settle(self._folder)


class SucceedingCheckpoints(Checkpoints):
    """Those of a run that may have set another one aside, which ends when the first is on disk."""

    def __init__(self, folder: RunFolder, **options):
        super().__init__(folder.checkpoints, **options)
        self._run = folder

    def save(self, *args) -> None:
        super().save(*args)
        if (self._run.path / ASIDE).is_dir():
            self.wait()
            settle(self._run)


def set_aside(folder: RunFolder) -> None:
    """Moves the run in `folder` aside."""
    _move(folder.files(), folder.path, folder.path / ASIDE)


def clear(folder: RunFolder) -> None:
    """Removes the run in `folder`, all but its config.json."""
    _remove(folder, (path for path in folder.files() if path != folder.config))


def settle(folder: RunFolder) -> None:
    """Leaves one run in `folder`: the new one if it has a checkpoint or none was set aside, else that one."""
    shutil.rmtree(folder.path / REMOVED, ignore_errors=True)
    old = RunFolder(folder.path / ASIDE)
    if not old.path.is_dir():
        return
    if old.config.is_file() and folder.has_checkpoint():
        os.replace(old.path, folder.path / REMOVED)
        shutil.rmtree(folder.path / REMOVED, ignore_errors=True)
        return
    if old.config.is_file():
        clear(folder)
        os.replace(old.config, folder.config)
    _move(old.files(), old.path, folder.path)
    shutil.rmtree(old.path)


def _remove(folder: RunFolder, paths: Iterable[Path]) -> None:
    _move(paths, folder.path, folder.path / REMOVED)
    shutil.rmtree(folder.path / REMOVED, ignore_errors=True)


def _move(paths: Iterable[Path], source: Path, target: Path) -> None:
    for path in list(paths):
        place = target / path.relative_to(source)
        place.parent.mkdir(parents=True, exist_ok=True)
        os.replace(path, place)
