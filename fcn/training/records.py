"""What a run writes down as it goes: `metrics.jsonl` always, TensorBoard events beside it."""

import contextlib
import functools
import json
import math
import os
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from types import NoneType
from typing import Any

from fcn.ranges import abbreviate
from fcn.training.protocols import Pictures


def write_json(path: Path, value: object) -> None:
    """Writes `value` to `path` in one piece: a reader sees the old file or the new one, never half of it."""
    _replace(path, json.dumps(value, indent=2) + "\n")


def _replace(path: Path, text: str) -> None:
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        with _naming(path):
            temporary.write_text(text)
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


@contextlib.contextmanager
def _naming(path: Path) -> Iterator[None]:
    """Errors of the operating system in it say which file they are about, as that of a full disk does not."""
    try:
        yield
    except OSError as error:
        raise OSError(error.errno, error.strerror, str(path)) from None


class DamagedFile(ValueError):
    """A file of a run does not hold what was written there."""

    def __init__(self, path: Path, problem: object, cure: str):
        super().__init__(f"{path} is damaged: {problem}; {cure}")


def read_json(path: Path, cure: str) -> dict[str, Any]:
    """The object in a JSON file.

    Raises:
      DamagedFile: it holds something else; the message ends with `cure`.
    """
    try:
        return _object(path.read_bytes(), _refuse_constant)
    except (ValueError, RecursionError) as error:
        raise DamagedFile(path, error, cure) from None


def _refuse_constant(name: str) -> None:
    raise ValueError(f"it holds {name}, which is never written there")


def read_records(path: Path) -> list[dict[str, Any]]:
    """The complete lines of a `metrics.jsonl`; a last line that was cut off by a kill is left out.

    Raises:
      DamagedFile: a line is no record of a step and its numbers.
    """
    try:
        written = path.read_bytes()
    except FileNotFoundError:  # asked for, not looked up first: a run that starts anew may take it away in between
        return []
    return [_record(path, number, line) for number, line in enumerate(written.split(b"\n")[:-1], 1)]


def _record(path: Path, number: int, line: bytes) -> dict[str, Any]:
    try:
        record = _object(line)
        if type(record.get("step")) is not int:
            raise ValueError("it has no step")
        if wrong := [name for name, value in record.items() if type(value) not in (int, float, NoneType)]:
            raise ValueError(f"{abbreviate(wrong[0])} is no number")
    except (ValueError, RecursionError) as error:
        raise DamagedFile(path, f"line {number}: {error}", "delete that line") from None
    return record


def _object(text: bytes, parse_constant: Callable[[str], Any] | None = None) -> dict[str, Any]:
    value = json.loads(text, parse_constant=parse_constant)
    if not isinstance(value, dict):
        raise ValueError(f"it holds {abbreviate(value)}, not an object")
    return value


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
        _replace(path, "".join(json.dumps(record) + "\n" for record in kept))
        self._path, self._file = path, path.open("a")
        self._tensorboard: Any = tensorboard  # a folder wherever a board is opened
        self._kept, self._last_step = kept, last_step

    @functools.cached_property
    def _board(self):
        """Made for the first record: tensorboardX loads PyTorch where that is installed, which takes seconds."""
        # Events of earlier starts, of which a kill may have lost some, are hidden and written again.
        board = _open_board(self._tensorboard, 0 if self._kept else None)
        for record in self._kept:
            _add_scalars(board, record["step"], record)
        return board

    @functools.cached_property
    def _gallery(self):
        """Of pictures, in a folder of its own: earlier ones cannot be written again, and stay up to the last step."""
        return _open_board(self._tensorboard / "pictures", self._last_step + 1)

    def write(self, step: int, values: dict[str, float | None]) -> None:
        """Appends `{"step": step, **values}`; undefined values (None, NaN, infinity) are null. It survives a kill."""
        numbers = {name: None if value is None or not math.isfinite(value) else value for name, value in values.items()}
        with _naming(self._path):
            self._file.write(json.dumps({"step": step, **numbers}) + "\n")
            self._file.flush()
        if self._tensorboard is not None:
            _add_scalars(self._board, step, numbers)

    def show(self, step: int, pictures: Pictures) -> None:
        """Adds pictures to TensorBoard, if there is one."""
        if self._tensorboard is not None:
            _refuse_dead(self._gallery)
            for name, picture in pictures.items():
                self._gallery.add_image(name, picture, step, dataformats="HWC")

    def close(self) -> None:
        with _naming(self._path):
            self._file.close()
        for board in [vars(self)[name] for name in ("_board", "_gallery") if name in vars(self)]:
            with _naming(self._tensorboard):
                board.close()


def _open_board(folder: Path, purge_step: int | None):
    """Hides the events of earlier starts from a step on."""
    from tensorboardX import SummaryWriter

    return SummaryWriter(str(folder), max_queue=10_000, flush_secs=1, purge_step=purge_step)


def _refuse_dead(board) -> None:
    """Raises an OSError if the thread that writes has died, as it does when the disk is full: it would be waited for."""
    if not getattr(board.file_writer.event_writer, "_worker", threading.current_thread()).is_alive():
        raise OSError(f"TensorBoard's events cannot be written to {board.logdir}; is the disk full?")


def _add_scalars(board, step: int, values: dict[str, Any]) -> None:
    _refuse_dead(board)
    for name, value in values.items():
        if value is not None and name != "step":
            board.add_scalar(name, value, step)


class Silent:
    """Writes nothing: the records of every process but the first."""

    def write(self, step: int, values: dict[str, float | None]) -> None:
        pass

    def show(self, step: int, pictures: Pictures) -> None:
        pass

    def close(self) -> None:
        pass
