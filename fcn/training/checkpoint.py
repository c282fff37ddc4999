"""Checkpoints of a run: the state and the data iterator together, written atomically in the background by Orbax.

`Checkpoints` writes; `newest_sound`, `best` and `restore` read, and leave the folder as it is: they may be called beside a
training. Each checkpoint has the SHA-256 of its files, by which damage is found.
"""

import contextlib
import errno
import hashlib
import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import jax
import numpy as np
import orbax.checkpoint as ocp
from jaxtyping import PyTree
from orbax.checkpoint.checkpoint_managers import preservation_policy

from fcn.errors import first_line
from fcn.training.best import BEST, rank

T = TypeVar("T")
STATE, PROGRESS, METRICS = "state", "progress", "metrics"
DIGESTS = "sha256.json"
MARK = "_CHECKPOINT_METADATA"
"""A file that Orbax puts in every checkpoint, and writes last; nothing is read from it."""
MARKS = (MARK, DIGESTS)
"""Either tells a checkpoint from a folder of someone else whose name is a number."""
_UNMARKED = {STATE, PROGRESS, METRICS, "commit_success.txt"}
"""What else a checkpoint holds."""
FURTHER_BYTES = 2**20
"""What a checkpoint may take on a disk besides its arrays."""
ASIDE = ".damaged"


class DamagedCheckpoint(ValueError):
    """A checkpoint is not what was written, or cannot be read."""


class Checkpoints:
    """Writes the checkpoints in one folder: the newest `keep`, and the best by a metric.

    A checkpoint appears under its final name only when it is complete; what a killed process left half-written is
    removed on the next start, before anything is written. As a context manager it closes itself, and lets an error through.

    Args:
      folder: where they lie, one subfolder a step.
      keep: how many of the newest to keep.
      best_metric: name of the metric by which the best checkpoint is chosen.
    """

    def __init__(self, folder: str | Path, *, keep: int = 2, best_metric: str = BEST):
        def value(metrics):
            return rank(best_metric, metrics.get(best_metric))

        def complete():  # all is written; the folder gets its final name next
            if jax.process_index() == 0:
                _write_digests(self._folder)

        policy = preservation_policy.AnyPreservationPolicy(
            [
                preservation_policy.LatestN(keep),
                preservation_policy.BestN(get_metric_fn=value, n=1, keep_checkpoints_without_metrics=False),
            ]
        )
        options = ocp.CheckpointManagerOptions(
            best_fn=value,
            best_mode="max",
            preservation_policy=policy,
            cleanup_tmp_directories=True,
            async_options=ocp.AsyncOptions(post_finalization_callback=complete),
        )
        self._folder = Path(folder).absolute()
        self._manager = ocp.CheckpointManager(self._folder, options=options)

    def __enter__(self) -> "Checkpoints":
        return self

    def __exit__(self, kind: type[BaseException] | None, *_) -> None:
        with contextlib.nullcontext() if kind is None else contextlib.suppress(Exception):
            self.close()

    def latest(self) -> int | None:
        """The newest complete step, or None."""
        return self._manager.latest_step()

    def save(self, step: int, state: PyTree, progress: dict, metrics: dict[str, float | None]) -> None:
        """Starts to write `state` and the JSON-able `progress` (data iterator, clock); returns once they are copied.

        Raises:
          OSError: this one or the one before could not be written, too little space is left for it, or one of this step or a
            later one is there.
          jax.errors.JaxRuntimeError: another process of the run is lost, or a device fails.
        """
        self._refuse_full_disk(state)
        items = ocp.args.Composite(**{STATE: ocp.args.StandardSave(state), PROGRESS: ocp.args.JsonSave(progress)})
        if not self._writing(lambda: self._manager.save(step, args=items, metrics=metrics)):
            raise OSError(f"step {step} was not written to {self._folder}: step {self.latest()} is there")

    def wait(self) -> None:
        """Returns when what was saved is on disk; raises as `save` does."""
        self._writing(self._manager.wait_until_finished)

    def close(self) -> None:
        """Waits, then lets go of the folder."""
        self._writing(self._manager.close)

    def _refuse_full_disk(self, state: PyTree) -> None:
        needed = sum(np.dtype(x.dtype).itemsize * x.size for x in jax.tree.leaves(state)) + FURTHER_BYTES
        free = shutil.disk_usage(self._folder).free
        if free < needed:
            megabytes = f"a checkpoint takes about {needed / 1e6:.1f} MB, but {free / 1e6:.1f} MB are left"
            raise OSError(f"{megabytes} where {self._folder} lies; earlier ones are kept")

    def _writing(self, action: Callable[[], T]) -> T:
        try:
            return action()
        except Exception as error:
            if isinstance(error, jax.errors.JaxRuntimeError) and os.strerror(errno.ENOSPC) not in str(error):
                raise
            message = f"a checkpoint could not be written to {self._folder} ({_gist(error)}); earlier ones are kept"
            raise OSError(message) from error


def steps(folder: Path) -> list[int]:
    """The steps of the complete checkpoints in `folder`, oldest first."""
    if not folder.is_dir():
        return []
    complete = (path for path in folder.iterdir() if path.name.isdecimal() and any((path / name).is_file() for name in MARKS))
    return sorted(int(path.name) for path in complete)


def half_removed(folder: Path) -> list[Path]:
    """What a kill left of checkpoints that were being removed: parts of one, without a mark, under a step's number."""
    if not folder.is_dir():
        return []
    left = (path for path in folder.iterdir() if path.name.isdecimal() and path.is_dir())
    return sorted(path for path in left if {part.name for part in path.iterdir()} <= _UNMARKED)


def newest_sound(folder: Path) -> tuple[int | None, list[str]]:
    """The newest step whose checkpoint is what was written, and a sentence for each newer one that is not.

    Raises:
      DamagedCheckpoint: there are checkpoints, and all are damaged.
    """
    damaged: list[str] = []
    known = steps(folder)
    for step in reversed(known):
        problem = damage(folder / str(step))
        if problem is None:
            return step, damaged
        if problem and (folder / str(step)).is_dir():  # a training that runs may have removed an old one meanwhile
            damaged.append(problem)
    if damaged:
        raise DamagedCheckpoint(f"{damaged[0]}; no other checkpoint is left: start afresh with --overwrite")
    return None, damaged


def best(folder: Path, metric: str = BEST) -> int | None:
    """The step of the checkpoint with the best `metric`, or None where no checkpoint has it; the newest of equals."""
    values = {}
    for step in steps(folder):
        try:
            value = json.loads((folder / str(step) / METRICS / METRICS).read_text()).get(metric)
        except (OSError, ValueError, AttributeError):  # none, or it has just been removed
            continue
        if value is not None:
            values[step] = value
    return max(values, key=lambda step: (rank(metric, values[step]), step), default=None)


def restore(folder: Path, step: int, template: PyTree, *, verify: bool = True) -> tuple[PyTree, dict[str, Any]]:
    """State and progress of `step`.

    Args:
      folder: the folder of the checkpoints.
      step: one of `steps(folder)`.
      template: the state in shapes, dtypes and shardings; what is NumPy there is NumPy in the result.
      verify: reads all files once more beforehand, to see whether they are what was written; `newest_sound` has done so.

    Raises:
      DamagedCheckpoint: the files are not what was written, or do not fit `template`.
    """
    path = folder.absolute() / str(step)
    if verify and (problem := damage(path)):
        raise DamagedCheckpoint(problem)
    handlers = {STATE: ocp.StandardCheckpointHandler(), PROGRESS: ocp.JsonCheckpointHandler()}
    abstract = ocp.args.StandardRestore(jax.tree.map(_abstract, template))
    items = ocp.args.Composite(**{STATE: abstract, PROGRESS: ocp.args.JsonRestore()})
    try:
        with ocp.Checkpointer(ocp.CompositeCheckpointHandler(**handlers)) as reader:
            restored = reader.restore(path, args=items)
    except Exception as error:
        cure = "move it away to go on from the one before"
        raise DamagedCheckpoint(f"{path} cannot be read or is of another network ({_gist(error)}); {cure}") from error
    return restored[STATE], restored[PROGRESS]


def set_aside(folder: Path, above: int) -> None:
    """Renames the checkpoints of later steps than `above`, which are damaged, so that their steps can be written again."""
    for step in steps(folder):
        if step > above:
            number = next(n for n in range(10**6) if not (folder / f"{step}{ASIDE}{n}").exists())
            (folder / str(step)).rename(folder / f"{step}{ASIDE}{number}")


def _write_digests(folder: Path) -> None:
    """Gives the checkpoint that is about to get its final name the SHA-256 of its files."""
    for path in folder.glob("*.orbax-checkpoint-tmp*"):
        digests = _digests(path)
        (path / DIGESTS).write_text(json.dumps(digests))


def damage(path: Path) -> str | None:
    """What is wrong with a checkpoint, in a sentence; None if nothing is, or if it is of a time without digests."""
    try:
        expected = json.loads((path / DIGESTS).read_text())
    except FileNotFoundError:
        return None
    except (OSError, ValueError):
        return f"checkpoint {path} is damaged: {DIGESTS} cannot be read"
    try:
        found = _digests(path)
    except OSError as error:
        return f"checkpoint {path} is damaged: {error}"
    if not isinstance(expected, dict) or not expected:
        return f"checkpoint {path} is damaged: {DIGESTS} holds no digests"
    wrong = sorted(name for name in expected if found.get(name) != expected[name])
    if not (path / MARK).is_file():
        wrong.append(MARK)
    return f"checkpoint {path} is damaged: {wrong[0]} is not what was written" if wrong else None


def _digests(path: Path) -> dict[str, str]:
    files = sorted(file for file in path.rglob("*") if file.is_file() and file.name not in (DIGESTS, MARK))
    return {file.relative_to(path).as_posix(): _sha256(file) for file in files}


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _gist(error: BaseException) -> str:
    text = str(error).strip() or type(error).__name__
    if (full := os.strerror(errno.ENOSPC)) in text:  # at the end of a long one
        return full
    return first_line(text)


def _abstract(x):
    if isinstance(x, np.ndarray | np.generic):
        return np.asarray(x)
    return jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=getattr(x, "sharding", None))
