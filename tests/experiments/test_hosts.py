"""Several hosts: two processes with four devices each train as one with eight does."""

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
    return [*options, "--steps", "3", "--log-every", "1", "--eval-every", "3", "--checkpoint-every", "3"]


@pytest.fixture(scope="module")
def alone(short, tmp_path_factory):
    run = tmp_path_factory.mktemp("hosts") / "alone"
    train.main([*short, "--workdir", str(run)])
    return _lasting(run)


@pytest.mark.parametrize("kind", ["jit", "pmap"])
def test_two_processes_train_as_one_does(kind, short, alone, environment, tmp_path):
    with socket.socket() as free:
        free.bind(("localhost", 0))
        port = free.getsockname()[1]
    environment = {**environment, "XLA_FLAGS": environment["XLA_FLAGS"] + " --xla_force_host_platform_device_count=4"}
    hosts = ["--hosts.coordinator", f"localhost:{port}", "--hosts.count", "2"]
    command = [sys.executable, "-m", "experiments.train", *short, *hosts, "--parallel", kind, "--workdir", str(tmp_path / kind)]
    processes = [
        subprocess.Popen([*command, "--hosts.index", str(i)], cwd=ROOT, env=environment, stderr=subprocess.PIPE, text=True)
        for i in range(2)
    ]
    for process in processes:
        _, errors = process.communicate(timeout=300)
        assert process.returncode == 0, errors
    records = _lasting(tmp_path / kind)
    assert [record.keys() for record in records] == [record.keys() for record in alone]
    for given, expected in zip(records, alone):
        np.testing.assert_allclose(list(given.values()), list(expected.values()), rtol=1e-4)
