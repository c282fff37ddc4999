"""Several hosts: two processes with four devices each train as one with eight does."""

import shutil
import socket
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from experiments import train
from fcn.training.records import read_records

ROOT = Path(__file__).resolve().parents[2]


def _lasting(run):
    return [{k: v for k, v in record.items() if "second" not in k} for record in read_records(run / "metrics.jsonl")]


@pytest.fixture(scope="module")
def short(options):
    return [*options, "--steps", "4", "--log-every", "1", "--eval-every", "4", "--checkpoint-every", "2"]


@pytest.fixture(scope="module")
def alone(short, tmp_path_factory):
    run = tmp_path_factory.mktemp("hosts") / "alone"
    train.main([*short, "--workdir", str(run)])
    return _lasting(run)


def _train_on_two_hosts(arguments, environment, devices):
    """Standard output of the first of two processes, with so many devices each."""
    with socket.socket() as free:
        free.bind(("localhost", 0))
        port = free.getsockname()[1]
    environment = {**environment, "XLA_FLAGS": f"{environment['XLA_FLAGS']} --xla_force_host_platform_device_count={devices}"}
    hosts = ["--hosts.coordinator", f"localhost:{port}", "--hosts.count", "2", "--hosts.index"]
    command = [sys.executable, "-m", "experiments.train", *arguments, *hosts]
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    processes = [subprocess.Popen([*command, str(i)], cwd=ROOT, env=environment, **pipes) for i in range(2)]
    outputs = [process.communicate(timeout=300) for process in processes]
    for process, (_, errors) in zip(processes, outputs):
        assert process.returncode == 0, errors
    return outputs[0][0]


@pytest.mark.parametrize("kind", ["jit", "pmap"])
def test_two_processes_train_as_one_does_and_go_on_after_a_kill(kind, short, alone, environment, tmp_path):
    """The second time with another number of devices."""
    run = tmp_path / kind
    arguments = [*short, "--parallel", kind, "--workdir", str(run)]
    _train_on_two_hosts(arguments, environment, devices=4)
    _assert_equal(_lasting(run), alone)
    (run / "result.json").unlink()  # as a kill after step 3 leaves it
    shutil.rmtree(run / "checkpoints" / "4")
    output = _train_on_two_hosts(arguments, environment, devices=2)
    assert f"continuing {run} from step 2" in output
    _assert_equal(_lasting(run), alone)


def _assert_equal(records, expected):
    assert [record.keys() for record in records] == [record.keys() for record in expected]
    for given, wanted in zip(records, expected):
        np.testing.assert_allclose(list(given.values()), list(wanted.values()), rtol=1e-4)
