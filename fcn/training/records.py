"""What a run writes down as it goes: `metrics.jsonl` always, TensorBoard events beside it."""

import functools
import json
import math
import os
from pathlib import Path
from typing import Any


def write_json(path: Path, value: Any) -> None:
    """Writes `value` to `path` in one piece: a reader sees the old file or the new one, never half of it."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    temporary.write_text(json.dumps(value, indent=2) + "\n")
    os.replace(temporary, path)


def read_records(path: Path) -> list[dict[str, Any]]:
    """The complete lines of a `metrics.jsonl`; a last line that was cut off by a kill is left out."""
    if not path.exists():
        return []
    return [json.loads(line) for line in path.read_text().splitlines(keepends=True) if line.endswith("\n")]


class Records:
    """Appends records to `metrics.jsonl` and, where a folder is given, to TensorBoard.

    Args:
      path: the `metrics.jsonl` file.
      last_step: records of later steps, which a killed run wrote after its last checkpoint, are dropped: they will come
        again.
      tensorboard: folder of the event files, or None.
    """

    def __init__(self, path: Path, *, last_step: int, tensorboard: Path | None = None):
        kept = [record for record in read_records(path) if record["step"] <= last_step]
        temporary = path.with_name(f".{path.name}.{os.getpid()}")
        temporary.write_text("".join(json.dumps(record) + "\n" for record in kept))
        os.replace(temporary, path)
        self._file = path.open("a")
        self._tensorboard, self._kept = tensorboard, kept

    @functools.cached_property
    def _board(self):
        """Made for the first record: tensorboardX loads PyTorch where that is installed, which takes seconds."""
        from tensorboardX import SummaryWriter

        # Events of earlier starts, of which a kill may have lost some, are hidden and written again.
        board = SummaryWriter(str(self._tensorboard), flush_secs=1, purge_step=0 if self._kept else None)
        for record in self._kept:
            _add_scalars(board, record["step"], record)
        return board

    def write(self, step: int, values: dict[str, float | None]) -> None:
        """Appends `{"step": step, **values}`; undefined values (None, NaN) are null. It survives a kill."""
        numbers = {name: None if value is None or math.isnan(value) else value for name, value in values.items()}
        self._file.write(json.dumps({"step": step, **numbers}) + "\n")
        self._file.flush()
        if self._tensorboard is not None:
            _add_scalars(self._board, step, numbers)

    def close(self) -> None:
        self._file.close()
        if "_board" in vars(self):
            self._board.close()


def _add_scalars(board, step: int, values: dict[str, Any]) -> None:
    for name, value in values.items():
        if value is not None and name != "step":
            board.add_scalar(name, value, step)


class Silent:
    """Writes nothing: the records of every process but the first."""

    def write(self, step: int, values: dict[str, float]) -> None:
        pass

    def close(self) -> None:
        pass
