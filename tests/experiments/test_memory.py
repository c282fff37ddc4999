"""What is kept of freed memory, and what is given back."""

import os
import platform
import subprocess
import sys

import jax
import pytest

from experiments import command, train
from tests.experiments.conftest import ROOT

HOLD_AND_GIVE_BACK = """
import ctypes, pathlib, resource
from experiments import command

def resident():
    return int(pathlib.Path("/proc/self/statm").read_text().split()[1]) * resource.getpagesize()

def held_below(size):
    "Allocates and frees `size` bytes below a small block that stays."
    below = c.malloc(size)
    ctypes.memset(below, 1, size)
    c.malloc(100)
    c.free(below)

c = ctypes.CDLL(None)
c.malloc.restype, c.malloc.argtypes, c.free.argtypes = ctypes.c_void_p, [ctypes.c_size_t], [ctypes.c_void_p]
start = resident()
held_below(2**28)
held = resident() - start
command.give_memory_back()
print(held, resident() - start)
"""


@pytest.mark.skipif(sys.platform != "linux" or platform.libc_ver()[0] != "glibc", reason="the settings are glibc's")
def test_freed_memory_is_held_until_it_is_given_back():
    environment = {**os.environ, "GLIBC_TUNABLES": command.MALLOC}
    done = subprocess.run(
        [sys.executable, "-c", HOLD_AND_GIVE_BACK], cwd=ROOT, env=environment, capture_output=True, text=True, check=True
    )
    held, after = map(int, done.stdout.split())
    assert held > 2**28 - 2**20
    assert after < 2**24


def test_training_gives_memory_back_after_compilation_and_the_first_step(monkeypatch):
    """The step is traced once, and no step is left out or done twice."""
    events = []
    monkeypatch.setattr(command, "give_memory_back", lambda: events.append("given back"))

    @jax.jit
    def step(state, batch):
        events.append("traced")
        return state + batch, state * batch

    run = train.giving_memory_back(step)
    state = 1.0
    for batch in (2.0, 3.0, 4.0):
        state, product = run(state, batch)
    assert (float(state), float(product)) == (10, 24)
    assert events == ["traced", "given back", "given back"]
