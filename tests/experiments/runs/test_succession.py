"""One run follows another in a folder: a kill loses nothing, nothing of others is touched, one trains at a time."""

import os
import shutil
import socket
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from experiments.building.initialise import find_weights
from experiments.configuration.config import TrainConfig, to_json
from experiments.runs import lock
from experiments.runs.lock import FolderLock
from experiments.runs.run_folder import RunFolder
from experiments.runs.succession import ASIDE, SucceedingCheckpoints, Succession, set_aside, settle
from fcn.training.records import write_json

NEW = TrainConfig(seed=1, overwrite=True)


def _files(folder: Path) -> dict[str, bytes]:
    return {str(p.relative_to(folder)): p.read_bytes() for p in folder.rglob("*") if p.is_file() and p.name != lock.NAME}


def _write(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)


def _lay_run(path: Path, seed: int, checkpoint: bool = True) -> RunFolder:
    """Files as a run leaves them, and some of its user."""
    folder = RunFolder(path)
    path.mkdir(parents=True, exist_ok=True)
    write_json(folder.config, to_json(TrainConfig(seed=seed)))
    for name in (
        "data.json",
        "metrics.jsonl",
        "tensorboard/events.out.tfevents.1",
        "tensorboard/pictures/events.out.tfevents.1",
        f"checkpoints/3.orbax-checkpoint-tmp-{seed}/a",
    ):
        _write(path / name, f"{seed}")
    if checkpoint:
        for name in ("result.json", "checkpoints/2/_CHECKPOINT_METADATA", "checkpoints/2/state", "pictures/curves.png"):
            _write(path / name, f"{seed}")
    for name in ("notes.txt", "pictures/mine.png", "checkpoints/2.mine/a"):
        _write(path / name, "mine")
    return folder


class _Kill(BaseException):
    """Ends the process, as far as a test can: nothing in the file system changes afterwards."""


@pytest.fixture
def killed_at(monkeypatch):
    """`killed_at(n, action)`: whether `action` was killed before it could change the file system for the n-th time."""

    def run(n, action):
        count = 0

        def until_killed(function):
            def call(*args, **kwargs):
                nonlocal count
                count += 1
                if count >= n:
                    raise _Kill
                return function(*args, **kwargs)

            return call

        with monkeypatch.context() as patched:
            for name in ("replace", "rename", "unlink", "remove", "rmdir", "mkdir"):
                patched.setattr(os, name, until_killed(getattr(os, name)))
            try:
                action()
            except _Kill:
                return True
        return False

    return run


@pytest.mark.parametrize("gets_a_checkpoint", [False, True])
def test_a_kill_at_any_moment_leaves_the_old_run_or_a_checkpoint_of_the_new_one(gets_a_checkpoint, killed_at, tmp_path):
    def succeed(folder):
        with Succession(folder) as succession:
            succession.begin(NEW)
            _write(folder.metrics, "new")
            _write(folder.path / "checkpoints/1.orbax-checkpoint-tmp-7/_CHECKPOINT_METADATA", "new")
            if gets_a_checkpoint:
                os.replace(folder.path / "checkpoints/1.orbax-checkpoint-tmp-7", folder.path / "checkpoints/1")

    outcomes, killed, n = [], True, 0
    while killed:
        n += 1
        folder = _lay_run(tmp_path / str(n), seed=0)
        before = _files(folder.path)
        killed = killed_at(n, lambda folder=folder: succeed(folder))
        killed_at(n % 7, lambda folder=folder: settle(folder))  # the next start is killed, too
        settle(folder)
        is_new = folder.read_config().seed == 1
        if is_new:
            assert sorted(_files(folder.path)) == [
                "checkpoints/1/_CHECKPOINT_METADATA",
                "checkpoints/2.mine/a",
                "config.json",
                "metrics.jsonl",
                "notes.txt",
                "pictures/mine.png",
            ]
        else:
            assert _files(folder.path) == before
        assert not [path for path in folder.path.iterdir() if path.name.startswith(".fcn-") and path.name != lock.NAME]
        outcomes.append(is_new)
    assert n > 20
    assert outcomes == sorted(outcomes)  # once it is the new one's, it stays so
    assert outcomes[-1] == gets_a_checkpoint


def test_readers_are_told_where_the_run_of_before_is(killed_at, tmp_path):
    """All of it, once its config.json has been moved, which may be read there; and where `--init` looks for it."""
    folder = _lay_run(tmp_path, seed=0)
    assert folder.run_of_before() == ""
    assert killed_at(7, lambda: set_aside(folder))
    there = f"to {tmp_path / ASIDE}, and the next training here puts it back"
    with pytest.raises(FileNotFoundError, match=rf"has no data.json: its training has not begun; .*, {there}$"):
        folder.read_facts()
    set_aside(folder)
    with pytest.raises(FileNotFoundError, match=rf"there is no config.json; .*, {there}: until then read {tmp_path / ASIDE}$"):
        folder.read_config()
    with pytest.raises(FileNotFoundError, match=rf"is no saved model or run folder; .* until then read {tmp_path / ASIDE}$"):
        find_weights(None, str(tmp_path), None)
    assert RunFolder(tmp_path / ASIDE).read_config().seed == 0


def test_the_old_run_ends_with_the_first_checkpoint_of_the_new_one(tmp_path):
    folder = _lay_run(tmp_path, seed=0)
    with Succession(folder) as succession:
        succession.begin(NEW)
        assert (tmp_path / ASIDE / "result.json").is_file()
        checkpoints = SucceedingCheckpoints(folder)
        checkpoints.save(1, {"a": np.ones(1)}, {}, {})
        assert folder.has_checkpoint() and not (tmp_path / ASIDE).exists()
        checkpoints.close()


def test_a_run_without_checkpoint_or_result_does_not_claim_its_folder(tmp_path):
    folder = _lay_run(tmp_path, seed=0, checkpoint=False)
    with Succession(folder) as succession:
        succession.begin(TrainConfig(seed=1))
    assert sorted(_files(tmp_path)) == ["checkpoints/2.mine/a", "config.json", "notes.txt", "pictures/mine.png"]
    assert folder.read_config().seed == 1
    folder = _lay_run(tmp_path, seed=0)
    with pytest.raises(FileExistsError, match="seed: 0 -> 1"):
        folder.refuse_other(TrainConfig(seed=1))


@pytest.mark.parametrize("overwrite", [False, True])
@pytest.mark.parametrize(
    ("files", "message"),
    [
        ({"config.json": '{"lr": 1}', "metrics.jsonl": "", "checkpoints/1000/model.bin": ""}, r"config\.json is not that of a"),
        ({"metrics.jsonl": "", "checkpoints/1000/model.bin": ""}, r"metrics\.jsonl is there, but no config\.json of a run"),
        ({"checkpoints/1000/model.bin": ""}, r"checkpoints/1000 is no checkpoint of a run"),
        ({"pictures/curves.png": ""}, r"curves\.png is there, but no config\.json of a run"),
    ],
)
def test_a_folder_of_another_program_is_refused_and_stays_whole(files, message, overwrite, tmp_path):
    for name, text in files.items():
        _write(tmp_path / name, text)
    before = _files(tmp_path)
    config = TrainConfig(overwrite=overwrite)
    with Succession(RunFolder(tmp_path)) as succession:
        with pytest.raises(FileExistsError, match=message):
            RunFolder(tmp_path).refuse_other(config)
        with pytest.raises(FileExistsError, match=message):
            succession.begin(config)
    assert _files(tmp_path) == before


def test_a_checkpoint_of_another_program_in_a_run_is_refused(tmp_path):
    folder = _lay_run(tmp_path, seed=0)
    _write(tmp_path / "checkpoints/1000/model.bin", "")
    with pytest.raises(FileExistsError, match="checkpoints/1000 is no checkpoint of a run"):
        folder.refuse_other(NEW)


@pytest.mark.parametrize("overwrite", [False, True])
@pytest.mark.parametrize("left", ["state/a", "metrics/metrics"])
def test_a_checkpoint_that_a_kill_left_half_removed_is_removed(left, overwrite, tmp_path):
    folder = _lay_run(tmp_path, seed=1)
    _write(tmp_path / "checkpoints/1" / left, "")
    (tmp_path / "checkpoints/0").mkdir()
    with Succession(folder) as succession:
        succession.begin(TrainConfig(seed=1, overwrite=overwrite))
        assert not (tmp_path / "checkpoints/0").exists() and not (tmp_path / "checkpoints/1").exists()
        assert folder.has_checkpoint() is not overwrite


def test_a_failed_move_brings_the_old_run_back(monkeypatch, tmp_path):
    folder = _lay_run(tmp_path, seed=0)
    before = _files(tmp_path)
    (tmp_path / ASIDE).mkdir()
    (tmp_path / ASIDE / "checkpoints").write_text("in the way")
    with pytest.raises(OSError, match="checkpoints"):
        set_aside(folder)
    (tmp_path / ASIDE / "checkpoints").unlink()
    settle(folder)
    assert _files(tmp_path) == before


@pytest.mark.parametrize(("extend", "patience", "finished"), [(True, 5, False), (True, 2, True), (False, 2, True)])
@pytest.mark.parametrize("ended", ["val/miou was not better", None])
def test_a_run_that_patience_ended_goes_on_with_another(extend, patience, finished, ended, tmp_path):
    folder = RunFolder(tmp_path)
    write_json(folder.config, to_json(TrainConfig(patience=2)))
    write_json(folder.result, {"steps": 6, "seconds": 1.0} | ({"ended": ended} if ended else {}))
    _write(tmp_path / "checkpoints/6/_CHECKPOINT_METADATA", "")
    assert folder.is_finished(TrainConfig(patience=patience, extend=extend)) is (finished or ended is None)


HOLD = """
import pathlib, sys
from experiments.runs.lock import FolderLock

lock = FolderLock(pathlib.Path(sys.argv[1]))
lock.acquire()
print("held", flush=True)
input()
"""


def test_the_second_training_is_told_who_is_the_first_and_a_killed_one_leaves_no_lock(tmp_path):
    command = [sys.executable, "-c", HOLD, str(tmp_path)]
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
    first = subprocess.Popen(command, cwd=Path(__file__).parents[3], **pipes)
    assert first.stdout.readline() == "held\n"
    second = FolderLock(tmp_path)
    with pytest.raises(BlockingIOError, match=f"is in use by process {first.pid} on {socket.gethostname()}; wait for its end"):
        second.acquire()
    assert not second.held
    folder = _lay_run(tmp_path, seed=0)
    with pytest.raises(BlockingIOError), Succession(folder):
        pass
    first.kill()
    first.communicate()
    second.acquire()
    assert second.held
    assert (tmp_path / lock.NAME).read_text() == f"process {os.getpid()} on {socket.gethostname()}"
    second.release()


def test_a_folder_that_may_only_be_read_is_not_locked(monkeypatch, tmp_path):
    (tmp_path / lock.NAME).write_text("process 1 on elsewhere")
    monkeypatch.setattr(os, "access", lambda path, mode: mode != os.W_OK)  # chmod does not bind root
    with Succession(RunFolder(tmp_path)):
        pass
    assert (tmp_path / lock.NAME).read_text() == "process 1 on elsewhere"


def test_one_that_found_the_folder_locked_settles_nothing(tmp_path):
    folder = _lay_run(tmp_path, seed=0)
    with Succession(folder) as late, Succession(folder) as first:
        first.begin(NEW)
        before = _files(tmp_path)
        with pytest.raises(BlockingIOError):
            late.begin(NEW)
        late.__exit__()
        assert _files(tmp_path) == before


@pytest.mark.parametrize("missing", [True, False])
def test_without_locks_a_training_goes_on_and_says_so(missing, monkeypatch, capsys, tmp_path):
    def refuse(*_):
        raise OSError(95, "Operation not supported")

    if missing:
        monkeypatch.setattr(lock, "fcntl", None)
    else:
        monkeypatch.setattr(lock.fcntl, "flock", refuse)
    held = FolderLock(tmp_path)
    held.acquire()
    assert held.held
    assert "is not locked" in capsys.readouterr().err
    held.release()
    shutil.rmtree(tmp_path)
