"""Trackers, with packages in their place that note what they are told."""

import json
import sys
import types
from unittest.mock import Mock, call

import numpy as np
import pytest

from fcn.training.records import DamagedFile
from fcn.training.trackers import Several, load, open_tracker

PICTURE = np.zeros((2, 3, 3), np.uint8)


@pytest.fixture
def wandb(monkeypatch):
    fake = types.SimpleNamespace(init=Mock(), Image=lambda array: ("image", array))
    monkeypatch.setitem(sys.modules, "wandb", fake)
    return fake


@pytest.fixture
def mlflow(monkeypatch):
    run = types.SimpleNamespace(info=types.SimpleNamespace(run_id="abc"))
    calls = {name: Mock() for name in ("log_params", "log_metrics", "log_image", "end_run")}
    fake = types.SimpleNamespace(start_run=Mock(return_value=run), **calls)
    monkeypatch.setitem(sys.modules, "mlflow", fake)
    return fake


def test_wandb_gets_the_records_and_goes_on_with_its_run(wandb, tmp_path):
    note = tmp_path / "tracker.json"
    for _ in range(2):
        tracker = open_tracker("wandb", note, "net", {"optim.name": "sgd"})
    first, second = wandb.init.call_args_list
    assert first == second == call(project="fcn", name="net", id=tracker.identity, resume="allow", config={"optim.name": "sgd"})
    assert json.loads(note.read_text()) == {"wandb": tracker.identity}
    with tracker:
        tracker.write(3, {"train/loss": 0.5, "val/miou": None, "train/grad_norm": float("inf"), "val/mae": float("nan")})
    assert wandb.init.return_value.mock_calls == [call.log({"train/loss": 0.5}, step=3), call.finish(exit_code=0)]


def test_mlflow_gets_the_records_under_names_that_it_takes_and_goes_on_with_its_run(mlflow, tmp_path):
    note = tmp_path / "tracker.json"
    for steps in (10, 20):
        tracker = open_tracker("mlflow", note, "net", {"steps": steps})
    assert mlflow.start_run.call_args_list == [call(run_name="net"), call(run_id="abc")]
    mlflow.log_params.assert_called_once_with({"steps": "10"})  # a second call with other values would be refused
    with tracker:
        tracker.write(3, {"val/iou/sky (blue)": 0.5, "val/miou": None})
    mlflow.log_metrics.assert_called_once_with({"val/iou/sky _blue_": 0.5}, step=3)
    mlflow.end_run.assert_called_once_with("FINISHED")


def test_trackers_get_pictures_as_they_take_them(wandb, mlflow, tmp_path):
    for kind in ("wandb", "mlflow"):
        with open_tracker(kind, tmp_path / "tracker.json", "net", {}) as tracker:
            tracker.show(3, {"val/examples (4)": PICTURE})
    wandb.init.return_value.log.assert_called_once_with({"val/examples (4)": ("image", PICTURE)}, step=3)
    mlflow.log_image.assert_called_once_with(PICTURE, key="val/examples _4_", step=3)


def test_a_training_that_ends_by_an_error_has_failed(wandb, mlflow, tmp_path):
    for kind in ("wandb", "mlflow"):
        with pytest.raises(ArithmeticError), open_tracker(kind, tmp_path / "tracker.json", "net", {}):
            raise ArithmeticError
    wandb.init.return_value.finish.assert_called_once_with(exit_code=1)
    mlflow.end_run.assert_called_once_with("FAILED")


def test_an_outage_is_told_once_and_ends_nothing(mlflow, tmp_path):
    mlflow.log_metrics.side_effect = [ConnectionError("no answer"), ConnectionError("none"), None]
    mlflow.end_run.side_effect = ConnectionError
    with pytest.warns(UserWarning) as told, open_tracker("mlflow", tmp_path / "tracker.json", "net", {}) as tracker:
        for step in (1, 2, 3):
            tracker.write(step, {"a": 0.5})
    assert [str(warning.message) for warning in told] == [
        "the tracker does not get all records (ConnectionError('no answer')); the run's own files do"
    ]
    assert mlflow.log_metrics.call_args_list == [call({"a": 0.5}, step=step) for step in (1, 2, 3)]


def test_a_damaged_note_is_named(wandb, tmp_path):
    (tmp_path / "tracker.json").write_text("{")
    with pytest.raises(
        DamagedFile, match=r"tracker\.json is damaged: .*; delete it, and the run gets a new one in the tracker"
    ):
        open_tracker("wandb", tmp_path / "tracker.json", "net", {})
    wandb.init.assert_not_called()


def test_several_writers_get_every_record():
    writers = [Mock(), Mock()]
    several = Several(writers)
    several.write(1, {"a": 2.0})
    several.show(1, {"b": PICTURE})
    assert [writer.mock_calls for writer in writers] == [[call.write(1, {"a": 2.0}), call.show(1, {"b": PICTURE})]] * 2


def test_a_package_that_is_missing_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "mlflow", None)
    with pytest.raises(ImportError, match="--tracker mlflow needs a package that is not installed: pip install mlflow"):
        load("mlflow")
