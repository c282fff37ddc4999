"""`--dry-run` says what a run takes, and leaves nothing behind."""

import dataclasses
import datetime
import json
from pathlib import Path
from types import SimpleNamespace
from unittest.mock import Mock

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from experiments import train
from experiments.building.trained import make_model
from experiments.configuration.config import ModelConfig, TrainConfig
from experiments.model_table import operations
from experiments.reports import rehearsal
from experiments.reports.rehearsal import Timed, _operations, describe, measure
from fcn.parallel import Pmapped, Sharded


def test_a_dry_run_measures_and_writes_its_file_only(options, capsys, tmp_path):
    asked = "--dry-run --precision bf16 --remat blocks --accumulate 2 --mesh.data 1 --workdir".split()
    train.main([*options, *asked, str(tmp_path / "run"), "--json", str(tmp_path / "dry.json")])
    said = capsys.readouterr().out
    assert [path.name for path in tmp_path.iterdir()] == ["dry.json"]
    found = json.loads((tmp_path / "dry.json").read_text())
    assert found["parameters"] == 7554
    assert found["state_bytes"] > 3 * 4 * found["parameters"]  # with both moments
    assert found["temporary_bytes"] > 0
    model = make_model(TrainConfig(model=ModelConfig("unet", options=("base_features=4", "depth=2"))), 2)
    images = jax.ShapeDtypeStruct((16, 24, 32, 3), jnp.float32)
    forward = operations(model, jax.eval_shape(lambda x: model.init(jax.random.key(0), x), images), images)
    # Two for the gradient; one more each for the outputs of all parts, and for what is computed again.
    assert found["flops"] / forward == pytest.approx(5.0, abs=0.5)
    assert found["images_per_second"] == pytest.approx(16 / found["step_seconds"])
    assert found["seconds"] == pytest.approx(24 * found["step_seconds"])
    assert min(found[f"images_per_second_read_by_{workers}"] for workers in (1, 2)) > 0 and "by one worker, " in said
    assert said.startswith("parameters  0.01 M\narithmetic  ")
    with pytest.raises(FileExistsError, match=r"dry\.json exists already"):
        train.main([*options, *asked, str(tmp_path / "run"), "--json", str(tmp_path / "dry.json")])


def test_a_dry_run_refuses_what_the_training_does(options):
    with pytest.raises(ValueError, match=r"log_every is 2, but 8 steps are one program \(scan_steps\); take 8"):
        train.main([*options, "--dry-run", "--scan-steps", "8"])


@pytest.mark.parametrize("way", [Sharded, Pmapped])
def test_parameters_count_once_on_however_many_devices(way, monkeypatch):
    parallel = way(jax.devices()[:2])
    state = SimpleNamespace(params=parallel.put_state({"kernel": np.zeros((2, 3)), "bias": np.zeros(3)}))
    monkeypatch.setattr(rehearsal, "begun", lambda experiment: (None, (state, None)))
    monkeypatch.setattr(rehearsal, "timed", lambda *_: Timed(1.0, 0.5, 0, None))
    monkeypatch.setattr(rehearsal, "reading_rates", lambda train: {})
    found = measure(SimpleNamespace(config=TrainConfig(batch_size=4), parallel=parallel, train=None))
    assert (found["parameters"], found["images_per_second"]) == (9, 8.0)


def test_the_end_is_told_and_what_is_unknown_is_called_so():
    found = {"parameters": 2e6, "flops": None, "state_bytes": 2**20, "temporary_bytes": None, "step_seconds": 0.5}
    text = describe({**found, "images_per_second": 16.0, "seconds": 3600.0}, datetime.datetime(2030, 1, 1, 23, 30))
    assert text.splitlines() == [
        "parameters  2.00 M",
        "arithmetic  unknown",
        "memory      1.00 MiB for the state, unknown more in a step, on each device",
        "a step      0.500 s, 16.0 images/s",
        "all steps   3600 s, without reading data and evaluations; begun now they end at 2030-01-02 00:30",
    ]


@pytest.mark.parametrize("told", [None, {}])
def test_arithmetic_of_which_nothing_is_told_is_unknown(told):
    step = Mock()
    step.trace.return_value.lower.return_value.cost_analysis.return_value = told
    assert _operations(step, np.zeros(1), np.zeros(1), parts=2) is None
    step.trace.return_value.lower.return_value.cost_analysis.return_value = {"flops": 3.0}
    assert _operations(step, np.zeros(1), np.zeros(1), parts=2) == 6.0


def test_a_file_of_a_dry_run_that_is_none_is_refused():
    with pytest.raises(ValueError, match=r"json is a\.json, but a training writes no such file; it is for --dry-run"):
        TrainConfig(json=Path("a.json"))
    assert TrainConfig(json=Path("a.json"), dry_run=True).json == Path("a.json")


def test_bfloat16_is_the_network_s_type():
    config = TrainConfig(precision="bf16", model=ModelConfig("unet", options=("base_features=2", "depth=1")))
    assert make_model(config, 2).dtype == jnp.bfloat16
    twice = dataclasses.replace(config, model=ModelConfig("unet", options=("dtype=float32",)))
    with pytest.raises(ValueError, match="precision is bf16 and the model option dtype is float32; leave one of them out"):
        make_model(twice, 2)
