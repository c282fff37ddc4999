"""What a run writes down survives a kill, and is never doubled."""

import errno
import io
import json
import os
import struct
import types

import numpy as np
import pytest
from PIL import Image

from fcn.training.records import Records, read_records, write_json


def test_a_resumed_run_drops_what_came_after_its_checkpoint_and_half_lines(tmp_path):
    path = tmp_path / "metrics.jsonl"
    records = Records(path, last_step=0)
    for step in (1, 2, 3):
        records.write(step, {"train/loss": 1.0 / step})
    records.close()
    with path.open("a") as file:
        file.write('{"step": 4, "train/lo')  # killed here
    assert [r["step"] for r in read_records(path)] == [1, 2, 3]

    records = Records(path, last_step=2)
    records.write(3, {"train/loss": 7.0, "val/iou/sky": float("nan"), "val/miou": None})
    records.close()
    lines = [json.loads(line) for line in path.read_text().splitlines()]
    assert lines[:2] == [{"step": 1, "train/loss": 1.0}, {"step": 2, "train/loss": 0.5}]
    assert lines[2:] == [{"step": 3, "train/loss": 7.0, "val/iou/sky": None, "val/miou": None}]


def test_tensorboard_holds_the_same_values(tmp_path):
    records = Records(tmp_path / "metrics.jsonl", last_step=0, tensorboard=tmp_path / "board")
    records.write(5, {"train/loss": 0.25, "val/miou": None})
    records.close()
    (events,) = (tmp_path / "board").iterdir()
    assert b"train/loss" in events.read_bytes()
    assert b"val/miou" not in events.read_bytes()


def test_tensorboard_of_a_resumed_run_has_no_hole(tmp_path):
    """A kill may lose events that `metrics.jsonl` holds: they are written again."""
    records = Records(tmp_path / "metrics.jsonl", last_step=0)  # as if TensorBoard had got nothing
    records.write(1, {"train/early": 1.0})
    records.write(2, {"train/late": 2.0})
    records.close()
    records = Records(tmp_path / "metrics.jsonl", last_step=1, tensorboard=tmp_path / "board")
    records.write(2, {"train/again": 3.0})
    records.close()
    (events,) = (tmp_path / "board").iterdir()
    assert [name in events.read_bytes() for name in (b"train/early", b"train/late", b"train/again")] == [True, False, True]


def shown(folder):
    """{step: {name: picture}} as TensorBoard shows it: a start hides what earlier files say of its step and later ones."""
    from tensorboardX.proto.event_pb2 import Event, SessionLog

    pictures = {}
    for path in sorted(folder.iterdir()):
        data = path.read_bytes()
        while data:
            size = struct.unpack("<Q", data[:8])[0]
            event, data = Event.FromString(data[12 : 12 + size]), data[16 + size :]
            if event.session_log.status == SessionLog.START:
                pictures = {step: named for step, named in pictures.items() if step < event.step}
            for value in event.summary.value:
                with Image.open(io.BytesIO(value.image.encoded_image_string)) as picture:
                    pictures.setdefault(event.step, {})[value.tag] = np.asarray(picture)
    return pictures


def test_tensorboard_shows_pictures_and_those_of_a_run_that_goes_on_replace_later_ones(tmp_path):
    board, pictures = tmp_path / "board", np.random.default_rng(0).integers(0, 256, (4, 5, 7, 3), np.uint8)
    for last_step, steps in ((0, (1, 2)), (1, (2, 3))):
        records = Records(tmp_path / "metrics.jsonl", last_step=last_step, tensorboard=board)
        for step in steps:
            records.show(step, {"val/examples": pictures[last_step + step - 1]})
        records.close()
        (written,) = (board / "pictures").glob("events.out.tfevents.*.*")
        written.rename(board / "pictures" / f"events.out.tfevents.{last_step}")  # as if it were older
    found = shown(board / "pictures")
    assert list(found) == [1, 2, 3]
    for step, expected in ((1, pictures[0]), (2, pictures[2]), (3, pictures[3])):
        np.testing.assert_array_equal(found[step]["val/examples"], expected)
    Records(tmp_path / "metrics.jsonl", last_step=0).show(1, {"val/examples": pictures[0]})  # without TensorBoard nowhere


def test_json_is_replaced_in_one_piece(tmp_path, monkeypatch):
    path = tmp_path / "result.json"
    write_json(path, {"a": 1})

    def killed(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(os, "replace", killed)
    with pytest.raises(KeyboardInterrupt):
        write_json(path, {"a": 2})
    assert json.loads(path.read_text()) == {"a": 1}


def full(*_):
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def test_a_full_disk_is_told_with_the_name_of_the_file_and_what_was_there_stays(tmp_path, monkeypatch):
    path = tmp_path / "result.json"
    write_json(path, {"a": 1})

    def half(self, text):
        self.write_bytes(text[:3].encode())
        full()

    with monkeypatch.context() as patched:
        patched.setattr(type(path), "write_text", half)
        with pytest.raises(OSError, match=r"No space left on device: '.*result\.json'"):
            write_json(path, {"a": 2})
    assert json.loads(path.read_text()) == {"a": 1}
    assert list(tmp_path.iterdir()) == [path]

    records = Records(tmp_path / "metrics.jsonl", last_step=0)
    records._file.close()
    records._file = types.SimpleNamespace(write=full, close=full)
    for action in (lambda: records.write(1, {"train/loss": 1.0}), records.close):
        with pytest.raises(OSError, match=r"No space left on device: '.*metrics\.jsonl'"):
            action()


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
def test_a_thread_of_tensorboard_that_died_is_not_waited_for(tmp_path, monkeypatch):
    from tensorboardX.event_file_writer import EventsWriter

    records = Records(tmp_path / "metrics.jsonl", last_step=0, tensorboard=tmp_path / "board")
    records.write(1, {"train/loss": 1.0})

    monkeypatch.setattr(EventsWriter, "write_event", full)
    with pytest.raises(OSError, match=r"TensorBoard's events cannot be written to .*board; is the disk full\?"):
        for step in range(2, 100):
            records.write(step, {"train/loss": 1.0})
            records._board.file_writer.event_writer._worker.join(0.2)
    assert {record["step"] for record in read_records(tmp_path / "metrics.jsonl")} >= {1, 2}
