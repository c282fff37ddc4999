"""Export: `python -m experiments.export RUN --out model.fcn`.

Writes a run, a saved model, or published weights by name, as one file that JAX runs without this library: uint8 images in,
class ids and probabilities out, on CPUs, NVIDIA GPUs and TPUs (docs/export.md has the reader, of ten lines). With
`--out model.onnx`: for ONNX runtimes. It takes any number of images of any size, unless the network pools into a fixed number
of cells: then give --size.
"""

import dataclasses
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any, Literal

import tyro

from experiments import command
from fcn.ranges import Range, check_fields
from fcn.shipped import located

PLATFORMS = "cpu", "cuda", "tpu"


@dataclasses.dataclass(frozen=True)
class ExportConfig:
    """A network as a file that runs by itself."""

    input: Annotated[Path, tyro.conf.Positional]
    """A run folder, a saved model, an export, or the name of published weights."""
    out: Path
    """The file to write; must not exist."""
    checkpoint: Literal["last", "best"] = "last"
    """Which checkpoint of a run: the last, or the best by what its training took for it (--best, validation mIoU)."""
    size: Annotated[tuple[int, ...] | None, Range(1, 2**16)] = None
    """Height and width of the images that it takes, or the sides of signals or volumes (default: any)."""
    platforms: tuple[Literal["cpu", "cuda", "rocm", "tpu"], ...] = PLATFORMS
    """Where it runs; an ONNX file runs wherever its runtime does."""
    format: Literal["fcn", "onnx"] | None = None
    """A file for JAX, or for ONNX runtimes (default: onnx if that is how the name of --out ends)."""

    def __post_init__(self):
        check_fields(self)
        if self.format and self.out.suffix in (".fcn", ".onnx") and self.out.suffix != f".{self.format}":
            raise ValueError(f"{self.out} has the ending of another format; let it end in .{self.format}")
        if self.is_onnx and self.platforms != PLATFORMS:
            raise ValueError("--platforms is of files for JAX; an ONNX file runs wherever its runtime does: leave it out")
        if not self.platforms:
            raise ValueError("--platforms names none; give one or more of cpu, cuda, rocm, tpu")

    @property
    def is_onnx(self) -> bool:
        """Whether it is written for ONNX runtimes."""
        return self.format == "onnx" or (self.format is None and self.out.suffix == ".onnx")


def main(args: Sequence[str]) -> None:
    options = command.parse(ExportConfig, args, "export", __doc__)
    if options.out.exists():
        raise FileExistsError(f"{options.out} exists already; give another --out")
    from experiments.building.networks import named, single
    from fcn.inference import export_network, export_onnx
    from fcn.pretrained import WEIGHTS

    if not located(options.input).exists() and str(options.input) not in WEIGHTS:
        raise FileNotFoundError(
            f"no folder {options.input}; give that of a run or of a saved model, or a name of `python -m fcn`"
        )
    network = single(named(str(options.input), options.checkpoint), options.input)
    options.out.parent.mkdir(parents=True, exist_ok=True)
    known = network.model, network.variables, network.preprocessing, network.task
    how: dict[str, Any] = {"size": options.size, "label_ids": network.label_ids}
    if options.is_onnx:
        taken = export_onnx(options.out, *known, **how)
    else:
        taken = export_network(options.out, *known, **how, platforms=options.platforms)
    print(f"{options.input} -> {options.out}: takes {taken.describe()}; {network.preprocessing.describe()}")


if __name__ == "__main__":
    command.run(lambda: main(sys.argv[1:]))
