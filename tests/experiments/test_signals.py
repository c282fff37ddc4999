"""A training that signals end, from within the process: it exits as a signal would make it, and goes on to the same end."""

import functools
import json
import os
import signal

import jax
import pytest

from experiments import command, train
from experiments.building import build
from fcn.parallel import make_parallel
from fcn.training.records import Records
from tests.experiments.records import lasting

SMALL = "--steps 6 --log-every 1 --eval-every 6 --checkpoint-every 4 --model.options base_features=2 depth=1".split()


def test_signals_end_a_run_after_the_step_and_it_goes_on_to_the_same_end(options, tmp_path, monkeypatch, capfd):
    monkeypatch.setattr(build, "make_parallel", functools.partial(make_parallel, devices=jax.devices()[:1]))
    signals, write = {1: signal.SIGTERM, 4: signal.SIGINT}, Records.write

    def written(self, step, values):
        write(self, step, values)
        if step in signals:
            os.kill(os.getpid(), signals[step])

    run, whole = tmp_path / "run", tmp_path / "whole"
    train.main([*options, *SMALL, "--workdir", str(whole)])
    monkeypatch.setattr(Records, "write", written)
    for step, number in signals.items():
        with pytest.raises(SystemExit) as ended:
            command.run(lambda: train.main([*options, *SMALL, "--workdir", str(run)]))
        assert ended.value.code == 128 + number
        assert f"stopped by {number.name} with a checkpoint of step {step + 1}; the same command" in capfd.readouterr().err
        assert not (run / "result.json").exists()
    train.main([*options, *SMALL, "--workdir", str(run)])
    assert f"continuing {run} from step 5" in capfd.readouterr().out
    assert lasting(run) == lasting(whole)
    assert len({json.loads((folder / "result.json").read_text())["params_sha256"] for folder in (run, whole)}) == 1
