"""Evaluate: `python -m experiments.evaluate RUN [--split val]`, or `... SAVED --root DATA`.

Prints a table of the metrics of one split, over all its pixels together, and the images that are worst. RUN is the folder of a
run, whose data are known; for a saved model (SAVED) say where the data lie. Images and labels are resized as in
training, and compared at that size.
"""

import dataclasses
import json
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal

import tyro

from experiments import command
from experiments.reports.ranking import SHOWN, Row, rank, worst, write_csv
from fcn.ranges import Range, check_fields

PRINTED = Path("-")


def _also(name: str):
    """Another name of an option: the one that it has in training."""
    return tyro.conf.arg(aliases=[name])


@dataclasses.dataclass(frozen=True)
class EvaluateConfig:
    """Metrics of a trained network on one split of its data, or of others."""

    run: Annotated[Path, tyro.conf.Positional]
    """The run folder, or a saved model."""
    split: Annotated[str | None, _also("--data.val")] = None
    """The split (default: the run's validation split, or val)."""
    root: Annotated[str | None, _also("--data.root")] = None
    """Where the data lie now (default: where they lay in training)."""
    data: Annotated[str | None, _also("--data.name")] = None
    """shapes, folder or tfds:NAME (default: the run's, or folder)."""
    checkpoint: Literal["last", "best"] = "last"
    """Which checkpoint of a run: the last, or the best by what its training took for it (--best, validation mIoU)."""
    task_options: tuple[str, ...] = ()
    """Other options of the network's task than in training, as name=value: threshold=0.4 ... (docs/instances.md)."""
    tune: bool = False
    """Find the thresholds of the task stardist by which this split is predicted best, say them, and evaluate with them."""
    outlines: bool = False
    """Measure outlines as well, of each class in each image: boundary F1, boundary IoU, and the Hausdorff distance (95 %) in
    pixels of what the network sees."""
    size: Annotated[tuple[int, int] | None, Range(1, 2**16), _also("--data.size")] = None
    """Height and width that images and labels are resized to (default: as in training)."""
    batch_size: Annotated[int | None, Range(1, 2**20)] = None
    """Images at a time (default: the run's, or 8)."""
    json: Path | None = None
    """Write one JSON object to this file; without a name print it instead of the table."""
    csv: Path | None = None
    """Write a table of the images to this file, the worst first."""
    report: Path | None = None
    """Write a page to this folder, index.html, which stands alone, and its pictures: the confusion matrix, how far
    probabilities can be trusted, curves of the training, how many images have which score, the worst and the best images."""
    overwrite: bool = False
    """Replace the files of --json, --csv and --report."""

    def __post_init__(self):
        check_fields(self)
        for option in ("json", "csv"):
            if (path := getattr(self, option)) != PRINTED:
                command.refuse_to_write(option, path, self.overwrite)
        if self.json is not None and self.csv is not None and self.json.resolve() == self.csv.resolve():
            raise ValueError(f"--json and --csv are both {self.csv}; give two names")
        if self.report is not None and self.report.exists() and not self.report.is_dir():
            raise NotADirectoryError(f"--report {self.report} is a file; name a folder")
        if self.report is not None and self.report.exists() and not self.overwrite:
            raise FileExistsError(f"--report {self.report} exists; give another name, or --overwrite")


def main(args: Sequence[str]) -> None:
    options = command.parse(EvaluateConfig, with_json_named(args), "evaluate", __doc__)
    from experiments.building.networks import from_folder, with_task_options

    network = with_task_options(from_folder(options.run, options.checkpoint), options.task_options)
    task = network.task
    if options.csv is not None and not measures_images(task):
        raise ValueError(f"the network's task {task.name!r} measures no single images; leave out --csv")
    source = open_data(options, network)
    if network.preprocessing.axes == 2 or task.name == "picks":
        evaluate_images(options, network, source)
    else:
        evaluate_volumes(options, network, source)


def evaluate_volumes(options: EvaluateConfig, network, source) -> None:
    """Says and writes Dice and HD95 of each class, the mean over volumes, and which volumes are worst."""
    from experiments.prediction.volumes import means_of, measured, table

    if given := [name for name in ("tune", "outlines") if getattr(options, name)]:
        raise ValueError(f"--{given[0]} is for images, and the network takes volumes; leave it out")
    found = measured(network, source)
    order = rank(found, "dice")
    rows = [found[i] for i in order]
    values = {"step": network.step, **means_of(rows)}
    scores = table(network.task.classes, values, len(source.shape) - 1)
    if options.json == PRINTED:
        print(json.dumps(values))
    else:
        print(f"{head_of(options, network, source)}\n\n{scores}\n\n{worst(rows, 'dice')}")
    write_files(options, values, rows)
    if options.report is not None:
        worths = [{name: worth for name, worth in row.items() if name != "image"} for row in found]
        write_report(options, network, source, worths, order, "dice", scores)


def evaluate_images(options: EvaluateConfig, network, source) -> None:
    """Measures a network on images, and says and writes what is asked for."""
    from experiments.building.build import make_evaluator
    from experiments.prediction import outlines
    from fcn.parallel import Sharded, sharing_devices

    batch_size = options.batch_size or network.batch_size
    command.cache_compilations(calls=-(-len(source) // batch_size))
    parallel = Sharded(sharing_devices(batch_size))
    network, found = with_thresholds(options, network, source, batch_size, parallel)
    task = network.task
    measure = make_evaluator(network.model, task, network.preprocessing, source, batch_size, parallel)
    state = measure(parallel.put_state(network.variables)).state
    result = task.metric().compute(state)
    values = {"step": network.step, **task.scalars(result, "val/"), **found}
    scores = with_uncertainty(network, source, image_scores(task, state, counted_order(source, task, batch_size)))
    values.update(mean_uncertainty(scores))
    if options.outlines:
        scores = outlines.added(network, source, scores)
        values.update(outlines.means(scores))
    order = rank(scores, task.best)
    rows = ranked(source, scores, order if options.csv else order[:SHOWN])
    if options.json == PRINTED:
        print(json.dumps(values))
    else:
        print_table(options, network, source, result, rows)
        if options.outlines:
            print(f"\n{outlines.table(values)}")
        for name, value in mean_uncertainty(scores).items():
            print(f"\n{name}: {value:.4f} nats, the mean over images")
    write_files(options, values, rows)
    if options.report is not None:
        write_report(options, network, source, scores, order, task.best, task.table(result), state)


def with_thresholds(options: EvaluateConfig, network, source, batch_size: int, parallel):
    """The network with the thresholds that --tune finds, which are said, and these; else as it is."""
    if not options.tune:
        return network, {}
    from experiments.building.tuning import tuned

    network, found, score = tuned(network, source, batch_size, parallel)
    if options.json != PRINTED:
        print(f"--task-options {' '.join(f'{name}={value:g}' for name, value in found.items())}: {score:.3f}\n")
    return network, found


def print_table(options: EvaluateConfig, network, source, result, rows: Sequence[Row]) -> None:
    """Prints what was measured on what, and the worst images."""
    from fcn.text import printable

    print(f"{printable(head_of(options, network, source))}\n\n{network.task.table(result)}")
    if rows:
        print(f"\n{worst(rows, network.task.best)}")


def head_of(options: EvaluateConfig, network, source) -> str:
    """What was measured on what."""
    from fcn.data.loading.samples import NAMES

    step = "" if network.step is None else f", step {network.step}"
    sizes, what = sorted(set(source.sizes())), NAMES[len(source.shape) - 1]
    seen = "x".join(map(str, sizes[0])) if len(sizes) == 1 else f"their own {len(sizes)} sizes"
    return f"{options.run}{step}, {len(source)} {what} of {source.name}, seen at {seen}"


def write_files(options: EvaluateConfig, values: Mapping[str, Any], rows: Sequence[Row]) -> None:
    """Writes what --json and --csv ask for."""
    from fcn.training.records import write_json

    if options.csv is not None:
        write_csv(rows, options.csv)
    if options.json not in (None, PRINTED):
        write_json(options.json, values)


def write_report(
    options: EvaluateConfig,
    network,
    source,
    scores: Sequence[Mapping[str, float | None]],
    order: Sequence[int],
    by: str,
    table: str,
    state=None,
) -> None:
    """Writes what --report asks for, of images or volumes with their scores; says where it is.

    Args:
      scores: of each image.
      order: positions of the images, the worst first.
      by: the score that ranks them.
      table: what was measured, as a terminal shows it.
      state: of the task's metric, where there are pictures of it.
    """
    from experiments.reports.evaluation_page import PAGE, write_page
    from experiments.reports.evaluation_pictures import BEST, WORST, write_pictures
    from fcn.text import printable

    folder = options.report
    assert folder is not None
    known = [i for i in order if scores[i][by] is not None]
    shown = {WORST: order[:SHOWN], BEST: known[::-1][:SHOWN]}
    told = write_pictures(folder, network, source, state, shown[WORST], shown[BEST])
    listed = {name: [(source[i]["name"], scores[i][by]) for i in places] for name, places in shown.items()}
    write_page(folder, head_of(options, network, source), table, told, scores, listed, options.run)
    if options.json != PRINTED:
        print("".join(f"\n{line}" for line in (told, printable(str(folder / PAGE))) if line))


def with_json_named(args: Sequence[str]) -> list[str]:
    """The command line with PRINTED behind a --json that has no file name: an option or a folder, such as a run, follows."""
    named: list[str] = []
    for arg, after in zip(args, [*args[1:], "--"]):
        unnamed = arg == "--json" and (after.startswith("--") or Path(after).is_dir())
        named += [arg, str(PRINTED)] if unnamed else [arg]
    return named


def measures_images(task) -> bool:
    """Whether a task says what each image is worth."""
    from fcn.tasks import Task

    return type(task).image_scalars is not Task.image_scalars


def ranked(source, scores: Sequence[Mapping[str, float | None]], order: Sequence[int]) -> list[Row]:
    """The images at some positions with what each is worth, in this order; only those are read, for their names."""
    return [{"image": source[i]["name"], **scores[i]} for i in order]


def image_scores(task, state, counted: Sequence[int]) -> list[dict[str, float | None]]:
    """What each image is worth, in the order of the source; none where the task measures no single images.

    Args:
      task: what the network learns.
      state: of the task's metric.
      counted: the images in the order in which they were counted, -1 for what fills up a batch.
    """
    of = {index: scalars for index, scalars in zip(counted, task.image_scalars(state)) if index >= 0}
    return [of[index] for index in sorted(of)]


def with_uncertainty(network, source, scores: Sequence[Mapping[str, float | None]]) -> list[dict[str, float | None]]:
    """The scores of the images, of an ensemble with `fcn.inference.Uncertainty`, the mean over pixels."""
    from fcn.inference import Ensemble, Predictor
    from fcn.inference.probabilities import mode_of

    if not isinstance(network.model, Ensemble) or mode_of(network.task) is None:
        return [dict(known) for known in scores]
    seen = network.preprocessing.as_read()
    predictor = Predictor(network.model, network.variables, seen, network.task, bucket=None)
    found = (predictor.uncertainty(source[i]["image"])._asdict() for i in range(len(scores)))
    return [{**known, **{name: float(pixels.mean()) for name, pixels in more.items()}} for known, more in zip(scores, found)]


def mean_uncertainty(scores: Sequence[Mapping[str, Any]]) -> dict[str, float]:
    """Of images whose uncertainty is known, the mean."""
    names = [name for name in ("entropy", "mutual_information") if scores and name in scores[0]]
    return {f"val/{name}": sum(known[name] for known in scores) / len(scores) for name in names}


def counted_order(source, task, batch_size: int) -> list[int]:
    """The images in the order in which an evaluation counts them, and -1 for what fills up a batch where that is counted."""
    from fcn.data import eval_plan

    order = [index for indices, _ in eval_plan(source, batch_size) for index in indices.tolist()]
    return [index for index in order if index >= 0] if task.on_host else order


def open_data(options: EvaluateConfig, network):
    """The images and labels to evaluate on, as the network takes them.

    Raises:
      ValueError: they have other classes than the network, or something of them is wrong.
      FileNotFoundError: they are not there.
    """
    from experiments.building.build import load_data, tell_remarks
    from fcn.data import WHOLE_RANGE
    from fcn.data.loading.samples import NAMES

    expected, data = network.preprocessing, network.data
    name, root = options.data or data.name, options.root or data.root
    if (name, root) == ("folder", None):
        raise ValueError(
            f"{options.run} does not say on which data to evaluate it; give --root, the folder of images and labels"
        )
    size = options.size or expected.size
    how = {"size": size, "resize": expected.resize if size else "exact", "spacing": expected.spacing}
    how |= {"channels": expected.channels if expected.axes == 2 else None}
    data = dataclasses.replace(
        data, name=name, root=root, normalise=expected.per_image or "weights", mean=None, std=None, **how
    )
    scale = expected.value_range or (WHOLE_RANGE if expected.axes == 2 else (0.0, 1.0))
    source = load_data(data, options.split or data.val, scale, network.task.label_kind, mixed=name == "folder")
    if (axes := len(source.shape) - 1) != expected.axes:
        raise ValueError(f"{options.run} takes {NAMES[expected.axes]}, and {source.name} holds {NAMES[axes]}")
    if source.shape[-1] != expected.channels:
        channels = f"{expected.channels} channels, and those of {source.name} have {source.shape[-1]}"
        raise ValueError(f"{options.run} takes {NAMES[axes]} of {channels}")
    network.task.check(source)
    tell_remarks(source)
    if source.classes != network.task.classes:
        raise ValueError(f"the network knows the classes {list(network.task.classes)}, the data have {list(source.classes)}")
    return source.encoded(network.task)


if __name__ == "__main__":
    command.keep_memory()
    command.run(lambda: main(sys.argv[1:]))
