"""A small data set in files, and the commands as a user types them."""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tests.compilation import QUICK_COMPILATION

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="session")
def folder_data(tmp_path_factory) -> Path:
    """Twelve training and five validation images of 24x32: bright discs on dark ground, ids 0 and 1, some void."""
    root = tmp_path_factory.mktemp("data") / "discs"
    rng = np.random.default_rng(0)
    rows, columns = np.mgrid[:24, :32]
    for split, count in (("train", 12), ("val", 5)):
        for number in range(count):
            y, x = rng.uniform(6, 18), rng.uniform(6, 26)
            disc = (rows - y) ** 2 + (columns - x) ** 2 < 30
            image = np.clip(60 + 120 * disc[..., None] + rng.normal(0, 20, (24, 32, 3)), 0, 255).astype(np.uint8)
            label = disc.astype(np.uint8)
            label[:2] = 7
            for kind, pixels in (("images", image), ("labels", label)):
                path = root / kind / split / f"{number:02d}.png"
                path.parent.mkdir(parents=True, exist_ok=True)
                Image.fromarray(pixels).save(path)
    (root / "classes.csv").write_text("id,name,r,g,b\n0,ground,40,40,60\n1,disc,240,180,40\n7,void,0,0,0\n")
    return root


@pytest.fixture(scope="session")
def environment(tmp_path_factory) -> dict[str, str]:
    """The environment of a command: one device, quick compilation, and a compilation cache of these tests' own."""
    cache = tmp_path_factory.mktemp("xla")
    flags = {"XLA_FLAGS": QUICK_COMPILATION, "JAX_COMPILATION_CACHE_DIR": str(cache)}
    return {**os.environ, **flags}


@pytest.fixture(scope="session")
def type_command(environment):
    """`type_command("experiments.train", "--steps", 3)` runs a script to its end."""

    def run(module: str, *args, **kwargs) -> subprocess.CompletedProcess:
        command = [sys.executable, "-m", module, *map(str, args)]
        return subprocess.run(
            command, cwd=ROOT, env=environment, capture_output=True, text=True, stdin=subprocess.DEVNULL, **kwargs
        )

    return run


@pytest.fixture(scope="session")
def options(folder_data) -> list[str]:
    """A training of half a second."""
    return (
        f"--data.name folder --data.root {folder_data} --steps 24 --batch-size 8 --log-every 2 --eval-every 6 "
        "--checkpoint-every 4 --optim.learning-rate 0.02 --model.options base_features=4 depth=2"
    ).split()


@pytest.fixture(scope="session")
def finished_run(type_command, options, tmp_path_factory) -> Path:
    """A run that was never disturbed."""
    run = tmp_path_factory.mktemp("runs") / "whole"
    done = type_command("experiments.train", *options, "--workdir", run)
    assert done.returncode == 0, done.stderr
    return run
