"""Train a network: `python -m experiments.train [PRESET] [--option value ...]`.

A run lives in a folder of its own (runs/PRESET) and can be killed at any moment: the same command goes on from the last
checkpoint and ends with the same parameters, bit for bit on the same machine with the same versions and settings, up to
rounding elsewhere.
"""

import contextlib
import dataclasses
import functools
import itertools
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from experiments import command

_EPOCHS = (
    "the length of a run is --steps; an epoch has as many as --batch-size times --accumulate goes into the number of images"
)
_BATCH = "images at a time are --batch-size; a step takes --accumulate of such batches"
# What others call options, and where it is here.
HINTS = {
    "--lr": "the learning rate is --optim.learning-rate",
    "--wd": "the weight decay is --optim.weight-decay",
    "--bs": _BATCH,
    "--batch": _BATCH,
    "--learning-rate": "the learning rate is --optim.learning-rate",
    "--epochs": _EPOCHS,
    "--num-epochs": _EPOCHS,
    "--resume": "the same command goes on from its last checkpoint by itself; --init RUN starts another run from its weights",
    "--model": "the network is --model.name, its encoder --model.encoder, the rest of it --model.options",
}


def parse(args: Sequence[str]):
    """The configuration that a command line asks for; of `auto` what is to be planned is not yet."""
    from experiments.auto.config import AUTO, AutoConfig
    from experiments.configuration.presets import DEFAULT, PRESETS

    name, rest = (args[0], args[1:]) if args and not args[0].startswith("-") else (DEFAULT, args)
    known = {AUTO: AutoConfig(), **{name: preset.config for name, preset in PRESETS.items()}}
    if name not in known:
        raise ValueError(command.nearest("preset", name, sorted(known)))
    about = (
        f"{__doc__}\n\nPresets: {', '.join(known)} (default {DEFAULT}); `python -m experiments` says what they need and cost."
    )
    return read(known[name], rest, f"{about} Shown below are the options of {name}.")


def read(preset, rest: Sequence[str], about: str | None = None, say: Callable[[str], None] = print):
    """`preset` with what the rest of the command line says."""
    config = command.parse(type(preset), rest, "train [PRESET]", about, default=preset, hints=HINTS)
    given = {arg.partition("=")[0].replace("_", "-") for arg in rest}
    refuse_replaced(config.augment, given)
    return dataclasses.replace(config, model=without_options_of(preset.model, config.model, given, say))


def refuse_replaced(augment, given) -> None:
    """Refuses what is given beside a list of operations that stands in its place.

    Raises:
      ValueError: with what to write instead.
    """
    from fcn.data.augment.config import REPLACED

    names = [f"{no}{name.replace('_', '-')}" for name in REPLACED for no in ("", "no-")]
    if augment.preset != "none" and (wrong := [name for name in names if f"--augment.{name}" in given]):
        raise ValueError(
            f"--augment.preset {augment.preset} stands in place of --augment.{wrong[0]}; leave one of them out, or add to the "
            "preset: --augment.operations"
        )


def without_options_of(preset, model, given, say):
    """`model`, without the preset's options where it is another network, and without its encoder where it is another model.

    Args:
      preset: the preset's `ModelConfig`.
      model: the one that the command line asks for.
      given: the options of the command line, such as "--model.options"; what they give is kept.
      say: tells what is left out.
    """
    if (model.name, model.encoder) == (preset.name, preset.encoder):
        return model
    options = model.options if "--model.options" in given else ()
    encoder = model.encoder if "--model.encoder" in given or model.name == preset.name else None
    left_out = [part for part in (model.encoder, *model.options) if part not in (None, encoder, *options)]
    if left_out:
        say(f"another network than the preset's; left out of it: {' '.join(left_out)}")
    return dataclasses.replace(model, encoder=encoder, options=options)


def main(args: Sequence[str]) -> None:
    started = time.perf_counter()
    config = parse(args)
    import jax

    from experiments.auto.config import AUTO
    from experiments.runs.run_folder import RunFolder
    from experiments.runs.succession import Succession
    from fcn.parallel import start_processes, synchronize
    from fcn.training import Schedule

    folder = RunFolder(config.folder)
    start_processes(config.hosts.coordinator, config.hosts.count, config.hosts.index)
    command.cache_compilations(calls=config.steps)  # not those that are left: a run that goes on computes as before
    planned = None
    if config.preset == AUTO:
        from experiments.auto.prepare import prepare

        config, planned = prepare(config, functools.partial(read, rest=args[1:], say=lambda text: None), folder, started)
    schedule = Schedule(config.steps, config.log_every, config.eval_every, config.checkpoint_every, config.scan_steps)
    first_process = jax.process_index() == 0
    if config.dry_run:
        from experiments.reports.rehearsal import rehearse

        if planned is None:
            rehearse(config)
        return
    with with_advice(folder):
        with Succession(folder) if first_process else contextlib.nullcontext() as succession:
            synchronize("run folder found")
            if folder.is_finished(config):
                print(f"{folder.path} is finished; --overwrite starts afresh")
            else:
                train(config, schedule, folder, succession, planned)
        if first_process:  # which writes the result
            print(folder.describe_result())
        synchronize("result written")


@contextlib.contextmanager
def with_advice(folder) -> Iterator[None]:
    """Says how a training that ends early may go on."""
    import jax

    from fcn.parallel import leave, lost_process
    from fcn.training import Interrupted, NonFiniteLossError

    try:
        yield
    except Interrupted:
        raise
    except KeyboardInterrupt:
        print("the same command, without --overwrite, goes on from the last checkpoint, if there is one", file=sys.stderr)
        raise
    except NonFiniteLossError as error:
        if error.last_good is None:
            raise
        # Other options make another run: this one keeps its last good checkpoint.
        advice = f"Go on from it in a new folder: --workdir NEW --init {folder.path}"
        raise NonFiniteLossError(f"{error} {advice}", error.last_good) from None
    except jax.errors.JaxRuntimeError as error:
        if (lost := lost_process(error)) is None:
            raise
        leave()
        raise ConnectionError(f"{lost}; start all again to go on from the last checkpoint") from error


def train(config, schedule, folder, succession, planned=None) -> None:
    """Runs `config` in `folder`, from its last checkpoint if it has one, and writes result and pictures.

    Whatever can be wrong is found before the folder is touched.

    Args:
      config: the configuration.
      schedule: its `Schedule`.
      folder: the run folder.
      succession: that of the folder, on the first process.
      planned: of `auto`, the `Planned` that begins.
    """
    import jax

    from experiments.building.loading import Waiting
    from experiments.building.trained import warn_of_damage
    from experiments.reports.examples import Examples
    from experiments.reports.report import write_report
    from experiments.runs import surroundings
    from experiments.runs.succession import SucceedingCheckpoints
    from fcn.parallel import stop_together, synchronize
    from fcn.training import Best, Interrupted, StopSignals, checkpoint, fit, make_schedule
    from fcn.training.records import Silent, write_json
    from fcn.training.trackers import load

    if config.tracker != "none":
        load(config.tracker)
    experiment, facts = build(config, folder, planned and planned.experiment)
    state, train_step = experiment.initial_state(), experiment.train_step()
    if not folder.goes_on(config):
        state = experiment.with_weights(state)
    experiment.check(train_step, state)
    synchronize("all is built")
    first_process = jax.process_index() == 0
    if first_process:
        succession.begin(config)
        write_json(folder.facts, facts)
        if planned is not None:
            write_json(folder.plan, planned.record)
        print(experiment.describe(state))

    batches = experiment.batches()
    synchronize("run folder claimed")
    sound, damaged = checkpoint.newest_sound(folder.checkpoints)
    step, seconds = sound or 0, 0.0
    synchronize("checkpoints verified")
    if first_process:
        warn_of_damage(damaged, step)
        checkpoint.set_aside(folder.checkpoints, above=step)
    synchronize("damaged checkpoints set aside")
    best, chosen = Best(config.best, config.patience), {"best_metric": config.best}
    checkpoints = (
        SucceedingCheckpoints(folder, **chosen) if first_process else checkpoint.Checkpoints(folder.checkpoints, **chosen)
    )
    if step:
        state, progress = checkpoint.restore(folder.checkpoints, step, experiment.parallel.restorable(state), verify=False)
        batches.set_state(progress["batches"])
        seconds = progress["seconds"]
        if "best" in progress:  # older checkpoints do not have it
            best.set_state(progress["best"])
        if first_process:
            succession.go_on(config)
            print(f"continuing {folder.path} from step {step}")
    if first_process and (changed := surroundings.record(folder.environment, step)):
        command.warn(f"the run goes on with other means than before ({', '.join(changed)}): equal up to rounding only")
    measure = experiment.evaluator()

    def evaluate(state):
        return experiment.evaluation(measure(state.eval_variables))

    rate: Any = make_schedule(config.optim, config.steps)  # of Optax's numbers, some of which are complex
    recording = open_records(config, folder, step) if first_process else contextlib.closing(Silent())
    stopping = StopSignals(stop_together if jax.process_count() > 1 else None)
    with checkpoints, recording as records, stopping:
        examples = Examples(experiment, records)
        started = time.perf_counter()
        state = fit(
            experiment.parallel.put_state(state),
            batches,
            train_step=giving_memory_back(train_step),
            evaluate=evaluate,
            learning_rate=rate,
            parallel=experiment.parallel,
            checkpoints=checkpoints,
            records=records,
            schedule=schedule,
            batch_size=config.step_size,
            best=best,
            elapsed=seconds,
            stop=stopping,
            hooks=[examples, *([Waiting(batches)] if first_process else [])],
            show_progress=first_process,
        )
    if stopping.signal is not None:
        last = f"stopped by {stopping.signal.name} with a checkpoint of step {checkpoints.latest()}"
        raise Interrupted(f"{last}; the same command, without --overwrite, goes on from there", stopping.signal)
    seconds += time.perf_counter() - started
    measured, state = measure(state.eval_variables), experiment.parallel.whole(state.replace(opt_state=None))
    if first_process:
        write_report(folder, experiment, examples, state, measured, seconds, best.verdict())


@contextlib.contextmanager
def open_records(config, folder, step) -> Iterator:
    """Where the records of a run go that has come to `step`: its files, TensorBoard, and the tracker that is asked for."""
    from experiments.configuration.config import flattened, to_json
    from fcn.training.protocols import Recorder
    from fcn.training.records import Records
    from fcn.training.trackers import Several, open_tracker

    with contextlib.ExitStack() as stack:
        writers: list[Recorder] = [
            stack.enter_context(contextlib.closing(Records(folder.metrics, last_step=step, tensorboard=folder.tensorboard)))
        ]
        if config.tracker != "none":
            opened = open_tracker(config.tracker, folder.tracker, str(folder.path), flattened(to_json(config)))
            writers.append(stack.enter_context(opened))
        yield Several(writers)


def build(config, folder, experiment=None):
    """The objects of a run and the facts of its data, which are those that it began with if it goes on from a checkpoint.

    `experiment` is one that is built already.
    """
    import jax

    from experiments.building.build import open_experiment
    from experiments.runs.facts import describe
    from fcn import tasks

    expected = folder.read_preprocessing() if folder.goes_on(config) and folder.facts.is_file() else None
    experiment = experiment or open_experiment(config, expected)
    facts = describe(config.data, experiment.train, experiment.val, experiment.preprocessing, experiment.task, experiment.order)
    if expected is not None:
        folder.refuse_other_data(facts)
        experiment.preprocessing = expected
        experiment.task = dataclasses.replace(folder.read_task(), terms=experiment.task.terms)
        facts |= {"preprocessing": experiment.preprocessing.to_json(), "task": tasks.to_json(experiment.task)}
    elif folder.goes_on(config) and jax.process_index() == 0:
        command.warn(f"without {folder.facts} nothing tells whether the data are those of before")
    return experiment, facts


def giving_memory_back(step: Callable) -> Callable:
    """`step`, which gives the system what its compilation and its first call leave behind.

    The allocator may put something small where the first call had its temporary memory, and would hold that, and as much again
    for the second.
    """
    import jax

    def first(state, batch):
        step.lower(state, batch).compile()
        command.give_memory_back()
        result = jax.block_until_ready(step(state, batch))
        command.give_memory_back()
        return result

    calls = itertools.chain([first], itertools.repeat(step))
    return lambda state, batch: next(calls)(state, batch)


if __name__ == "__main__":
    command.keep_memory()
    command.quiet("absl", "asyncio")  # what goes wrong with a checkpoint is told once, and not by each of Orbax's threads
    command.run(lambda: main(sys.argv[1:]))
