"""Where records go besides the run's own files: services that track experiments, whose packages are extras."""

import abc
import importlib
import math
import re
import uuid
import warnings
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from fcn.errors import first_line
from fcn.training.protocols import Pictures, Recorder
from fcn.training.records import read_json, write_json


class Several:
    """Writes to all of `writers`."""

    def __init__(self, writers: Sequence[Recorder]):
        self._writers = writers

    def write(self, step: int, values: dict[str, float | None]) -> None:
        """Passes the record on."""
        for writer in self._writers:
            writer.write(step, values)

    def show(self, step: int, pictures: Pictures) -> None:
        """Passes the pictures on."""
        for writer in self._writers:
            writer.show(step, pictures)


class Tracker(abc.ABC):
    """A service in a `with` statement. What goes wrong with it there is told once, by a warning, and ends no training."""

    identity: str
    """What the run is called there."""
    _warned = False

    def __enter__(self) -> "Tracker":
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        self._attempt(lambda: self._end(failed=kind is not None))

    def write(self, step: int, values: dict[str, float | None]) -> None:
        """Logs the values that are finite."""
        finite = {name: value for name, value in values.items() if value is not None and math.isfinite(value)}
        self._attempt(lambda: self._log(step, finite))

    def show(self, step: int, pictures: Pictures) -> None:
        """Logs the pictures."""
        self._attempt(lambda: self._log_pictures(step, pictures))

    def _attempt(self, action: Callable[[], None]) -> None:
        try:
            action()
        except Exception as error:
            if not self._warned:
                what = first_line(repr(error))
                warnings.warn(f"the tracker does not get all records ({what}); the run's own files do", stacklevel=3)
            self._warned = True

    @abc.abstractmethod
    def _log(self, step: int, values: dict[str, float]) -> None: ...

    @abc.abstractmethod
    def _log_pictures(self, step: int, pictures: Pictures) -> None: ...

    @abc.abstractmethod
    def _end(self, *, failed: bool) -> None: ...


class Wandb(Tracker):
    """Weights & Biases. Records of steps that it has already, which a run writes again after a kill, it leaves out.

    Args:
      name: of the run.
      config: what it is configured with, by names with dots.
      identity: that of a run to go on with; None begins one.
    """

    def __init__(self, name: str, config: Mapping[str, Any], identity: str | None):
        self.identity = identity or uuid.uuid4().hex
        self._run = load("wandb").init(project="fcn", name=name, id=self.identity, resume="allow", config=dict(config))

    def _log(self, step: int, values: dict[str, float]) -> None:
        self._run.log(values, step=step)

    def _log_pictures(self, step: int, pictures: Pictures) -> None:
        image = load("wandb").Image
        self._run.log({name: image(picture) for name, picture in pictures.items()}, step=step)

    def _end(self, *, failed: bool) -> None:
        self._run.finish(exit_code=int(failed))


class MLflow(Tracker):
    """MLflow, at the address that MLFLOW_TRACKING_URI names, where a run keeps its first `config`. Arguments: see `Wandb`."""

    def __init__(self, name: str, config: Mapping[str, Any], identity: str | None):
        self._mlflow = load("mlflow")
        run = self._mlflow.start_run(run_id=identity) if identity else self._mlflow.start_run(run_name=name)
        self.identity = run.info.run_id
        if identity is None:  # it refuses others
            self._mlflow.log_params({key: str(value)[:500] for key, value in config.items()})

    def _log(self, step: int, values: dict[str, float]) -> None:
        self._mlflow.log_metrics({_allowed(name): value for name, value in values.items()}, step=step)

    def _log_pictures(self, step: int, pictures: Pictures) -> None:
        for name, picture in pictures.items():
            self._mlflow.log_image(picture, key=_allowed(name), step=step)

    def _end(self, *, failed: bool) -> None:
        self._mlflow.end_run("FAILED" if failed else "FINISHED")


def _allowed(name: str) -> str:
    """Characters that names may not have in MLflow become underscores."""
    return re.sub(r"[^\w\-. :/]", "_", name)


TRACKERS = {"wandb": Wandb, "mlflow": MLflow}
_CURE = "delete it, and the run gets a new one in the tracker"


def load(name: str) -> Any:
    """The package of a tracker.

    Raises:
      ImportError: it is not installed.
    """
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError:
        raise ImportError(f"--tracker {name} needs a package that is not installed: pip install {name}") from None


def open_tracker(kind: str, note: Path, name: str, config: Mapping[str, Any]) -> Tracker:
    """The tracker of a run, which goes on where it was if the run does.

    Args:
      kind: one of `TRACKERS`.
      note: a JSON file beside the run, which keeps what the run is called there.
      name, config: see `Wandb`.

    Raises:
      DamagedFile: the JSON file is no such one.
    """
    known = read_json(note, _CURE) if note.is_file() else {}
    tracker = TRACKERS[kind](name, config, known.get(kind))
    write_json(note, {**known, kind: tracker.identity})
    return tracker
