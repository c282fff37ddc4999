"""Predict: `python -m experiments.predict RUN IMAGES ... --out DIR`.

For each image, of any size, writes what the network's task gives, of the image's size: NAME_mask.png (class ids, shown in the
classes' colours) and NAME_overlay.png (the classes in colour over the image), or a mask for each class, or values
(docs/losses.md), or objects: NAME_instances.tif (their numbers, docs/instances.md), NAME_objects.csv (a table of them) and
NAME_overlay.png (their outlines); for all, legend.png (what the colours mean), where colours mean classes. IMAGES are files,
folders (with their subfolders) and patterns in quotes, such as "photos/**/*.jpg". An image that cannot be predicted is told,
and the others are done; the exit status is then 1.

RUN is the folder of a run or of a saved model, a file of `experiments.export`, or the name of published weights
(`python -m fcn` lists them). With --model and --weights, published weights
or a checkpoint of another implementation take its place: `predict IMAGES ... --model fcn8s --weights FILE --source torchfcn
--classes NAMES --out DIR`.

Of volumes (NIfTI, NumPy's arrays), by a network that was trained on such, NAME_mask.nii.gz has the classes, with the header of
the file, and NAME_slices.png three slices; they are seen in blocks as large as the crops of training (--tile: another side).

Of signals (NumPy's arrays, tables), by a network that was trained on such, NAME_mask.csv has the class of each sample, and
NAME_signal.png shows curves and classes; of the task picks NAME_picks.csv has the picks, and NAME_picks.png shows them.

Images that are too large for the memory, also arrays of Zarr, are seen in parts (--tile), and their class ids written part by
part (--format tif).

A network that was trained on resized images sees each image at that size, too: its longer side gets as many pixels as in
training. That suits photos of the same kind from any camera. For scans, microscopes and satellites, whose things have the same
size in pixels in large images and small ones, give the scale to which training brought them: --scale 0.25, or --scale 1 for
images as they are. The scale is said for each image.
"""

import contextlib
import csv
import dataclasses
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import tyro

from experiments import command
from experiments.prediction.kinds import Format, Kind, chosen
from fcn.ranges import LARGEST, Range, check_fields

if TYPE_CHECKING:
    from fcn.inference.files import Files
    from fcn.preprocessing import Preprocessing

_VIEWS = ("flips", "rotations")
_OF_IMAGES = ("size", "scale", "dropout", "save", "format", "objects", "value_range")
"""Options that signals and volumes do not have."""
_NOT_OF_SIGNALS = ("tta", "ensemble", "csv")
"""Further ones that signals do not have."""
_LISTS = ("--save", "--format", "--tta", "--objects")
"""Options of several words, which commas may divide as well."""
_ALLOWED = {
    "--tile": ("'auto', 'none' or a number of pixels, such as 512", int),
    "--tta": ("'flips', 'rotations', or scales, such as 0.75", float),
}


@dataclasses.dataclass(frozen=True)
class PredictConfig:
    """Masks or values of images by a trained network."""

    inputs: Annotated[tuple[Path, ...], tyro.conf.Positional]
    """The run folder (or a saved model, an export, published weights), and images: files, folders, patterns; with --model, only
    images."""
    out: Path
    """The folder to write to; made if it is missing."""
    checkpoint: Literal["last", "best"] = "last"
    """Which checkpoint of a run: the last, or the best by what its training took for it (--best, validation mIoU)."""
    model: str | None = None
    """A name of fcn.list_models(), in place of a run."""
    encoder: str | None = None
    """The encoder of --model, if not its default."""
    options: tuple[str, ...] = ()
    """Further fields of --model as name=value."""
    weights: str | None = None
    """The weights of --model: a published name or a checkpoint file."""
    source: str | None = None
    """Whose names a checkpoint file has: torchvision, timm, smp, torchfcn, espnet, cifar, caffe, tf_deeplab, cellpose,
    stardist, brainchop, phasenet, nnunet or monai."""
    classes: Path | None = None
    """A text file with the names of the classes of a checkpoint file (or a folder of smp's), one on each line."""
    task_options: tuple[str, ...] = ()
    """Other options of the network's task than in training, as name=value: threshold=0.4 ... (docs/instances.md)."""
    size: Annotated[tuple[int, int] | None, Range(1, 2**16)] = None
    """Height and width at which the network sees each image (default: the longer side as in training)."""
    scale: Annotated[float | None, Range(0, 64, above=True)] = None
    """The network sees each image so many times as large: 1 as it is, 0.5 at half its size."""
    value_range: Annotated[tuple[float, float] | None, Range(-LARGEST[float])] = None
    """The stored values that are black and white in images of more than 8 bits, such as 0 4095 (default: as in training, or 0
    65535)."""
    pages: Literal["channels", "images"] | None = None
    """What the pages of a TIFF file are: channels of one image, or images, each of which is predicted: NAME_p0001_mask.png ...
    (default: as in training, or such files are refused)."""
    tile: str = "none"
    """A number of pixels, "auto" or "none": the network sees images in parts of so many pixels ("auto": of 512, where an image
    is larger than 1024 x 1024), so that memory grows with the image by its result only. Networks that see the whole image give
    another result then, which is said."""
    tta: tuple[str, ...] = ()
    """Average over views: "flips" (4 views, of volumes 8), "rotations" by 90 degrees (4, with flips 8), and scales such as
    0.75."""
    dropout: Annotated[int, Range(0, 10_000)] = 0
    """The network predicts so many times, each time with other features dropped, as in training; probabilities are averaged.
    --save uncertainty tells where they differ. 0: once, without."""
    seed: Annotated[int, Range(0, LARGEST[int])] = 0
    """Of what --dropout drops."""
    ensemble: tuple[Path, ...] = ()
    """Further runs or saved models of the same kind; the probabilities of all are averaged."""
    save: tuple[Kind, ...] = ()
    """What to write (default: labels and overlay; with --format tif or npy labels, with geojson or coco-rle contours).
    "probabilities": NAME_probabilities.npy, float32 [H, W, classes]. "uncertainty": NAME_uncertainty.png, white where all
    classes are as likely, and .npy, float32 [H, W, 2]: the entropy in nats, and what of it the views of --tta, the networks of
    --ensemble and the samples of --dropout disagree about (mutual information). "contours": the outlines of the
    parts of each class, or of objects."""
    format: tuple[Format, ...] = ("png",)
    """Of labels png, tif, npy; of contours png (drawn over the image), geojson, coco-rle (NAME_coco.json). Class ids alone as
    "tif" or "npy" are written part by part, and TIFF and NumPy's files read so: neither image nor labels need fit into memory,
    and the same command goes on where it was interrupted. --tile none is then "auto"."""
    csv: Path | None = None
    """Write a table to this file: of each image its size, the seconds that predicting it took (the first of a size compiles),
    and the share of each class."""
    overlay: bool = True
    """Write overlays as well."""
    objects: tuple[Literal["csv", "geojson", "coco"], ...] = ("csv",)
    """Which tables to write where the task finds objects: NAME_objects.csv, with outlines NAME_objects.geojson, and of all
    images objects.coco.json (and NAME_objects.csv)."""
    skip_existing: bool = False
    """Leave out images that are done already: goes on where it was interrupted."""
    overwrite: bool = False
    """Replace files of the same names; never one of the images."""

    def __post_init__(self):
        check_fields(self)
        _ = self.views, self.part  # which refuse what they cannot read
        chosen(self.save, self.format, self.overlay)
        if "overlay" in self.save and not self.overlay:
            raise ValueError("--save names overlay, which --no-overlay leaves out; give one of them")
        command.refuse_to_write("csv", self.csv, self.overwrite or self.skip_existing)
        if self.size is not None and self.scale is not None:
            raise ValueError("--size and --scale are two ways to say the same; give one of them")
        if self.skip_existing and self.overwrite:
            raise ValueError("--skip-existing keeps what --overwrite replaces; give one of them")

    @property
    def views(self) -> list[str | float]:
        """What `fcn.inference.Predictor` takes as tta."""
        return [text if text in _VIEWS else _number("--tta", text) for text in self.tta]

    @property
    def how(self) -> dict[str, Any]:
        """What `Stages` and `Maps` take."""
        return {"tta": self.views, "dropout": self.dropout, "seed": self.seed, "table": self.csv is not None}

    @property
    def labels_alone(self) -> bool:
        """Whether nothing but labels is written, in a format that can be written part by part."""
        return chosen(self.save, self.format, self.overlay) == ("labels",) and self.format in (("tif",), ("npy",))

    @property
    def part(self) -> int | Literal["auto"] | None:
        """What it takes as tile."""
        if self.tile in ("none", "auto"):
            return "auto" if self.tile == "auto" else None
        return int(_number("--tile", self.tile))

    @property
    def run(self) -> Path | None:
        """The folder of the network."""
        return self.inputs[0] if self.model is None and self.inputs else None

    @property
    def images(self) -> tuple[Path, ...]:
        """The image files, folders and patterns."""
        return self.inputs if self.model is not None else self.inputs[1:]


def main(args: Sequence[str]) -> None:
    options = command.parse(PredictConfig, with_spaces(args), "predict", __doc__)
    if (options.model is None) != (options.weights is None):
        raise ValueError("--model and --weights belong together; give both, or a run folder and neither")
    if options.model is None:
        command.refuse_without_model(options, "encoder", "options", "source")
    elif options.ensemble:
        raise ValueError("--ensemble names runs or saved models; give the first in place of --model and --weights")
    if options.run is not None and options.run.suffix == ".onnx":
        raise ValueError(f"{options.run} is for ONNX runtimes; name the run, the saved model or the .fcn file it was made of")
    if options.run is not None and options.run.is_file() and options.run.suffix != ".fcn":
        raise ValueError(f"{options.run} is a file; name the run folder (or --model and --weights) before the images")
    if not options.images:
        raise ValueError("no image was given; name image files, or a folder of them")
    command.refuse_file_name(options.out, "a folder of pictures")
    from fcn.data.loading.samples import NAMES

    expected = expected_of(options)
    if expected is None or expected.axes == 2:
        predict_images(options)
        return
    refuse_options(options, NAMES[expected.axes], (*_OF_IMAGES, *(_NOT_OF_SIGNALS if expected.axes == 1 else ())))
    if expected.axes == 1:
        predict_signals(options)
    else:
        predict_volumes(options, joined=expected.channels > 1)


def refuse_options(options: PredictConfig, what: str, names: Sequence[str]) -> None:
    """Raises a ValueError where something is asked for that signals, or volumes, do not have."""
    usual = {field.name: field.default for field in dataclasses.fields(options)}
    if given := [name for name in names if getattr(options, name) != usual[name]]:
        both = " and volumes" * (given[0] in _NOT_OF_SIGNALS)
        raise ValueError(f"--{given[0].replace('_', '-')} is for images{both}, and the network takes {what}; leave it out")


def predict_signals(options: PredictConfig) -> None:
    """Predicts the signals that a command line names."""
    from experiments.prediction.signals import planned, predict_all

    network = read_network(options)
    plans = planned(options.images, options.out, network, done_before(options))
    options.out.mkdir(parents=True, exist_ok=True)
    if refused := predict_all(network, plans, options.tile):
        raise ValueError(f"{len(refused)} of {len(plans)} signals were not predicted: {', '.join(map(str, refused[:5]))}")


def with_spaces(args: Sequence[str]) -> list[str]:
    """The command line, with `--save labels,overlay` as `--save labels overlay`."""
    found, option = [], ""
    for arg in args:
        option = arg if arg.startswith("--") else option
        found += arg.split(",") if option in _LISTS else [arg]
    return found


def predict_volumes(options: PredictConfig, joined: bool) -> None:
    """Predicts the volumes that a command line names; `joined`: CASE_0001 and so on are channels of CASE_0000."""
    from experiments.prediction.volumes import planned, predict_all

    slices = options.pages is not None
    plans = planned(options.images, options.out, options.overlay, done_before(options), slices, joined)
    command.cache_compilations(calls=len(plans))
    network, rows = read_network(options), []
    others = read_others(options, network)
    options.out.mkdir(parents=True, exist_ok=True)
    with table_of(options, rows):
        refused = predict_all(network, plans, options.tile, options.views, others, rows)
    if refused:
        raise ValueError(f"{len(refused)} of {len(plans)} volumes were not predicted: {', '.join(map(str, refused[:5]))}")


def predict_images(options: PredictConfig) -> None:
    """Predicts the images that a command line names."""
    from experiments.prediction.outputs import plan

    pages = options.pages == "images"
    found = endings(options)
    in_parts = options.labels_alone and found == [f"mask.{options.format[0]}"]  # class ids
    plans = plan(options.images, options.out, found, done=done_before(options), pages=pages)
    table = coco_table(options)
    if not plans:
        print(f"all images are done, in {options.out}")
    command.cache_compilations(calls=command.OFTEN if in_parts else len(plans))
    write = write_maps if in_parts else write_pictures
    refused = write(options, plans) if plans else []
    table()
    if refused:
        shown = ", ".join(map(str, refused[:5])) + (f" and {len(refused) - 5} more" if refused[5:] else "")
        raise ValueError(f"{len(refused)} of {len(plans)} images were not predicted: {shown}")


def expected_of(options: PredictConfig) -> "Preprocessing | None":
    """What the network of a run, a saved model or an export expects, by its record; None where nothing tells it."""
    from experiments.building.networks import stored_preprocessing

    return None if options.run is None else stored_preprocessing(options.run)


def write_pictures(options: PredictConfig, plans: "Sequence[Files]") -> list[Path]:
    """What the task gives of each image; gives the images that were refused."""
    from experiments.prediction.stages import Stages, predict_all

    network = read_network(options)
    others = read_others(options, network)
    stages = Stages(network, options.size, options.scale, options.part, others=others, **options.how)
    options.out.mkdir(parents=True, exist_ok=True)
    stages.write_legend(options.out, overwrite=options.overwrite, keep=options.skip_existing)
    with table_of(options, stages.rows):
        return predict_all(stages, plans)


def coco_table(options: PredictConfig) -> Callable[[], None]:
    """What writes the objects of all images that are done as one file, where that is asked for.

    Raises:
      FileExistsError: the file is there.
    """
    if "coco" not in options.objects:
        return lambda: None
    from experiments.building.networks import stored_task
    from experiments.prediction.coco import NAME, write_coco
    from experiments.prediction.outputs import plan

    path, task = options.out / NAME, stored_task(options.run) if options.run else None
    if path.exists() and not (options.overwrite or options.skip_existing):
        raise FileExistsError(f"{path} exists already; give another --out, or --skip-existing, or --overwrite")
    every = plan(options.images, options.out, endings(options), done="replaced", pages=options.pages == "images")
    return lambda: write_coco(path, every, () if task is None else task.classes)


def write_maps(options: PredictConfig, plans: "Sequence[Files]") -> list[Path]:
    """A map of class ids of each image; gives the images that were refused."""
    from experiments.prediction.maps import Maps, map_all

    if options.size is not None:
        raise ValueError(f"--format {options.format[0]} alone writes class ids of images as they are; leave --size out")
    network = read_network(options)
    known = {"tile": options.part or "auto", "overwrite": options.overwrite}
    maps = Maps(network, options.scale, read_others(options, network), **known, **options.how)
    with table_of(options, maps.rows):
        return map_all(maps, plans)


@contextlib.contextmanager
def table_of(options: PredictConfig, rows: list[dict]) -> Iterator[None]:
    """Writes what --csv asks for in the end, also of a call that is interrupted; --skip-existing keeps the rows before."""
    from experiments.reports.ranking import write_csv

    before: list[dict] = []
    if options.csv is not None and options.csv.exists() and options.skip_existing:
        with options.csv.open(newline="", encoding="utf-8") as file:
            before = list(csv.DictReader(file))
    try:
        yield
    finally:
        if options.csv is not None:
            write_csv([*before, *rows], options.csv)


def endings(options: PredictConfig) -> list[str]:
    """Of the files that are written for an image, the one last that tells that it is done."""
    from experiments.building.networks import stored_task
    from experiments.prediction.results import endings_of
    from fcn.tasks import Semantic

    task = (None if options.run is None else stored_task(options.run)) or Semantic
    asked = [f"objects.{form}" for form in options.objects]
    if (more := {"geojson", "coco"} & {*options.objects}) and not task.on_request:
        raise ValueError(f"--objects {min(more)} is for tasks that find objects, not for {task.name!r}; leave it out")
    if "coco" in options.objects:
        asked.append("objects.csv")  # which tells classes and scores
    tables = [ending for ending in (*task.on_request, *task.suffixes) if ending in asked]
    found = [*tables, *endings_of(task, options.save, options.format, options.overlay)]
    if "coco" in options.objects and "instances.tif" not in found:
        raise ValueError("--objects coco is made of the map of objects, which --save leaves out; name labels there, too")
    return found


def done_before(options: PredictConfig) -> Literal["refused", "left out", "replaced"]:
    """What becomes of an image whose files exist."""
    return "left out" if options.skip_existing else "replaced" if options.overwrite else "refused"


def read_network(options: PredictConfig):
    """The network to predict with, and the range of values of 16-bit images, which is said.

    Raises:
      ValueError: it has one class or more than 256, or something of it is wrong.
      FileNotFoundError: there is none.
    """
    from experiments.building.networks import from_folder, from_weights, named, with_task_options
    from experiments.configuration.config import ModelConfig
    from fcn.pretrained import WEIGHTS

    if options.run is None:
        assert options.model is not None and options.weights is not None  # or else it was refused
        model = ModelConfig(options.model, options.encoder, options.options)
        network = from_weights(model, options.weights, options.source, options.classes)
    elif str(options.run) in WEIGHTS and not options.run.exists():
        network = named(str(options.run))
    else:
        network = from_folder(options.run, options.checkpoint, options.classes)
    network = with_task_options(network, options.task_options)
    expected = network.preprocessing
    classes = network.task.classes
    if network.task.label_kind == "classes" and not 2 <= len(classes) <= 256:
        count = "1 class" if len(classes) == 1 else f"{len(classes)} classes"
        raise ValueError(f"the network has {count}; a mask, which is a PNG of 8 bits, tells 2 to 256 apart")
    if options.value_range is not None:
        expected = dataclasses.replace(expected, value_range=options.value_range)
    if expected.value_range is not None:
        origin = "as in training" if options.value_range is None else "as asked for"
        print("stored values {:g}..{:g} are seen as black..white, {}".format(*expected.value_range, origin))
    pages = network.data.pages if options.pages is None else "channels" if options.pages == "channels" else None
    data = dataclasses.replace(network.data, pages=pages)
    return network._replace(preprocessing=expected, data=data)


def read_others(options: PredictConfig, network) -> list[dict]:
    """The variables of the further networks of an ensemble.

    Raises:
      ValueError: one of them is of another kind than the first.
    """
    from experiments.building.networks import from_folder, with_task_options

    found = []
    for path in options.ensemble:
        other = with_task_options(from_folder(path, options.checkpoint, options.classes), options.task_options)
        if options.value_range is not None:
            other = other._replace(preprocessing=dataclasses.replace(other.preprocessing, value_range=options.value_range))
        for name, said in (("model", "model"), ("task", "task"), ("preprocessing", "record of what images it expects")):
            if getattr(other, name) != getattr(network, name):
                raise ValueError(f"{path} has another {said} than {options.run}; the networks of an ensemble have the same")
        found.append(other.variables)
    return found


def _number(option: str, text: str) -> float:
    """The number above 0 that an option names.

    Raises:
      ValueError: it is none.
    """
    allowed, kind = _ALLOWED[option]
    try:
        number = kind(text)
    except ValueError:
        number = 0
    if not 0 < number < LARGEST[int]:
        raise ValueError(f"{option} {text!r}; give {allowed}")
    return number


if __name__ == "__main__":
    command.keep_memory()
    command.run(lambda: main(sys.argv[1:]))
