"""`python -m experiments.train auto`: from a command line to a run that is planned, and timed."""

import dataclasses
import functools
import math
import os
import time
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax

from experiments import command
from experiments.auto import options
from experiments.auto.budget import WANTED, Evaluation, Rung, is_right, length, pick, rungs
from experiments.auto.config import AutoConfig, auto, read_memory, read_time
from experiments.auto.fingerprint import Fingerprint, fingerprint
from experiments.auto.plan import STEPS, make_plan
from experiments.building.build import Experiment, as_expected, load_data, load_splits
from experiments.configuration.config import TrainConfig, to_json
from experiments.reports.rehearsal import Timed, begun, timed
from experiments.runs.run_folder import RunFolder
from fcn.data import eval_plan
from fcn.training.records import write_json

_CORE, _ACCELERATOR = 15e9, 3e12
"""Multiplications a second that are expected of a processor's core, and of another device, until a step was timed."""
_TRIES = 3
"""Networks that are timed at most."""


class Planned(NamedTuple):
    """A run that is ready to begin."""

    config: TrainConfig
    record: dict[str, Any]
    """plan.json: what was found, planned and chosen, and why."""
    experiment: Experiment


Override = Callable[[TrainConfig], AutoConfig]
"""Lays what the command line says over what is planned."""


def prepare(asked: AutoConfig, override: Override, folder: RunFolder, start: float) -> tuple[TrainConfig, Planned | None]:
    """The run that a command line asks for: the one that lies in the folder, or one that is planned now.

    Args:
      asked: the command line.
      override: lays it over what is planned.
      folder: of the run.
      start: when the command began, by `time.perf_counter`.

    Raises:
      FileExistsError: the folder holds another run, or the file of --json exists.
      ValueError: there is not enough time or memory, or data cannot be used.
    """
    if jax.process_count() > 1:
        raise ValueError("auto plans for one host; plan there by --dry-run --json FILE, and give the options to all of them")
    if not (asked.dry_run or asked.overwrite) and folder.is_kept():
        return resumed(asked, override, folder), None
    if not asked.dry_run:
        folder.refuse_other(asked)  # before minutes are spent
    if asked.json is not None and asked.json.exists():
        raise FileExistsError(f"{asked.json} exists already; give another --json")
    planned = plan_run(asked, override, start)
    if asked.json is not None:
        write_json(asked.json, planned.record)
    return planned.config, planned


def resumed(asked: AutoConfig, override: Override, folder: RunFolder) -> TrainConfig:
    """The run that lies in a folder, with the plan that it began with."""
    if not folder.plan.is_file():
        raise FileExistsError(f"{folder.path} holds a run that is not auto's; choose another --workdir, or --overwrite")
    plan = folder.read_plan()
    for name in ("budget", "memory"):
        if getattr(asked, name) != plan[name]:
            raise FileExistsError(
                f"{folder.path} holds a run that was planned for --{name} {plan[name]}, not {getattr(asked, name)}; choose "
                "another --workdir, or --overwrite to start afresh; --extend --steps goes on to more steps"
            )
    return override(auto(folder.read_config(), asked)).run()


def plan_run(asked: AutoConfig, override: Override, start: float) -> Planned:
    """Looks at the data, plans, times a step and decides how long to train; prints all of it. Arguments as of `prepare`."""
    train = load_data(asked.data, asked.data.train, None, asked.label_kind, mixed=True)
    as_read = asked.data.channels is not None or asked.data.mean is not None
    data, gigabytes = fingerprint(train, as_read), read_memory(asked.memory) / 1e9
    plan = make_plan(data, gigabytes)
    tell("the plan, by nnU-Net's rules", why := list(options.reasons(plan, data, gigabytes)))
    fixed = None if asked.steps == STEPS else asked.steps

    def overridden(config: TrainConfig) -> TrainConfig:
        return override(auto(config, asked)).run()

    splits = functools.lru_cache(maxsize=1)(load_splits)

    def opened(rung: Rung, steps: int) -> Experiment:
        config = overridden(options.configured(asked, rung, data, steps))
        return Experiment(config, *splits(as_expected(config), config.label_kind))

    def left() -> float:
        return start + read_time(asked.budget) - time.perf_counter()

    devices = asked.mesh.data or max(1, jax.device_count() // asked.mesh.height)
    choices = rungs(plan, data, devices)
    rung, timing, experiment = fit_in(choices, data, opened, left, read_memory(asked.memory), fixed)
    crop, images = experiment.config.data.crop or rung.patch, experiment.config.step_size
    done = dataclasses.replace(rung, batch=images, patch=crop)  # what was timed, with what is given
    found = length(done, timing.step, timing.compilation, evaluation_of(experiment), left(), fixed)
    bare = options.configured(asked, rung, data, experiment.config.steps)
    config = overridden(options.with_length(experiment.config, found))
    tell(f"what {asked.budget} make of it", chosen := list(options.choices(config, bare, rung, data)))
    print(f"  steps {config.steps}: a step takes {timing.step:.2f} s, its compilation {timing.compilation:.0f} s", flush=True)
    run = {"patch": list(done.patch), "batch_size": config.batch_size, "steps": config.steps, "step_seconds": timing.step}
    run |= {"compilation_seconds": timing.compilation, "config": to_json(config)}
    record = {"budget": asked.budget, "memory": asked.memory, "data": data.to_json(), "plan": plan.to_json(), "run": run}
    return Planned(config, record | {"reasons": [*why, *chosen]}, dataclasses.replace(experiment, config=config))


def fit_in(
    choices: Sequence[Rung],
    data: Fingerprint,
    opened: Callable[[Rung, int], Experiment],
    left: Callable[[], float],
    most_bytes: float,
    fixed: int | None = None,
) -> tuple[Rung, Timed, Experiment]:
    """About the largest network that makes enough steps: one that is expected to is timed, and then, if need be, another one.

    Args:
      choices: those of `rungs`.
      data: what they are for.
      opened: a rung, and how many steps are expected of it -> its experiment.
      left: gives the seconds that are left.
      most_bytes: of a device, beyond which batches are halved and nothing larger is tried; what still takes more is told.
      fixed: how many steps there will be, if that is said.
    """
    wanted = fixed or WANTED
    rung, steps = pick(choices, data, expected_rate(), left(), wanted)
    for tries_left in reversed(range(_TRIES)):
        experiment = opened(rung, fixed or steps)
        found = timed(*begun(experiment), experiment.config.scan_steps)
        better, steps = pick(choices, data, rung.work(data.channels, data.classes) / found.step, left(), wanted)
        half = rung.batch // 2 if experiment.config.batch_size == rung.batch else 0  # one that is given stays
        if found.memory > most_bytes and half and half % experiment.parallel.size == 0:
            better = dataclasses.replace(rung, batch=half)
            most = better.work(data.channels, data.classes)
            choices = [better, *(one for one in choices if one.work(data.channels, data.classes) < most)]
        elif is_right(found.step, left(), wanted):
            better = rung
        if better == rung or not tries_left:
            break
        rung = better
    if found.memory > most_bytes:
        command.warn(
            f"a step takes {found.memory / 1e9:.1f} GB of each device, --memory is {most_bytes / 1e9:g} GB; a smaller "
            "--batch-size, --data.crop or network takes less"
        )
    return rung, found, experiment


def expected_rate() -> float:
    """Multiplications a second of all devices, before anything was timed."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return _CORE * cores if jax.default_backend() == "cpu" else _ACCELERATOR * jax.device_count()


def evaluation_of(experiment: Experiment) -> Evaluation:
    """What an evaluation takes of pixels, and of compilations."""
    plan = eval_plan(experiment.val, experiment.config.batch_size)
    pixels = sum(len(indices) * math.prod(shape) for indices, shape in plan)
    return Evaluation(pixels, len({shape for _, shape in plan}))


def tell(title: str, lines: Sequence[str]) -> None:
    """Prints a heading and lines under it."""
    print("\n".join([f"{title}:", *(f"  {line}" for line in lines)]), flush=True)
