"""Trackers, with packages in their place that note what they are told."""

import json
import sys
import types
from unittest.mock import Mock, call

import pytest

from fcn.training.trackers import Several, load, open_tracker


@pytest.fixture
def wandb(monkeypatch):
    fake = types.SimpleNamespace(init=Mock())
    monkeypatch.setitem(sys.modules, "wandb", fake)
    return fake


@pytest.fixture
def mlflow(monkeypatch):
    run = types.SimpleNamespace(info=types.SimpleNamespace(run_id="abc"))
    fake = types.SimpleNamespace(start_run=Mock(return_value=run), log_params=Mock(), log_metrics=Mock(), end_run=Mock())
    monkeypatch.setitem(sys.modules, "mlflow", fake)
    return fake


def test_wandb_gets_the_records_and_goes_on_with_its_run(wandb, tmp_path):
    note = tmp_path / "tracker.json"
    for _ in range(2):
        tracker = open_tracker("wandb", note, "net", {"optim.name": "sgd"})
    first, second = wandb.init.call_args_list
    assert first == second == call(project="fcn", name="net", id=tracker.identity, resume="allow", config={"optim.name": "sgd"})
    assert json.loads(note.read_text()) == {"wandb": tracker.identity}
    tracker.write(3, {"train/loss": 0.5, "val/miou": None})
    tracker.close()
    assert wandb.init.return_value.mock_calls == [call.log({"train/loss": 0.5}, step=3), call.finish()]


def test_mlflow_gets_the_records_under_names_that_it_takes_and_goes_on_with_its_run(mlflow, tmp_path):
    note = tmp_path / "tracker.json"
    for _ in range(2):
        tracker = open_tracker("mlflow", note, "net", {"optim.rate": 0.5})
    assert mlflow.start_run.call_args_list == [call(run_name="net"), call(run_id="abc")]
    assert mlflow.log_params.call_args == call({"optim.rate": "0.5"})
    tracker.write(3, {"val/iou/sky (blue)": 0.5, "val/miou": None})
    tracker.close()
    mlflow.log_metrics.assert_called_once_with({"val/iou/sky _blue_": 0.5}, step=3)
    mlflow.end_run.assert_called_once_with()


def test_several_writers_get_every_record():
    writers = [Mock(), Mock()]
    several = Several(writers)
    several.write(1, {"a": 2.0})
    several.close()
    assert [writer.mock_calls for writer in writers] == [[call.write(1, {"a": 2.0}), call.close()]] * 2


def test_a_package_that_is_missing_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "mlflow", None)
    with pytest.raises(ImportError, match="--tracker mlflow needs a package that is not installed: pip install mlflow"):
        load("mlflow")
