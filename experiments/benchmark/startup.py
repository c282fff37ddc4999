"""What a start costs, and what the loop costs beside the compiled step."""

import contextlib
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

IMPORT = """
import time
start = time.perf_counter()
import flax.linen
between = time.perf_counter()
import fcn
after = time.perf_counter()
fcn.list_models()
print(between - start, after - between, time.perf_counter() - after)
"""
INITIALISE = """
import time, jax, jax.numpy as jnp, fcn
model = fcn.create_model({name!r}, num_classes=21)
image = jnp.zeros((1, 64, 64, 3))
start = time.perf_counter()
jax.block_until_ready(model.init(jax.random.key(0), image))
print(time.perf_counter() - start)
"""
LARGEST = ("fcn8s", "dpt", "unet", "unetplusplus")
"""Models with many parameters, or many layers."""


def measure() -> dict[str, float]:
    """Seconds; all in processes of their own, but for the loop, which comes last."""
    imports = [_numbers(IMPORT) for _ in range(5)]
    facts = {
        name: statistics.median(seconds)
        for name, seconds in zip(
            ("import flax.linen", "import fcn, beyond flax.linen", "all networks' classes, when first asked for one"),
            zip(*imports),
        )
    }
    for name in LARGEST:
        facts[f"initialise {name}"] = _numbers(INITIALISE.format(name=name))[0]
    with tempfile.TemporaryDirectory() as cache:
        facts["first step of shapes_unet, nothing compiled before"] = first_step(cache)
        facts["first step of shapes_unet, programs in the cache"] = first_step(cache)
    facts["loop: steps per second, relative to the compiled step alone"] = loop_efficiency()
    return facts


def describe(facts: dict[str, float]) -> str:
    """A line for each figure."""
    return "\n".join(f"{value:8.2f}  {name}" for name, value in facts.items())


def first_step(cache: str) -> float:
    """Seconds from the command to the record of the first step; programs and prepared data are kept in `cache`."""
    with tempfile.TemporaryDirectory() as folder:
        options = ["--workdir", folder, "--steps", "1000", "--log-every", "1", "--overwrite", "--data.root", f"{cache}/data"]
        command = [sys.executable, "-u", "-m", "experiments.train", "shapes_unet", *options]
        environment = os.environ | {"JAX_COMPILATION_CACHE_DIR": f"{cache}/xla"}
        start = time.perf_counter()
        with subprocess.Popen(command, stdout=subprocess.PIPE, env=environment, text=True) as process:
            for line in process.stdout or ():
                if line.startswith("step "):
                    seconds = time.perf_counter() - start
                    process.kill()
                    return seconds
    raise RuntimeError("the training ended before its first step")


def loop_efficiency(preset: str = "shapes_unet", rounds: int = 3) -> float:
    """Median ratio of the speed of `fit`, with its input, records, progress and a checkpoint, to that of its step alone.

    A round has as many steps as the preset takes from one checkpoint to the next.
    """
    import jax

    from experiments.building.build import Experiment, load_data
    from experiments.configuration.presets import PRESETS
    from fcn.data import TrainLoader
    from fcn.training import Schedule, fit
    from fcn.training.checkpoint import Checkpoints
    from fcn.training.records import Records

    config = PRESETS[preset].config
    steps = config.checkpoint_every
    train = load_data(config.data, config.data.train)
    experiment = Experiment(config, train, train)
    state = experiment.parallel.put_state(experiment.initial_state())
    step, batches = experiment.train_step(), TrainLoader(train, batch_size=config.batch_size, seed=0)
    batch = experiment.parallel.put_batch(next(batches))
    ratios = []
    with tempfile.TemporaryDirectory() as folder, contextlib.redirect_stdout(None):
        checkpoints, records = Checkpoints(f"{folder}/checkpoints"), Records(Path(folder) / "metrics.jsonl", last_step=0)
        for _ in range(rounds + 1):  # the first one warms up
            start = time.perf_counter()
            for _ in range(steps):
                state, metrics = step(state, batch)
            jax.block_until_ready((state, metrics))
            bare, start = time.perf_counter() - start, time.perf_counter()
            last = int(state.step) + steps
            state = fit(
                state,
                batches,
                train_step=step,
                evaluate=lambda _: {},
                learning_rate=lambda _: 0.0,
                parallel=experiment.parallel,
                checkpoints=checkpoints,
                records=records,
                schedule=Schedule(last, log_every=config.log_every, eval_every=last, checkpoint_every=last),
                batch_size=config.batch_size,
                show_progress=False,
            )
            ratios.append(bare / (time.perf_counter() - start))
        checkpoints.close()
        records.close()
    return statistics.median(ratios[1:])


def _numbers(program: str) -> list[float]:
    environment = {name: value for name, value in os.environ.items() if name != "JAX_COMPILATION_CACHE_DIR"}
    result = subprocess.run([sys.executable, "-c", program], check=True, capture_output=True, text=True, env=environment)
    return [float(word) for word in result.stdout.split()]
