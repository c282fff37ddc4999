"""Where records go besides the run's own files: services that track experiments, whose packages are extras."""

import importlib
import json
import re
import uuid
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

from fcn.training.protocols import Recorder
from fcn.training.records import write_json


class Writer(Recorder, Protocol):
    """What a tracker must have: `write`, as `fcn.training.records.Records` has it, and `close`."""

    def close(self) -> None: ...


class Several:
    """Writes to all of `writers`."""

    def __init__(self, writers: Sequence[Writer]):
        self._writers = writers

    def write(self, step: int, values: dict[str, float | None]) -> None:
        """Passes the record on."""
        for writer in self._writers:
            writer.write(step, values)

    def close(self) -> None:
        for writer in self._writers:
            writer.close()


class Wandb:
    """Weights & Biases. Records of steps that it has already, which a run writes again after a kill, it leaves out.

    Args:
      name: of the run.
      config: what it is configured with, by names with dots.
      identity: that of a run to go on with; None begins one.
    """

    def __init__(self, name: str, config: Mapping[str, Any], identity: str | None):
        self.identity = identity or uuid.uuid4().hex
        self._run = load("wandb").init(project="fcn", name=name, id=self.identity, resume="allow", config=dict(config))

    def write(self, step: int, values: dict[str, float | None]) -> None:
        """Logs the values that are defined."""
        self._run.log(_defined(values), step=step)

    def close(self) -> None:
        self._run.finish()


class MLflow:
    """MLflow, at the address that MLFLOW_TRACKING_URI names. Arguments: see `Wandb`."""

    def __init__(self, name: str, config: Mapping[str, Any], identity: str | None):
        self._mlflow = load("mlflow")
        run = self._mlflow.start_run(run_id=identity) if identity else self._mlflow.start_run(run_name=name)
        self.identity = run.info.run_id
        self._mlflow.log_params({key: str(value)[:500] for key, value in config.items()})

    def write(self, step: int, values: dict[str, float | None]) -> None:
        """Logs the values that are defined; characters that names may not have there become underscores."""
        self._mlflow.log_metrics(
            {re.sub(r"[^\w\-. :/]", "_", name): value for name, value in _defined(values).items()}, step=step
        )

    def close(self) -> None:
        self._mlflow.end_run()


TRACKERS = {"wandb": Wandb, "mlflow": MLflow}


def load(name: str) -> Any:
    """The package of a tracker.

    Raises:
      ImportError: it is not installed.
    """
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError:
        raise ImportError(f"--tracker {name} needs a package that is not installed: pip install {name}") from None


def open_tracker(kind: str, note: Path, name: str, config: Mapping[str, Any]) -> Wandb | MLflow:
    """The tracker of a run, which goes on where it was if the run does.

    Args:
      kind: one of `TRACKERS`.
      note: a JSON file beside the run, which keeps what the run is called there.
      name, config: see `Wandb`.
    """
    known = json.loads(note.read_text()) if note.is_file() else {}
    tracker = TRACKERS[kind](name, config, known.get(kind))
    write_json(note, {**known, kind: tracker.identity})
    return tracker


def _defined(values: Mapping[str, float | None]) -> dict[str, float]:
    return {name: value for name, value in values.items() if value is not None}
