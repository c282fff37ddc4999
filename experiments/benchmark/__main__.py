"""This library against PyTorch on the same work: `python -m experiments.benchmark [--models unet fcn8s ...]`.

Every contestant is a process of its own with the same processors and the same allocator settings; while one works, the others
wait. They take turns, and medians over the rounds are compared.
"""

import dataclasses
import fnmatch
import itertools
import os
import sys
import time
from pathlib import Path
from typing import Annotated, Literal

import tyro

from experiments import command
from experiments.benchmark.case import SIDES, Case, DType, Side, What
from fcn.ranges import Range, check_fields

STARS = ("unet", "fcn8s", "fcn_resnet50", "unet/resnet18", "deeplabv3plus/mobilenet_v2", "segformer/mit_b0")


@dataclasses.dataclass(frozen=True)
class BenchmarkConfig:
    """What to compare."""

    what: tuple[Literal["forward", "train", "pipeline", "augment", "instances", "predict", "startup", "serve"], ...] = (
        "forward",
        "train",
    )
    """forward: the network alone; train: a whole step with gradients and SGD; pipeline: how many images a second the input
    gives; augment: how many are augmented; instances: targets, training steps and decoding of objects; predict: how many
    images of a folder are predicted, tiles beside the whole image, and memory; startup: imports, initialisation, the time to
    the first step, and what the loop costs; serve: how many images a second a service answers."""
    models: tuple[str, ...] = STARS
    """Models, encoders or MODEL/ENCODER; patterns such as "resnet*" take all models and encoders that match."""
    size: Annotated[tuple[int, ...], Range(1, 2**16)] = (224,)
    """Height and width of the images; several show how time and memory grow."""
    batch: Annotated[tuple[int, ...], Range(1, 2**20)] = (2,)
    """Images in a batch: one number, or one for each of the models, of which the first that matches counts."""
    dtype: DType = "float32"
    """Type of the computation, for both sides."""
    sides: Annotated[tuple[Side, ...], tyro.conf.arg(metavar=f"{{{','.join(SIDES)}}} ...")] = tuple(SIDES)
    """Who takes part; torch_compile takes a minute or more for each case."""
    rounds: Annotated[int, Range(1, 1000)] = 7
    """How often everyone's turn comes."""
    processors: Annotated[int | None, Range(1, 2**16)] = None
    """How many processors to use (default: all that this process may use)."""
    out: Path = Path("runs/benchmark")
    """Folder for benchmark.json, which keeps the results of earlier calls, and pictures."""
    data: Path | None = None
    """Folder of images (and for the pipeline labels), such as CamVid (default: photos made on the spot)."""
    seconds: Annotated[int, Range(1, 3600)] = 10
    """How long the service is asked (serve)."""
    missing: bool = False
    """Leave out cases that benchmark.json has from all sides that take part; one whose process ended has not done its own."""

    def __post_init__(self):
        check_fields(self)
        if not self.size or not self.models:
            raise ValueError("size and models need at least one value each")
        if len(self.batch) not in (1, len(self.models)):
            raise ValueError(f"batch is {self.batch}; give one number or {len(self.models)}, one for each of the models")


def main(config: BenchmarkConfig) -> None:
    from experiments.benchmark import augmenting, instancing, pipeline, predicting, serving, startup
    from experiments.benchmark.records import Records
    from experiments.benchmark.report import describe, draw, growth, table

    command.use_processors(config.processors)
    os.environ.setdefault("XLA_PYTHON_CLIENT_PREALLOCATE", "false")  # several processes share an accelerator's memory
    platforms = os.environ.get("JAX_PLATFORMS", "")
    if platforms and "cpu" not in platforms.split(","):
        os.environ["JAX_PLATFORMS"] = f"{platforms},cpu"  # where operations are counted
    cases = [case for what in config.what if what in ("forward", "train") for case in find_cases(config, what)]
    config.out.mkdir(parents=True, exist_ok=True)
    records = Records(config.out / "benchmark.json")
    due = [case for case in cases if not (config.missing and records.has(case, config.sides))]
    print(plan(due, config), flush=True)
    if cases:
        measure(due, config, records)
        results = records.results(cases, config.sides)
        print(table(results, records.ceiling(config.dtype)))
        for law in growth(results):
            print(law)
        for picture in draw(results, config.out):
            print(f"wrote {picture}")
    if "startup" in config.what:  # ends with computations in this process, which a TPU belongs to from then on
        records.put("startup", startup.measure())
        print(startup.describe(records.get("startup")), flush=True)
    if "pipeline" in config.what:  # computes in this process
        records.put("pipeline", pipeline.measure(config.data))
        print(pipeline.describe(records.get("pipeline")), flush=True)
    if "augment" in config.what:
        records.put("augment", augmenting.measure(config.rounds))
        print(augmenting.describe(records.get("augment")), flush=True)
    if "instances" in config.what:
        records.put("instances", instancing.measure(config.rounds))
        print(augmenting.describe(records.get("instances")), flush=True)
    if "predict" in config.what:
        records.put("predict", predicting.measure(config.rounds, config.data))
        print(augmenting.describe(records.get("predict")), flush=True)
    if "serve" in config.what:
        records.put("serve", serving.measure(config.seconds))
        print(augmenting.describe(records.get("serve")), flush=True)
    print(describe(records))


def find_cases(config: BenchmarkConfig, what: What) -> list[Case]:
    """The cases of one kind that a configuration asks for.

    Raises:
      ValueError: a name that matches nothing.
    """
    import fcn

    known = [*fcn.list_models(), *fcn.list_encoders()]
    batches = {}
    for pattern, batch in zip(config.models, itertools.cycle(config.batch)):
        model, slash, encoder = pattern.partition("/")
        found = fnmatch.filter(known, model)
        if not found or (encoder and encoder not in fcn.list_encoders()):
            raise ValueError(command.nearest("model or encoder", encoder if found else model, known))
        for name in found:
            batches.setdefault(name + slash + encoder, batch)
    return [Case(name, what, size, batch, config.dtype) for name, batch in batches.items() for size in config.size]


def plan(cases: list[Case], config: BenchmarkConfig) -> str:
    """What will be done, about how long it takes, and where the results go."""
    others = [what for what in ("startup", "pipeline", "augment", "instances", "predict", "serve") if what in config.what]
    if not (cases or others):
        return "nothing is missing"
    sides, rounds = len(config.sides), config.rounds
    work = [f"{_plural(len(cases), 'case')} by {_plural(sides, 'side')} in {_plural(rounds, 'round')}"] if cases else []
    seconds = len(cases) * sum(_START.get(side, 15) + 1.5 * rounds for side in config.sides) + 180 * len(others)
    return (
        f"{', '.join([*work, *others])}: roughly {max(1, round(seconds / 60))} min on two processors; results: {config.out}\n"
        "Ctrl-C ends it, the same command with --missing goes on; --help says how to choose less."
    )


def _plural(number: int, noun: str) -> str:
    return f"{number} {noun}{'' if number == 1 else 's'}"


_START = {"torch_compile": 90}
"""Seconds until a side has its first result, where they are far from 15."""


def measure(cases: list[Case], config: BenchmarkConfig, records) -> None:
    """Races all cases, one after the other; each result is written at once."""
    from experiments.benchmark.race import race
    from experiments.benchmark.report import line

    ceiling = records.product(config.dtype)
    sides: list[Side] = [side for side in config.sides if side in ("fcn", "torch")]
    if not records.has(ceiling, sides):
        records.add(ceiling, race(ceiling, sides, config.rounds))
    started = time.perf_counter()
    for number, case in enumerate(cases, start=1):
        print(f"[{number}/{len(cases)}] {case}", end="  ", flush=True)
        records.add(case, race(case, config.sides, config.rounds))
        print(line(records.results([case], config.sides)[0]), flush=True)
        if left := len(cases) - number:
            print(f"about {(time.perf_counter() - started) / number * left / 60:.0f} min to go", flush=True)


if __name__ == "__main__":
    command.keep_memory(largest=2**34)  # contestants set small things apart, and keep all
    command.run(lambda: main(command.parse(BenchmarkConfig, sys.argv[1:], "benchmark", __doc__)))
