"""The configuration of a training run: frozen dataclasses, read from the command line by tyro and saved as JSON."""

import dataclasses
import json
import typing
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal

import tyro

from experiments.configuration.keywords import keywords
from fcn.data import AugmentConfig, LabelKind
from fcn.data.loading.sampling import SamplingConfig
from fcn.options import frozen, wrong_type
from fcn.preprocessing import PerImage, Resize
from fcn.ranges import Range, abbreviate, check_fields
from fcn.tasks import find
from fcn.training import OptimizerConfig
from fcn.training.best import BEST


@dataclasses.dataclass(frozen=True)
class DataConfig:
    """Where images and labels come from."""

    name: str = "shapes"
    """shapes (built in), folder (images and labels as files) or tfds:NAME (any prepared TensorFlow Datasets set)."""
    root: str | None = None
    """The folder of the data: one of the layouts of docs/data.md for `folder`, else the prepared sets (default: the cache)."""
    train: str = "train"
    """Split to train on; slices as in train[:80%] work."""
    val: str = "val"
    """Split to validate on."""
    size: Annotated[tuple[int, int] | None, Range(1, 2**16)] = None
    """Height and width that images and labels are resized to before anything else; None keeps them (all alike, or cropped)."""
    crop: Annotated[tuple[int, ...] | None, Range(1, 2**16)] = None
    """Height and width of what training takes of each image, three sides of a volume, or the length of a signal; elsewhere each
    epoch. Evaluation takes whole images."""
    resize: Resize = "exact"
    """What images get of --data.size: both, or, with their aspect ratio, sides so that the longer one fits or the shorter one
    fills it; training then takes crops of --data.crop, or of that size."""
    normalise: Literal["weights", "imagenet", "dataset", "ct", "percentiles", "z-score"] = "weights"
    """Statistics that make values small: those which the initial weights expect, be it of each image (or ImageNet's),
    ImageNet's, those of the training images or, of volumes, of what is labelled there (ct), or of each image its percentiles 1
    and 99.8, or its mean and deviation."""
    mean: Annotated[tuple[float, ...] | None, Range(0, 1)] = None
    """What is taken off the values 0..1 of each channel, with --data.std in place of these statistics; in the network's order
    (blue first, where the initial weights expect that)."""
    std: Annotated[tuple[float, ...] | None, Range(0, 1, above=True)] = None
    """What they are then divided by."""
    skip_bad: bool = False
    """Leave out images and labels that cannot be used, which are listed; else one of them ends the command."""
    channels: Annotated[int | None, Range(1, 64)] = None
    """1 reads images as gray, 3 as RGB, another number as many channels as are stored; None decides by the first (a fourth
    channel is left out, with a warning)."""
    pages: Literal["channels", "slices"] | None = None
    """What the pages of a TIFF file are: channels of one image, or slices of a volume. None refuses files of several pages."""
    spacing: Annotated[tuple[float, float, float] | None, Range(0, above=True)] = None
    """Millimetres to which volumes are resampled along each axis; predictions come back at their own. None takes volumes as
    they are."""

    @property
    def per_image(self) -> PerImage | None:
        """What of each image decides how it is read, if anything does."""
        return next((way for way in typing.get_args(PerImage) if way == self.normalise), None)

    def __post_init__(self):
        check_fields(self, "data.")
        if (self.mean is None) != (self.std is None):
            raise ValueError("data.mean and data.std belong together; give both, or neither")
        if self.mean is not None and self.normalise != "weights":
            what = f"the statistics that data.normalise {self.normalise} asks for"
            raise ValueError(f"data.mean takes the place of {what}; give one")
        if self.resize != "exact" and self.size is None:
            raise ValueError(f"data.resize is {self.resize!r}, but there is no data.size to resize images to")
        if self.root is not None:  # the same folder from wherever the run is started again
            object.__setattr__(self, "root", str(Path(self.root).expanduser().absolute()))


@dataclasses.dataclass(frozen=True)
class ModelConfig:
    """The network."""

    name: str = "unet"
    """A name of fcn.list_models()."""
    encoder: str | None = None
    """A name of fcn.list_encoders(), for models that take one."""
    options: tuple[str, ...] = ()
    """Further fields of the model as name=value, such as base_features=32 depth=4; values are JSON or plain words."""

    def keywords(self) -> dict[str, Any]:
        """`options` as keyword arguments; a ValueError tells of one that is none."""
        taken = {"encoder": "--model.encoder sets the encoder, the run sets the rest"}
        taken |= dict.fromkeys(("num_classes", "axis_name", "name", "parent"), taken["encoder"])
        return keywords(self.options, "model", taken)


@dataclasses.dataclass(frozen=True)
class LossConfig:
    """What is minimised."""

    terms: str | None = None
    """A sum of losses (docs/losses.md): 0.5*ce+0.5*dice, focal(gamma=3) ... (default: the task's, such as ce)."""
    reduction: Literal["mean", "sum"] = "mean"
    """mean over labelled pixels, or their sum as in the FCN paper."""
    class_weights: Literal["none", "enet", "median_frequency"] = "none"
    """Weights of classes in the cross-entropy, by their share: none, 1 / ln(1.02 + share) (ENet), or median frequency."""
    class_weight_power: Annotated[float, Range(0, 8)] = 1.0
    """Exponent of these weights: 0.5 is their square root, a milder correction."""
    dice: Annotated[float, Range(0)] = 0.0
    """Weight of a Dice loss over the classes that occur, added to the cross-entropy; see also --loss.terms."""
    label_smoothing: Annotated[float, Range(0, 1, below=True)] = 0.0
    """Share of the target that is spread over all classes."""
    auxiliary: Annotated[float, Range(0)] = 0.4
    """Weight of the loss of each auxiliary head, for models that have them."""

    def __post_init__(self):
        check_fields(self, "loss.")


@dataclasses.dataclass(frozen=True)
class MeshConfig:
    """How devices are laid out."""

    data: Annotated[int | None, Range(1)] = None
    """Over so many devices a batch is divided (default: over all, by those of an image)."""
    height: Annotated[int, Range(1)] = 1
    """Over so many devices the rows of each image are divided, for images that are too large for one; with --parallel jit."""

    def __post_init__(self):
        check_fields(self, "mesh.")


@dataclasses.dataclass(frozen=True)
class HostsConfig:
    """Several hosts: start the same command on each. On Slurm, Kubernetes and Cloud TPU coordinator=auto is enough."""

    coordinator: str | None = None
    """Address HOST:PORT of process 0, or auto."""
    count: Annotated[int | None, Range(1)] = None
    """Number of processes."""
    index: Annotated[int | None, Range(0)] = None
    """Number of this process, from 0."""

    def __post_init__(self):
        check_fields(self, "hosts.")
        if self.count is not None and self.index is not None and self.index >= self.count:
            raise ValueError(f"hosts.index is {self.index}; of {self.count} processes it is one of 0 to {self.count - 1}")


@dataclasses.dataclass(frozen=True)
class TrainConfig:
    """Everything that a run depends on."""

    preset: tyro.conf.Suppress[str] = "shapes_unet"
    workdir: str | None = None
    """The run folder (default: runs/PRESET). A run that was interrupted goes on where its last checkpoint is."""
    overwrite: bool = False
    """Start afresh if the run folder holds a run already, which is removed when the new one has its first checkpoint."""
    tracker: Literal["none", "wandb", "mlflow"] = "none"
    """A service that gets the records, too; its package must be installed."""
    dry_run: bool = False
    """Say what the run would take (parameters, arithmetic, memory, time), and end before anything is trained or written."""
    json: Path | None = None
    """A file to which --dry-run also writes what it says, as JSON."""
    extend: bool = False
    """Go on with a run of fewer steps, to the new --steps, or with one that ended early, with another --patience. The
    learning rate follows the schedule of the new length: it may jump, and the result is not that of a run which had this length
    from the start."""
    seed: Annotated[int, Range(0, 2**32 - 1)] = 0
    """Seed of initialisation, order of samples, augmentation and dropout."""
    ensemble: Annotated[int, Range(1, 64)] = 1
    """So many networks are trained together, in one program, as from --seed, the next and so on, but on the same batches;
    evaluate and predict take the mean of what they predict."""
    steps: Annotated[int, Range(1)] = 1000
    """Length of the run in steps (updates)."""
    batch_size: Annotated[int, Range(1, 2**20)] = 16
    """Images at a time, over all devices."""
    accumulate: Annotated[int, Range(1, 1024)] = 1
    """So many batches make a step, as one that is so many times as large would."""
    scan_steps: Annotated[int, Range(1, 1024)] = 1
    """So many steps run as one program, which saves time where a step is shorter than the host's work for it."""
    precision: Literal["f32", "bf16"] = "f32"
    """What the network computes in, float32 or bfloat16; parameters, statistics, logits and loss are float32 in any case."""
    remat: Literal["none", "blocks", "all"] = "none"
    """What is computed again in the backward pass, to save memory: nothing, the inside of each block, or the whole network."""
    log_every: Annotated[int, Range(1)] = 20
    """Steps between records of the training loss."""
    eval_every: Annotated[int, Range(1)] = 200
    """Steps between evaluations on the validation split."""
    checkpoint_every: Annotated[int, Range(1)] = 200
    """Steps between checkpoints."""
    best: str = BEST
    """Which value of an evaluation marks the best checkpoint, which is kept beside the last: val/miou, val/iou/NAME ... The
    highest is the best; of what is called a loss, an error or a distance the lowest."""
    patience: Annotated[int | None, Range(1)] = None
    """Evaluations in a row without a better value of --best after which the run ends early."""
    task: str = "semantic"
    """What the network's channels mean: semantic (one class a pixel), binary (one channel for two classes), multilabel (any
    number of classes a pixel), regression (values), boundary, stardist, flows and condinst (objects), panoptic (objects of
    several classes), or picks (moments of signals)."""
    task_options: tuple[str, ...] = ()
    """Further fields of the task as name=value, such as rays=64 threshold=0.4; values are JSON or plain words."""
    parallel: Literal["jit", "pmap"] = "jit"
    """How several devices are used: jit with sharded arrays, or pmap."""
    shard_params: bool = False
    """Each device keeps a share of parameters, optimizer state and averages, for networks that are too large for one; with
    --parallel jit."""
    init: str | None = None
    """Weights to start from: a published name (resnet50.imagenet1k_v2), a saved model, a run folder or a checkpoint file."""
    init_source: str | None = None
    """Whose names a checkpoint file has: torchvision, timm, smp, torchfcn, espnet, cifar, caffe, tf_deeplab, cellpose,
    stardist, brainchop, phasenet, nnunet or monai."""
    on_nan: Literal["stop", "skip"] = "stop"
    """What becomes of a step whose loss or gradient is not finite: it ends the run, or its update is dropped and counted; ten
    in a row end the run."""
    freeze: tuple[str, ...] = ()
    """Parts of the network that stay as they are, with BatchNorm's statistics: encoder, or paths such as encoder/layer1_0."""
    unfreeze_after: Annotated[int | None, Range(1)] = None
    """Steps after which they learn, too."""
    ema: Annotated[float, Range(0, 1, below=True)] = 0.0
    """Decay of a moving average of the network's variables that is evaluated and used in their place; 0 keeps none."""
    data: DataConfig = DataConfig()
    model: ModelConfig = ModelConfig()
    loss: LossConfig = LossConfig()
    optim: OptimizerConfig = OptimizerConfig()
    augment: AugmentConfig = AugmentConfig()
    sampling: SamplingConfig = SamplingConfig()
    mesh: MeshConfig = MeshConfig()
    hosts: HostsConfig = HostsConfig()

    def __post_init__(self):
        check_fields(self)
        if self.best == BEST:  # of tasks that do not measure it another value
            object.__setattr__(self, "best", f"val/{find(self.task).best}")
        if self.json is not None and not self.dry_run:
            raise ValueError(f"json is {self.json}, but a training writes no such file; it is for --dry-run")
        if self.unfreeze_after is not None and not self.freeze:
            raise ValueError(f"unfreeze_after is {self.unfreeze_after}, but nothing is frozen; name it: --freeze encoder")
        if self.ensemble > 1 and self.on_nan == "skip":
            raise ValueError(f"on_nan is skip, by which each of {self.ensemble} networks would drop its own updates; take stop")
        if self.ensemble > 1 and self.parallel == "pmap":
            raise ValueError(f"parallel is pmap, which trains one network; for an ensemble of {self.ensemble} take jit")

    def task_keywords(self) -> dict[str, Any]:
        """`task_options` as keyword arguments; a ValueError tells of one that is none."""
        return task_keywords(self.task_options)

    @property
    def label_kind(self) -> LabelKind:
        """What the labels are that the task learns from."""
        return find(self.task).label_kind

    @property
    def step_size(self) -> int:
        """Images in a step."""
        return self.batch_size * self.accumulate

    @property
    def folder(self) -> Path:
        """The run folder."""
        return Path(self.workdir or f"runs/{self.preset}")


def task_keywords(options: Sequence[str]) -> dict[str, Any]:
    """Options of a task as keyword arguments."""
    taken = {"terms": "--loss.terms sets the loss", **dict.fromkeys(("classes", "palette", "ignore_index"), "the data set it")}
    return keywords(options, "task", taken)


# How a run is started, not what it computes: not kept.
_NOT_KEPT = ("workdir", "overwrite", "tracker", "dry_run", "json", "extend", "scan_steps", "shard_params", "mesh", "hosts")
# Where its data lie, and when it writes what down: kept, and free to change when it goes on.
_FREE = ("data.root", "log_every", "eval_every", "checkpoint_every")


def to_json(config: TrainConfig) -> dict[str, Any]:
    """The configuration as JSON values, without what does not change the run."""
    fields = dataclasses.asdict(config)
    return json.loads(json.dumps({name: value for name, value in fields.items() if name not in _NOT_KEPT}))


def flattened(values: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """{"optim": {"name": "sgd"}} -> {"optim.name": "sgd"}."""
    flat: dict[str, Any] = {}
    for name, value in values.items():
        flat |= flattened(value, f"{prefix}{name}.") if isinstance(value, Mapping) else {prefix + name: value}
    return flat


def from_json(values: dict[str, Any]) -> TrainConfig:
    """The configuration that `to_json` gave.

    Raises:
      ValueError: a field is not known, or has a value of another type or outside its range.
    """
    return _build(TrainConfig, values)


def _build(cls: type, values: Any, place: str = ""):
    if not isinstance(values, dict):
        raise ValueError(f"{place[:-1]} is {abbreviate(values)}; it must be an object")
    hints = typing.get_type_hints(cls)
    fields = {field.name: field for field in dataclasses.fields(cls)}
    if unknown := sorted(set(values) - set(fields)):
        raise ValueError(f"it has fields that {cls.__name__} does not: {', '.join(unknown)}")

    def convert(name, value):
        if dataclasses.is_dataclass(hints[name]):
            return _build(hints[name], value, f"{place}{name}.")
        value = frozen(value)
        if wanted := wrong_type(value, hints[name]):
            raise ValueError(f"{place}{name} is {abbreviate(value)}; it must be {wanted}")
        return value

    return cls(**{name: convert(name, value) for name, value in values.items()})


def changes(old: TrainConfig, new: TrainConfig) -> list[str]:
    """What makes `new` another run than `old`, as `differences` says it; with `new.extend` more steps do not."""
    free = (*_FREE, "steps", "patience") if new.extend and new.steps >= old.steps else _FREE
    return [text for text in differences(to_json(old), to_json(new)) if text.partition(":")[0] not in free]


def differences(a: dict[str, Any], b: dict[str, Any], prefix: str = "") -> list[str]:
    """The fields in which two JSON configurations differ: "optim.learning_rate: 0.001 -> 0.003"."""
    found = []
    for name in sorted(set(a) | set(b)):
        old, new = a.get(name), b.get(name)
        if isinstance(old, dict) and isinstance(new, dict):
            found += differences(old, new, f"{prefix}{name}.")
        elif old != new:
            found.append(f"{prefix}{name}: {old} -> {new}")
    return found
