"""Checkpoints: what is damaged is found, readers change nothing, and a reader does not disturb a writer."""

import json
import shutil
import threading
import types
from unittest.mock import Mock

import jax.numpy as jnp
import numpy as np
import pytest
from jax.errors import JaxRuntimeError

from fcn.training import checkpoint
from fcn.training.checkpoint import Checkpoints, DamagedCheckpoint, best, newest_sound, restore, set_aside, steps


def state_of(value: float) -> dict:
    return {"kernel": jnp.full((16, 16), value), "count": np.arange(4) + int(value)}


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    """Checkpoints of the steps 1, 2 and 3; the first is the best."""
    folder = tmp_path_factory.mktemp("run") / "checkpoints"
    checkpoints = Checkpoints(folder)
    for step, score in ((1, 0.9), (2, 0.2), (3, 0.3)):
        checkpoints.save(step, state_of(step), {"seconds": step}, {"val/miou": score})
    checkpoints.close()
    return folder


@pytest.fixture
def folder(written, tmp_path):
    return shutil.copytree(written, tmp_path / "checkpoints")


def content(folder):
    return {path: (path.stat().st_mtime_ns, path.is_file() and path.read_bytes()) for path in folder.rglob("*")}


def test_reading_gives_what_was_written_and_changes_nothing(folder):
    (folder / "4.orbax-checkpoint-tmp").mkdir()  # as while a training writes
    before = content(folder)
    assert steps(folder) == [1, 2, 3] and best(folder) == 1
    step, damaged = newest_sound(folder)
    assert (step, damaged) == (3, [])
    state, progress = restore(folder, step, state_of(0))
    np.testing.assert_array_equal(state["kernel"], np.full((16, 16), 3.0))
    np.testing.assert_array_equal(state["count"], [3, 4, 5, 6])
    assert progress == {"seconds": 3}
    assert content(folder) == before


def test_the_best_by_a_loss_is_the_lowest(tmp_path):
    with Checkpoints(tmp_path, keep=1, best_metric="val/loss") as checkpoints:
        for step, loss in ((1, 0.9), (2, 0.2), (3, None), (4, 0.3)):
            checkpoints.save(step, state_of(step), {}, {"val/loss": loss})
    assert steps(tmp_path) == [2, 4] and best(tmp_path, "val/loss") == 2


def flip(path):
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 16
    path.write_bytes(data)


def test_every_damaged_file_of_the_newest_is_named_and_the_one_before_is_used(folder):
    digests = json.loads((folder / "3" / checkpoint.DIGESTS).read_text())
    files = [path for path in (folder / "3").rglob("*") if path.relative_to(folder / "3").as_posix() in digests]
    assert len(files) == len(digests) > 5
    for path in files:
        whole = path.read_bytes()
        for harm in (flip, lambda path: path.unlink()):
            harm(path)
            step, (problem,) = newest_sound(folder)
            assert step == 2
            assert str(folder / "3") in problem and path.relative_to(folder / "3").as_posix() in problem
            with pytest.raises(DamagedCheckpoint, match="is not what was written"):
                restore(folder, 3, state_of(0))
            path.write_bytes(whole)
    assert newest_sound(folder) == (3, [])
    (folder / "3" / checkpoint.MARK).unlink()
    step, (problem,) = newest_sound(folder)
    assert step == 2 and checkpoint.MARK in problem


@pytest.mark.parametrize("content", ["{", "[]", "{}"])
def test_damaged_digests_are_named(folder, content):
    (folder / "3" / checkpoint.DIGESTS).write_text(content)
    step, (problem,) = newest_sound(folder)
    assert step == 2 and checkpoint.DIGESTS in problem


def test_if_all_are_damaged_it_is_said(folder):
    for step in steps(folder):
        flip(folder / str(step) / "state" / "_METADATA")
    with pytest.raises(DamagedCheckpoint, match=r"no other checkpoint is left: start afresh with --overwrite"):
        newest_sound(folder)


def test_a_damaged_step_is_written_again(folder):
    flip(folder / "3" / "state" / "_METADATA")
    set_aside(folder, newest_sound(folder)[0])
    checkpoints = Checkpoints(folder)
    checkpoints.save(3, state_of(7), {}, {})
    checkpoints.close()
    assert newest_sound(folder) == (3, [])
    np.testing.assert_array_equal(restore(folder, 3, state_of(0))[0]["count"], [7, 8, 9, 10])
    assert (folder / "3.damaged0").is_dir()


def test_a_step_that_is_not_written_is_an_error(folder):
    checkpoints = Checkpoints(folder)
    with pytest.raises(OSError, match=r"step 3 was not written to .*: step 3 is there"):
        checkpoints.save(3, state_of(7), {}, {})
    checkpoints.close()


def test_a_disk_that_is_too_full_is_told_before_anything_is_written(folder, monkeypatch):
    before = content(folder)
    checkpoints = Checkpoints(folder)
    monkeypatch.setattr(checkpoint.shutil, "disk_usage", lambda path: types.SimpleNamespace(free=900_000))
    with pytest.raises(OSError, match=r"a checkpoint takes about 1\.0 MB, but 0\.9 MB are left where .*; earlier ones"):
        checkpoints.save(4, state_of(4), {}, {})
    checkpoints.close()
    assert content(folder) == before


@pytest.mark.parametrize("kind", [ValueError, JaxRuntimeError])
def test_a_disk_that_becomes_full_while_it_is_written_is_told_in_a_sentence(kind, folder, monkeypatch):
    checkpoints = Checkpoints(folder)

    def full(*_, **__):
        raise kind(f"RESOURCE_EXHAUSTED: {'a long path ' * 30}\nNo space left on device [and more]")

    with monkeypatch.context() as patched:
        patched.setattr(checkpoints._manager, "save", full)
        with pytest.raises(OSError, match=r"could not be written to .* \(No space left on device\); earlier ones are kept$"):
            checkpoints.save(4, state_of(4), {}, {})
    checkpoints.close()


def test_a_process_that_is_lost_while_all_write_is_no_fault_of_the_disk(folder, monkeypatch):
    lost = Mock(side_effect=JaxRuntimeError("DEADLINE_EXCEEDED: Barrier timed out"))
    with pytest.raises(JaxRuntimeError, match="Barrier"), Checkpoints(folder) as checkpoints:
        monkeypatch.setattr(checkpoints._manager, "save", lost)
        checkpoints.save(4, state_of(4), {}, {})


@pytest.mark.parametrize(("first", "told"), [(None, "could not be written"), (ArithmeticError("loss = nan"), "loss = nan")])
def test_an_error_is_not_replaced_by_one_of_closing(first, told, folder, monkeypatch):
    checkpoints = Checkpoints(folder)
    with monkeypatch.context() as patched, pytest.raises((OSError, ArithmeticError), match=told), checkpoints:
        patched.setattr(checkpoints._manager, "close", Mock(side_effect=ValueError("full")))
        if first:
            raise first
    checkpoints.close()


def test_checkpoints_without_digests_are_read_and_their_damage_is_one_sentence(folder):
    (folder / "3" / checkpoint.DIGESTS).unlink()
    assert newest_sound(folder) == (3, [])
    assert restore(folder, 3, state_of(0))[1] == {"seconds": 3}
    (folder / "3" / "state" / "_METADATA").write_text("{")
    with pytest.raises(DamagedCheckpoint, match=r"3 cannot be read or is of another network \(.*\); move it away") as caught:
        restore(folder, 3, state_of(0))
    assert len(str(caught.value).splitlines()) == 1


def test_a_reader_beside_a_writer_disturbs_nothing(tmp_path):
    folder, done, read = tmp_path / "checkpoints", threading.Event(), []

    def reading():
        while not done.is_set():
            step, damaged = newest_sound(folder)
            assert not damaged
            read.append(step if step is None else restore(folder, step, state_of(0))[1]["seconds"] - step)

    def guarded():
        try:
            reading()
        except BaseException as error:
            read.append(error)

    thread = threading.Thread(target=guarded)
    thread.start()
    checkpoints = Checkpoints(folder)
    for step in range(1, 11):
        checkpoints.save(step, state_of(step), {"seconds": step}, {"val/miou": float(step)})
    checkpoints.close()
    done.set()
    thread.join()
    assert set(read) <= {None, 0} and 0 in read
    assert steps(folder) == [9, 10]
    assert json.loads((folder / "10" / "metrics" / "metrics").read_text()) == {"val/miou": 10.0}


def test_the_next_checkpoint_of_a_training_removes_what_a_kill_left(folder):
    half = folder / "4.orbax-checkpoint-tmp-7"
    half.mkdir()
    newest_sound(folder)
    assert half.is_dir()
    checkpoints = Checkpoints(folder)
    checkpoints.save(4, state_of(4), {}, {})
    checkpoints.close()
    assert not half.exists()
