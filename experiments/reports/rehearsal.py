"""What a training will take: `--dry-run` measures a few steps, and writes nothing but the file of `--json`."""

import datetime
import time
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import jax

from experiments.building.build import Experiment, open_experiment
from experiments.building.loading import reading_rates
from experiments.configuration.config import TrainConfig
from fcn.parallel import Pmapped
from fcn.training.records import write_json

_STEPS = 3
"""Steps that are measured; the fastest counts."""
_LEFT_OUT = "without reading data and evaluations"


def rehearse(config: TrainConfig) -> None:
    """Says what a run of `config` takes, and writes it to the file that it names."""
    if config.json is not None and config.json.exists():
        raise FileExistsError(f"{config.json} exists already; give another --json")
    measured = measure(open_experiment(config))
    if jax.process_index() == 0:
        print(describe(measured, datetime.datetime.now()))
        if config.json is not None:
            write_json(config.json, measured)


class Timed(NamedTuple):
    """What the first steps of a run take."""

    compilation: float
    step: float
    state_bytes: int
    temporary_bytes: int | None

    @property
    def memory(self) -> int:
        """Bytes on each device, as far as they are known."""
        return self.state_bytes + (self.temporary_bytes or 0)


def begun(experiment: Experiment) -> tuple[Callable, tuple[Any, Any]]:
    """The step of a run, checked, and what it takes first: the state and a batch."""
    parallel, step, state = experiment.parallel, experiment.train_step(), experiment.initial_state()
    experiment.check(step, state)
    batch = parallel.put_batch(next(experiment.batches()))
    return step, (parallel.put_state(state), experiment.taken_at_once(batch))


def timed(step: Callable, arguments: tuple[Any, Any], scan_steps: int = 1) -> Timed:
    """Trains a few steps, those of `begun`, on the first batch, and forgets them; the state is consumed."""
    state_bytes = sum(x.addressable_shards[0].data.nbytes for x in jax.tree.leaves(arguments[0]))
    start = time.perf_counter()
    compiled = step.lower(*arguments).compile()
    compilation = time.perf_counter() - start
    seconds = min(_seconds(compiled, *arguments)) / scan_steps
    return Timed(compilation, seconds, state_bytes, getattr(compiled.memory_analysis(), "temp_size_in_bytes", None))


def measure(experiment: Experiment) -> dict[str, float | None]:
    """What a run takes, by its first steps.

    Returns:
      `parameters`, of all networks of an ensemble together; `flops` of a step, by the definition of its layers; on each device,
      in bytes, `state_bytes` (parameters, statistics, moments) and `temporary_bytes` of a step; `compilation_seconds`,
      `step_seconds`, `images_per_second`, `seconds` of all steps, without reading data and evaluations, and
      `images_per_second_read_by_1` worker and by 2. None stands for what the platform does not tell.
    """
    config, parallel = experiment.config, experiment.parallel
    copies = len(parallel.devices) if isinstance(parallel, Pmapped) else 1
    step, arguments = begun(experiment)
    found = timed(step, arguments, config.scan_steps)
    rates = reading_rates(experiment.train)
    return {
        "parameters": sum(x.size for x in jax.tree.leaves(arguments[0].params)) // copies,
        "flops": _operations(step, *arguments, parts=config.accumulate),
        "state_bytes": found.state_bytes,
        "temporary_bytes": found.temporary_bytes,
        "compilation_seconds": found.compilation,
        "step_seconds": found.step,
        "images_per_second": config.step_size / found.step,
        "seconds": config.steps * found.step,
        **{f"images_per_second_read_by_{workers}": rate for workers, rate in rates.items()},
    }


def describe(measured: dict[str, Any], now: datetime.datetime) -> str:
    """What was measured, in lines for a terminal."""
    end = now + datetime.timedelta(seconds=measured["seconds"])
    memory = [_with_unit(measured[f"{name}_bytes"], 2**20, "MiB") for name in ("state", "temporary")]
    lines = {
        "parameters": _with_unit(measured["parameters"], 1e6, "M"),
        "arithmetic": _with_unit(measured["flops"], 1e9, "GFLOP a step"),
        "memory": f"{memory[0]} for the state, {memory[1]} more in a step, on each device",
        "a step": f"{measured['step_seconds']:.3f} s, {measured['images_per_second']:.1f} images/s",
        "all steps": f"{measured['seconds']:.0f} s, {_LEFT_OUT}; begun now they end at {end:%Y-%m-%d %H:%M}",
    }
    if (rate := measured.get("images_per_second_read_by_1")) is not None:
        lines["reading"] = f"{rate:.1f} images/s by one worker, {measured['images_per_second_read_by_2']:.1f} by two"
    return "\n".join(f"{name:<12}{text}" for name, text in lines.items())


def _with_unit(value: float | None, unit: float, name: str) -> str:
    return "unknown" if value is None else f"{value / unit:.2f} {name}"


def _operations(step: Callable, state: Any, batch: Any, *, parts: int) -> float | None:
    """Multiplications and additions of a step by the definition of its layers, as they are lowered for a TPU.

    XLA counts what is done for each of several `parts`, or steps of a program, once.
    """
    if not hasattr(step, "trace"):  # that of pmap
        return None
    shapes = jax.eval_shape(lambda *arguments: arguments, state, batch)
    flops = (step.trace(*shapes).lower(lowering_platforms=("tpu",)).cost_analysis() or {}).get("flops")
    return None if flops is None else parts * flops


def _seconds(compiled: Callable, state: Any, batch: Any) -> Iterator[float]:
    for _ in range(_STEPS):
        begun = time.perf_counter()
        state, _ = jax.block_until_ready(compiled(state, batch))
        yield time.perf_counter() - begun
