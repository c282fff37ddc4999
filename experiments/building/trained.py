"""The network of a run: as it is configured, and with the variables of a checkpoint."""

import dataclasses

import flax.linen as nn
import jax
import jax.numpy as jnp

import fcn
from experiments import command
from experiments.building.optimization import configured_optimizer, parts_of_state
from experiments.configuration.config import TrainConfig
from experiments.runs.facts import label_ids, read_preprocessing, read_task
from experiments.runs.run_folder import RunFolder
from fcn.inference import Ensemble
from fcn.preprocessing import Preprocessing
from fcn.tasks import Task
from fcn.training import TrainState, abstract_state


def make_model(config: TrainConfig, num_classes: int, axis_name: str | None = None) -> nn.Module:
    """The configured network."""
    options = config.model.keywords()
    if config.precision == "bf16":
        if "dtype" in options:
            raise ValueError(f"precision is bf16 and the model option dtype is {options['dtype']}; leave one of them out")
        options["dtype"] = jnp.bfloat16
    names = {"num_classes": num_classes, "encoder": config.model.encoder, "axis_name": axis_name}
    try:
        return fcn.create_model(config.model.name, **names, **options)
    except ValueError as error:
        given = " ".join(config.model.options)
        raise ValueError(f"{error} (--model.options {given})" if given else str(error)) from None


def as_one(model: nn.Module, task: Task, size: int) -> nn.Module | Ensemble:
    """What predicts for so many networks."""
    return model if size == 1 else Ensemble(model, task, size)


@dataclasses.dataclass(frozen=True)
class TrainedRun:
    """What a run folder gives to those who use its network."""

    config: TrainConfig
    step: int
    model: nn.Module | Ensemble
    variables: dict
    task: Task
    image_shape: tuple[int, ...]
    preprocessing: Preprocessing
    label_ids: tuple[int, ...] | None


def warn_of_damage(damaged: list[str], step: int | None) -> None:
    """Says which checkpoints are damaged, and that of which step is used instead."""
    for problem in damaged:
        command.warn(f"{problem}; that of step {step} is used")


def last_step(folder: RunFolder) -> int | None:
    """The step of a run's newest checkpoint that is not damaged, which later ones are said to be; None where it has none."""
    from fcn.training import checkpoint

    step, damaged = checkpoint.newest_sound(folder.checkpoints)
    warn_of_damage(damaged, step)
    return step


def best_step(folder: RunFolder) -> int | None:
    """The step of a run's best checkpoint; None where it has no checkpoint.

    Raises:
      FileNotFoundError: no checkpoint says how good it is.
      ValueError: the best one is damaged.
    """
    from fcn.training import checkpoint

    metric = folder.read_config().best
    step = checkpoint.best(folder.checkpoints, metric)
    if step is None and checkpoint.steps(folder.checkpoints):
        raise FileNotFoundError(f"no checkpoint of {folder.path} has a value of {metric}; take --checkpoint last")
    if step is not None and (problem := checkpoint.damage(folder.checkpoints / str(step))):
        raise checkpoint.DamagedCheckpoint(f"{problem}; it was the best: take --checkpoint last")
    return step


def _read_checkpoint(folder: RunFolder, which: str, template: TrainState) -> tuple[int, TrainState]:
    """The step and the state of the last or best checkpoint; of a later one where a training removes it meanwhile."""
    from fcn.training import checkpoint

    while True:
        known = checkpoint.steps(folder.checkpoints)
        try:
            step = best_step(folder) if which == "best" else last_step(folder)
            if step is None:
                raise FileNotFoundError(f"{folder.path} has no checkpoint; train it first{folder.run_of_before()}")
            return step, checkpoint.restore(folder.checkpoints, step, template, verify=False)[0]
        except checkpoint.DamagedCheckpoint:
            if checkpoint.steps(folder.checkpoints) == known:
                raise


def restore(folder: RunFolder, which: str = "last") -> TrainedRun:
    """Reads a run's configuration and the variables of its last or best checkpoint, onto the first device.

    Raises:
      FileNotFoundError: there is no run, or it has no checkpoint yet.
      ValueError: its files, or all its checkpoints, are damaged.
    """
    config, facts = folder.read_config(), folder.read_facts()
    shape, preprocessing = tuple(facts["image_shape"]), read_preprocessing(facts, config)
    task = read_task(facts)
    model = make_model(config, task.channels)
    tx = configured_optimizer(config, model)
    template = abstract_state(model, tx, shape, **parts_of_state(config))
    device = jax.sharding.SingleDeviceSharding(jax.devices()[0])
    axis = () if config.ensemble == 1 else (config.ensemble,)
    template = jax.tree.map(lambda x: jax.ShapeDtypeStruct(axis + x.shape, x.dtype, sharding=device), template)
    step, state = _read_checkpoint(folder, which, template)
    network = as_one(model, task, config.ensemble), state.eval_variables
    return TrainedRun(config, step, *network, task, shape, preprocessing, label_ids(facts))
