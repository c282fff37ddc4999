"""Several hosts: two processes with four devices each train as one with eight does."""

import re
import shutil
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from experiments import train
from fcn.training import checkpoint
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


def _start_two_hosts(arguments, environment, devices):
    """Two processes with so many devices each."""
    with socket.socket() as free:
        free.bind(("localhost", 0))
        port = free.getsockname()[1]
    environment = {**environment, "XLA_FLAGS": f"{environment['XLA_FLAGS']} --xla_force_host_platform_device_count={devices}"}
    hosts = ["--hosts.coordinator", f"localhost:{port}", "--hosts.count", "2", "--hosts.index"]
    command = [sys.executable, "-m", "experiments.train", *arguments, *hosts]
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    return [subprocess.Popen([*command, str(i)], cwd=ROOT, env=environment, **pipes) for i in range(2)]


def _train_on_two_hosts(arguments, environment, devices):
    """Standard output of the first of two processes."""
    processes = _start_two_hosts(arguments, environment, devices)
    outputs = [process.communicate(timeout=300) for process in processes]
    for process, (_, errors) in zip(processes, outputs):
        assert process.returncode == 0, errors
    return outputs[0][0]


@pytest.mark.parametrize("way", [["--shard-params"], ["--parallel", "pmap"]], ids=["jit", "pmap"])
def test_two_processes_train_as_one_does_and_go_on_after_a_kill(way, short, alone, environment, tmp_path):
    """The second time with another number of devices."""
    run = tmp_path / "run"
    arguments = [*short, *way, "--workdir", str(run)]
    _train_on_two_hosts(arguments, environment, devices=4)
    _assert_equal(_lasting(run), alone)
    (run / "result.json").unlink()  # as a kill after step 3 leaves it
    shutil.rmtree(run / "checkpoints" / "4")
    output = _train_on_two_hosts(arguments, environment, devices=2)
    assert f"continuing {run} from step 2" in output
    _assert_equal(_lasting(run), alone)


@pytest.mark.parametrize(
    ("number", "statuses", "said"),
    [
        (signal.SIGTERM, [143, 143], r"stopped by SIGTERM with a checkpoint of step (\d+); the same command"),
        (signal.SIGKILL, [1, -9], r"error: another of the 2 processes of this run ended .*; start all again to go on"),
    ],
)
def test_a_signal_to_one_of_two_processes_ends_both_soon(number, statuses, said, short, environment, tmp_path):
    run = tmp_path / "run"
    endless = [*short, "--steps", "1000000", "--eval-every", "1000000", "--checkpoint-every", "1000000", "--workdir", str(run)]
    processes = _start_two_hosts(endless, environment, devices=2)
    deadline = time.monotonic() + 200
    while not read_records(run / "metrics.jsonl") and time.monotonic() < deadline:
        time.sleep(0.05)
    processes[1].send_signal(number)
    errors = [process.communicate(timeout=60)[1] for process in processes]
    assert [process.returncode for process in processes] == statuses, errors
    found = re.search(said, errors[0])
    assert found, errors[0]
    assert checkpoint.steps(run / "checkpoints") == [int(step) for step in found.groups()]


def _assert_equal(records, expected):
    assert [record.keys() for record in records] == [record.keys() for record in expected]
    for given, wanted in zip(records, expected):
        np.testing.assert_allclose(list(given.values()), list(wanted.values()), rtol=1e-4)
