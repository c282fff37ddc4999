"""What is kept of freed memory, and what is given back."""

import os
import platform
import subprocess
import sys

import jax
import numpy as np
import pytest

from experiments import command, train
from fcn.parallel import Pmapped, Sharded
from tests.experiments.conftest import ROOT

on_glibc = pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="the settings are glibc's")

HOLD_AND_GIVE_BACK = """
import ctypes, pathlib, resource
from experiments import command

def resident():
    return int(pathlib.Path("/proc/self/statm").read_text().split()[1]) * resource.getpagesize()

c = ctypes.CDLL(None)
c.malloc.restype, c.malloc.argtypes, c.free.argtypes = ctypes.c_void_p, [ctypes.c_size_t], [ctypes.c_void_p]
start = resident()
block = c.malloc(2**28)
ctypes.memset(block, 1, 2**28)
c.free(block)
held = resident() - start
command.give_memory_back()
print(held, resident() - start)
"""

KEEP_RESULTS_OF_STEPS = """
import ctypes
from experiments import command

command.set_small_apart(2**26)
c = ctypes.CDLL(None)
c.malloc.restype, c.malloc.argtypes, c.free.argtypes = ctypes.c_void_p, [ctypes.c_size_t], [ctypes.c_void_p]
for _ in range(4):
    temporary = c.malloc({size})
    result = c.malloc(2**22)
    c.free(temporary)
    c.malloc(2**22)
    print(temporary, result)
"""


def with_settings(program: str) -> str:
    """What a program prints in a process of its own, which glibc's settings hold for."""
    environment = {**os.environ, "GLIBC_TUNABLES": command.MALLOC.format(largest=2**32)}
    command_line = [sys.executable, "-c", program]
    return subprocess.run(command_line, cwd=ROOT, env=environment, capture_output=True, text=True, check=True).stdout


def test_users_are_told_the_settings():
    assert command.MALLOC.format(largest=2**32) in (ROOT / "docs" / "memory.md").read_text()


@on_glibc
def test_freed_memory_is_held_until_it_is_given_back():
    held, after = map(int, with_settings(HOLD_AND_GIVE_BACK).split())
    assert held > 2**28 - 2**22  # huge pages have 2**21 bytes; one may belong to the block and to what was there before
    assert after < 2**24


@on_glibc
@pytest.mark.parametrize("size", [2**27, 2**30])
def test_small_things_lie_apart_from_large_ones(size):
    """What stays of a step lies neither where its temporary memory was nor behind it: the next step has the same place."""
    printed = with_settings(KEEP_RESULTS_OF_STEPS.format(size=size))
    temporary, results = zip(*(map(int, line.split()) for line in printed.splitlines()))
    assert len(temporary) == 4 and len(set(temporary)) == 1
    assert max(results) < temporary[0]


@pytest.mark.parametrize("way", [Sharded, Pmapped])
def test_training_gives_memory_back_after_compilation_and_the_first_step(way, monkeypatch, caplog):
    """The step is compiled once, and no step is left out or done twice."""
    given_back = []
    monkeypatch.setattr(command, "give_memory_back", lambda: given_back.append(True))

    def step(state, batch):
        return state + batch["x"].sum(), state * batch["x"].sum()

    parallel = way(jax.devices()[:1])
    run, state = train.giving_memory_back(parallel.train_step(step)), parallel.put_state(np.float32(1))
    batches = [parallel.put_batch({"x": np.full(1, x, np.float32)}) for x in (2, 3, 4)]
    with jax.log_compiles():
        for batch in batches:
            state, product = run(state, batch)
    assert (float(parallel.read(state)), float(parallel.read(product))) == (10, 24)
    assert len(given_back) == 2
    assert caplog.text.count("Finished XLA compilation") == 1
