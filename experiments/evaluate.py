"""Evaluate a run: `python -m experiments.evaluate RUN [--split val]`.

Prints a table of the metrics of one split, from one confusion matrix over all its pixels.
"""

import dataclasses
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Literal

import tyro

from experiments import command
from fcn.ranges import Range, check_fields


@dataclasses.dataclass(frozen=True)
class EvaluateConfig:
    """Metrics of a trained network on one split of its data."""

    run: Annotated[Path, tyro.conf.Positional]
    """The run folder."""
    split: str | None = None
    """The split (default: the run's validation split)."""
    root: str | None = None
    """Where the data lie now (default: where they lay in training)."""
    checkpoint: Literal["last", "best"] = "last"
    """Which checkpoint: the last, or the one with the best validation mIoU."""
    size: Annotated[tuple[int, int] | None, Range(1, 2**16)] = None
    """Height and width that images and labels are resized to (default: as in training)."""
    batch_size: Annotated[int | None, Range(1, 2**20)] = None
    """Images at a time (default: the run's)."""
    json: bool = False
    """Print one JSON object instead of the table."""

    def __post_init__(self):
        check_fields(self)


def main(args: Sequence[str]) -> None:
    options = tyro.cli(EvaluateConfig, prog="python -m experiments.evaluate", description=__doc__, args=list(args))
    command.cache_compilations()
    from experiments.build import load_data, make_evaluator, restore
    from experiments.run_folder import RunFolder
    from fcn.data import WHOLE_RANGE
    from fcn.metrics import format_table, segmentation_metrics
    from fcn.parallel import Sharded, sharing_devices

    run = restore(RunFolder(options.run), options.checkpoint)
    data = run.config.data
    root, size, channels = options.root or data.root, options.size or data.size, run.image_shape[2]
    data = dataclasses.replace(data, root=root, size=size, channels=channels)
    source = load_data(data, options.split or data.val, run.preprocessing.value_range or WHOLE_RANGE)
    if list(source.classes) != run.classes:
        raise ValueError(f"the run knows the classes {run.classes}, the data have {list(source.classes)}")
    batch_size = run.config.batch_size if options.batch_size is None else options.batch_size
    parallel = Sharded(sharing_devices(batch_size))
    confusion = make_evaluator(run.model, run.preprocessing, source, batch_size, parallel)
    matrix = confusion(parallel.put_state(run.variables))
    metrics = segmentation_metrics(matrix)
    if options.json:
        print(json.dumps({"step": run.step, **metrics.scalars(source.classes, "val/")}))
    else:
        print(
            f"{options.run}, step {run.step}, {len(source)} images of {source.name}\n\n{format_table(metrics, source.classes)}"
        )


if __name__ == "__main__":
    command.keep_memory()
    command.run(lambda: main(sys.argv[1:]))
