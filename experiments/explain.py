"""Which algorithm computes each layer of a network on this machine, and why: `python -m experiments.explain unet --size 224`.

The network is traced, not run. docs/forms.md has all algorithms, with what they gain and cost.
"""

import dataclasses
import sys
import textwrap
from collections.abc import Iterator, Sequence
from typing import Annotated

import tyro

from experiments import command
from fcn.errors import unknown
from fcn.ranges import Range, check_fields

WIDTH = 80


@dataclasses.dataclass(frozen=True)
class Options:
    """Prints a row for each layer."""

    name: Annotated[str, tyro.conf.Positional, tyro.conf.arg(metavar="NAME")] = tyro.MISSING
    """A name of fcn.list_models() or fcn.list_encoders()."""
    size: Annotated[int, Range(1, 2**14)] = 224
    """Rows and columns of the images, samples of signals, sides of volumes."""
    dimensions: Annotated[int, Range(1, 3)] = 2
    """1: signals, 2: images, 3: volumes."""
    batch_size: Annotated[int, Range(1, 2**14)] = 2
    """Images at a time."""
    encoder: str | None = None
    """A name of fcn.list_encoders(), for models that take one."""
    gradients: bool = False
    """Also explain the gradients of the layers."""

    def __post_init__(self):
        check_fields(self)


def main(options: Options) -> None:
    """Prints the table, and the reasons."""
    from fcn.kernels import explain

    shape = (options.batch_size, *(options.size,) * options.dimensions, 3)
    rows = explain(_network(options), shape, gradients=options.gradients)
    print("\n".join(table(rows)))


def _network(options):
    import fcn

    models, encoders = fcn.list_models(), fcn.list_encoders()
    if options.name not in (*models, *encoders):
        raise unknown("model or encoder", options.name, (*models, *encoders))
    if options.name not in models:
        if options.encoder is not None:
            raise ValueError(f"{options.name} is an encoder itself; leave --encoder {options.encoder} out, or name a model")
        return fcn.create_encoder(options.name)
    return fcn.create_model(options.name, num_classes=21, encoder=options.encoder)


def table(rows: Sequence) -> Iterator[str]:
    """Lines of up to 80 columns: layers with numbers of reasons, then the reasons."""
    reasons = list(dict.fromkeys((row.algorithm, row.reason) for row in rows))
    lines = [("layer", "operation", "shapes", "algorithm")]
    for row in rows:
        number = reasons.index((row.algorithm, row.reason)) + 1
        lines.append((row.path, row.operation, _shapes(row), f"[{number}] {row.algorithm}"))
    widths = [max(map(len, column)) + 1 for column in list(zip(*lines))[1:]]
    left = max(WIDTH + 1 - sum(widths), 12)  # for the paths: nothing follows the last column
    for path, *cells in lines:
        row = zip((_end(path, left - 1), *cells), (left, *widths), strict=True)
        yield "".join(f"{cell:<{width}}" for cell, width in row).rstrip()[:WIDTH]
    for number, (algorithm, reason) in enumerate(reasons, 1):
        yield from textwrap.wrap(f"[{number}] {algorithm}: {reason}", WIDTH, subsequent_indent="    ")


def _end(text, length):
    return text if len(text) <= length else f"…{text[1 - length :]}"


def _shapes(row):
    """ "56x56 3x3 64->64": rows and columns, taps, channels to features; "17 queries 17 keys 6x64": of heads and features;
    "7x7->7x14": rows and columns; of signals one side, of volumes three."""
    images, kernel, output = row.shapes
    if row.operation == "attention":
        _, queries, heads, features = images
        return f"{queries} queries {kernel[1]} keys {heads}x{features}"
    if row.operation in ("resize", "materialize", "slice"):
        return "->".join(dict.fromkeys(_joined(shape[1:-1]) for shape in (images, output)))
    if row.operation in ("product", "sum", "pointwise") and len(kernel) < 4:
        return f"{images[-2]} {kernel[-2]}->{kernel[-1]}"
    return f"{_joined(images[1:-1])} {_joined(kernel[:-2])} {images[-1]}->{kernel[-1]}"


def _joined(sides):
    return "x".join(map(str, sides))


if __name__ == "__main__":
    command.run(lambda: main(command.parse(Options, sys.argv[1:], "explain", __doc__)))
