"""From a configuration to objects: data, model, optimizer and steps."""

import dataclasses
import functools
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple, TypedDict

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from experiments.building.initialise import find_weights, preprocessing_of, start_from
from experiments.building.normalisation import configured
from experiments.building.objective import loss_terms, weighted
from experiments.building.optimization import configured_optimizer, frozen_parts, parts_of_state
from experiments.building.strides import refuse_flat
from experiments.building.trained import as_one, make_model
from experiments.configuration.config import DataConfig, TrainConfig
from fcn import tasks
from fcn.data import (
    WHOLE_RANGE,
    LabelKind,
    Prepared,
    TrainLoader,
    augment_batch,
    check_source,
    eval_batches,
    eval_plan,
    open_source,
    without_faults,
)
from fcn.data.loading.crops import Size
from fcn.data.loading.sampling import make_order
from fcn.data.reading.depth import ValueRange
from fcn.errors import unknown
from fcn.inference import Ensemble
from fcn.inference.probabilities import refuse_mean
from fcn.parallel import make_parallel
from fcn.preprocessing import Preprocessing, default_preprocessing
from fcn.tasks import Task
from fcn.tasks.task import defined
from fcn.text import printable
from fcn.training import TrainState, create_state, ensembled, make_eval_step, make_train_step, scanned, stacked


def load_splits(config: DataConfig, label_kind: LabelKind = "classes") -> tuple[Prepared, Prepared]:
    """The training and the validation split; stored values of both are scaled by the range of the training images."""
    crop = config.crop or (None if config.resize == "exact" else config.size)
    train = load_data(config, config.train, None, label_kind, crop)
    val = load_data(config, config.val, train.value_range or WHOLE_RANGE, label_kind)
    tell_remarks(train, val)
    return train, val


def tell_remarks(*splits: Prepared) -> None:
    """Says what a user should know of how data are read, each thing once."""
    if jax.process_index():  # a remark may take a look at all files
        return
    for remark in dict.fromkeys(remark for split in splits for remark in getattr(split.source, "remarks", ())):
        print("\n".join(map(printable, remark.split("\n"))), file=sys.stderr)


def load_data(
    config: DataConfig,
    split: str,
    value_range: ValueRange | None = None,
    label_kind: LabelKind = "classes",
    crop: Size | None = None,
    mixed: bool = False,
) -> Prepared:
    """A checked split in the configured size.

    Args:
      value_range: the stored values of 16-bit images that become 0 and 255; found in the split by default.
      label_kind: what labels are to be.
      crop: what batches take of each image.
      mixed: images may have any sizes, as they may where a crop is configured.

    Raises:
      ValueError, FileNotFoundError: something is missing or wrong; the message names the file.
    """
    if config.name == "shapes" and config.root is not None and (Path(config.root) / "images").is_dir():
        raise ValueError(f"{config.root} is a folder of images; to use them give --data.name folder as well")
    asked = {"channels": config.channels, "value_range": value_range, "label_kind": label_kind}
    asked |= {"pages": config.pages, "spacing": config.spacing, "per_image": config.per_image}
    source = open_source(config.name, split, root=config.root, unlabelled=True, **asked)  # the check tells what has no label
    mixed = (mixed or config.crop is not None) and config.size is None
    if config.skip_bad:
        source = without_faults(source, size=config.size, mixed=mixed)
    else:
        check_source(source, size=config.size, mixed=mixed)
    return Prepared(source, config.size, crop=crop, mixed=mixed, resize=config.resize)


def open_experiment(config: TrainConfig, expected: Preprocessing | None = None) -> "Experiment":
    """The objects of a run, for images that are read as its network expects them; `expected` is that of `Experiment`."""
    return Experiment(config, *load_splits(as_expected(config, expected), config.label_kind), expected)


def as_expected(config: TrainConfig, expected: Preprocessing | None = None) -> DataConfig:
    """The configuration of the data: where it asks for nothing else, each image is stretched as the weights expect it.

    Raises:
      ValueError: the data set is no folder, of which alone images are stretched.
    """
    if config.data.normalise != "weights" or config.data.mean is not None:
        return config.data
    if expected is None and config.init is not None:
        expected = find_weights(make_model(config, 1), config.init, config.init_source).preprocessing()
    if expected is None or expected.per_image is None:
        return config.data
    if config.data.name != "folder":
        told = f"{config.init} expects each image stretched ({expected.per_image}), as those of a folder alone can be"
        raise ValueError(f"{told}; ask for other statistics by data.normalise, such as imagenet")
    return dataclasses.replace(config.data, normalise=expected.per_image)


class Measurement(NamedTuple):
    """What a split gives."""

    state: Any
    """That of the task's metric."""
    loss: float | None = None
    """The task's loss, if it was asked for, anything has a label, and it is finite."""


@dataclasses.dataclass
class Experiment:
    """The objects of one run."""

    config: TrainConfig
    train: Prepared
    val: Prepared
    expected: Preprocessing | None = None
    """What the network expects of images, where a run goes on that knows it; else what its initial weights expect."""

    def __post_init__(self):
        if self.train.classes != self.val.classes:
            raise ValueError(f"train has the classes {self.train.classes}, val has {self.val.classes}")
        if self.train.shape[-1] != self.val.shape[-1]:
            raise ValueError(f"train images have {self.train.shape[-1]} channels, val images {self.val.shape[-1]}")
        terms = loss_terms(self.config.loss, tasks.find(self.config.task).default_loss)
        own = {"palette": self.train.palette, "terms": terms, **self.config.task_keywords()}
        self.task = tasks.make(self.config.task, self.train.classes, **own)
        self.task.check(self.train)
        self.train = self.train.encoded(self.task, self.config.sampling.foreground)
        self.val = self.val.encoded(self.task)
        self.task = self.task.fitted(self.train)
        root = None if self.config.data.root is None else Path(self.config.data.root)
        self.order = make_order(self.config.sampling, self.train, root)
        mesh = self.config.mesh
        if mesh.height > 1 and self.val.mixed:
            raise ValueError(
                f"mesh.height {mesh.height} divides rows of images of one size; leave out data.crop, or set data.size"
            )
        if uneven := [split.shape[0] for split in (self.train, self.val) if split.shape[0] % mesh.height]:
            raise ValueError(f"mesh.height {mesh.height} does not divide the {uneven[0]} rows of the images")
        layout = {"data": mesh.data, "height": mesh.height, "shard_params": self.config.shard_params}
        self.parallel = make_parallel(self.config.parallel, self.config.batch_size, **layout)
        self.model = make_model(self.config, self.task.channels, self.parallel.axis_name)
        _ = self.predicting  # which refuses an ensemble of what has no mean
        if self.config.data.size is not None:
            refuse_mean(self.task, "set data.crop in place of data.size")
        if len(self.train.shape) == 4:
            refuse_flat(self.model, self.train.shape[:-1])
        wanted = self.expected or configured(self.config.data, self._of_weights(), self.train)
        data = self.config.data
        seen = {"size": data.size, "resize": data.resize, "value_range": self.train.value_range}
        seen |= {"axes": len(self.train.shape) - 1, "spacing": data.spacing}
        self.preprocessing = dataclasses.replace(wanted, **seen)
        self.key = jax.random.key(self.config.seed)

    def _of_weights(self) -> Preprocessing:
        """What the initial weights expect of images; ImageNet's statistics where there are none."""
        channels = self.train.shape[-1]
        if self.config.init is None:
            return default_preprocessing(channels)
        return preprocessing_of(self.model, self.config.init, self.config.init_source, channels)

    @property
    def keys(self) -> list[Any]:
        """Of each network that is trained, the key of its seed."""
        return [jax.random.key((self.config.seed + i) % 2**32) for i in range(self.config.ensemble)]

    @property
    def predicting(self) -> Any:
        """The network as it predicts on one device: the mean of all that are trained."""
        return as_one(self.model.clone(axis_name=None), self.task, self.config.ensemble)

    def describe(self, state: TrainState) -> str:
        """What is trained on what, in a line."""
        million = sum(x.size for x in jax.tree.leaves(state.params)) / self.config.ensemble / 1e6
        several = f"{self.config.ensemble} x " if self.config.ensemble > 1 else ""
        data = f"{len(self.train)} images of {self.config.data.name}, {len(self.train.classes)} classes"
        devices = f"{self.parallel.size * self.config.mesh.height} {jax.default_backend()} device(s)"
        return f"{several}{self.config.model.name}, {million:.2f} M parameters; {data}; {devices}"

    def initial_state(self) -> TrainState:
        """A fresh training state, without the initial weights, before it is put on the devices."""
        model, tx = self.model.clone(axis_name=None), configured_optimizer(self.config, self.model)
        states = [create_state(model, tx, key, self.train.shape, **parts_of_state(self.config)) for key in self.keys]
        return states[0] if self.config.ensemble == 1 else stacked(states)

    def with_weights(self, state: TrainState) -> TrainState:
        """The fresh `state` with the weights that the run is to start from, if there are any."""
        if self.config.init is None:
            return state
        model, channels = self.model.clone(axis_name=None), self.train.shape[-1]
        return start_from(state, model, self.config.init, self.config.init_source, channels, self.config.ensemble)

    @functools.cached_property
    def weighted_task(self) -> Task:
        """The task with the class weights of its loss, which reading all labels of the training split gives."""
        return dataclasses.replace(self.task, terms=weighted(self.task.loss_terms, self.config.loss, self.task, self.train))

    def train_step(self) -> Callable:
        """The compiled training step, or `scan_steps` of them."""
        step = self._step(self.key) if self.config.ensemble == 1 else ensembled(self._step, jnp.stack(self.keys))
        return self.parallel.train_step(step, *([scanned] if self.config.scan_steps > 1 else []))

    def _step(self, key: Any) -> Callable:
        """The training step of a network with this key."""
        augment_key, dropout_key = jax.random.split(jax.random.fold_in(key, 1))

        def prepare(batch):
            changed = augment_batch(augment_key, batch, self.config.augment, self.preprocessing, codec=self.task)
            return changed["image"], {name: changed[name] for name in self.task.fill}

        return make_train_step(
            self.model,
            configured_optimizer(self.config, self.model),
            functools.partial(self.weighted_task.loss, axis_name=self.parallel.axis_name),
            prepare,
            key=dropout_key,
            aux_weight=self.config.loss.auxiliary,
            ema_decay=self.config.ema,
            **frozen_parts(self.config, self.model),
            remat=self.config.remat,
            accumulate=self.config.accumulate,
            axis_name=self.parallel.axis_name,
        )

    def taken_at_once(self, batch: Any) -> Any:
        """What a call of `train_step` takes, of `batch` in place of all its batches."""
        return batch if self.config.scan_steps == 1 else (batch,) * self.config.scan_steps

    def batches(self) -> TrainLoader:
        """This process's share of the batches of all epochs."""
        config = self.config
        how = {"order": self.order, "partners": config.augment.mixes, **hosts()}
        return TrainLoader(self.train, batch_size=config.step_size, seed=config.seed, **how)

    def check(self, train_step: Callable, state: TrainState) -> None:
        """Traces the training step, on what fills no batch: whatever does not fit together is told here, before it begins.

        Args:
          train_step: that of `train_step`, which need not be traced again for such a state and batch.
          state: that of `initial_state`.
        """
        if self.config.best not in (names := self.evaluation(Measurement(self.task.metric().init()))):
            raise unknown("value of an evaluation:", self.config.best, names)
        nothing = np.full(self.config.step_size // jax.process_count(), -1)
        batch = self.parallel.put_batch(self.batches().read(nothing, np.zeros_like(nothing)))
        jax.eval_shape(train_step, self.parallel.put_state(state), self.taken_at_once(batch))

    def evaluation(self, measured: Measurement) -> dict[str, float | None]:
        """The values of an evaluation record, from what the validation split has given."""
        return {**self.task.scalars(self.task.metric().compute(measured.state), "val/"), "val/loss": measured.loss}

    def evaluator(self) -> Callable[[Any], Measurement]:
        """variables on the devices -> what the validation split gives."""
        data = self.preprocessing, self.val, self.config.batch_size
        model = as_one(self.model, self.task, self.config.ensemble)
        return make_evaluator(model, self.weighted_task, *data, self.parallel, with_loss=True)


class Hosts(TypedDict):
    """Which of how many processes this is."""

    process_index: int
    process_count: int


def hosts() -> Hosts:
    """The keywords of what divides samples among processes."""
    return {"process_index": jax.process_index(), "process_count": jax.process_count()}


def make_evaluator(
    model: nn.Module | Ensemble,
    task: Task,
    preprocessing: Preprocessing,
    source: Prepared,
    batch_size: int,
    parallel: Any,
    *,
    with_loss: bool = False,
) -> Callable[[Any], Measurement]:
    """Builds `measure(variables) -> Measurement` over every pixel of `source`, each counted once."""
    metric = task.metric()

    def prepare(batch):
        return preprocessing.apply(batch["image"]), {name: batch[name] for name in task.fill}

    def count(scores, targets, images):  # without those that fill up a batch
        truths = [task.truth({name: values[i] for name, values in targets.items()}) for i in range(images)]
        return metric.count([task.prediction(one) for one in scores[:images]], truths)

    step = parallel.eval_step(make_eval_step(model, task, prepare, with_loss=with_loss, axis_name=parallel.axis_name))

    def measure(variables):
        state, sums = metric.init(), np.zeros(2)
        for (indices, _), batch in zip(eval_plan(source, batch_size), eval_batches(source, batch_size, **hosts()), strict=True):
            found, losses = parallel.read(step(variables, parallel.put_batch(batch)))
            if task.on_host:
                found = count(*found, images=int((indices >= 0).sum()))
            state = metric.merge(state, found)
            if with_loss:
                value, weight = np.asarray(losses, np.float64).T
                sums = sums + np.stack([np.where(weight > 0, value * weight, 0), weight], -1)
        return Measurement(state, _loss(sums) if with_loss else None)

    return measure


def _loss(sums: np.ndarray) -> float | None:
    """The loss of several batches; None where a term has no weight, or the loss is not finite.

    `sums` [terms, 2] are those of weighed values and of weights.
    """
    if np.any(sums[..., 1] == 0):
        return None
    return defined(np.sum(sums[..., 0] / sums[..., 1]))
