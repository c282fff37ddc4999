"""The tables of networks, presets and algorithms in README.md and docs: `python -m experiments.model_table [--check]`.

Names, papers and references come from the registry, parameters and operations from the models themselves (traced, not run).
"""

import dataclasses
import functools
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from experiments import command
from fcn.errors import unknown

ROOT = Path(__file__).resolve().parent.parent
FILES = {
    "names": ROOT / "README.md",
    "models": ROOT / "docs" / "models.md",
    "presets": ROOT / "README.md",
    "encoders": ROOT / "docs" / "models.md",
    "algorithms": ROOT / "docs" / "forms.md",
}
CLASSES, SIZE = 21, 512


@dataclasses.dataclass(frozen=True)
class TableConfig:
    """Writes the tables."""

    check: bool = False
    """Write nothing; fail if a table is not what it would be."""
    tables: tuple[str, ...] = tuple(FILES)
    """Which of them."""


def main(args: Sequence[str]) -> None:
    options = command.parse(TableConfig, args, "model_table", __doc__)
    makers = {"names": name_rows, "models": model_rows, "presets": preset_rows, "encoders": encoder_rows}
    for name in options.tables:
        if name not in FILES:
            raise unknown("table", name, FILES)
        text = FILES[name].read_text()
        new = replace(text, name, algorithms() if name == "algorithms" else table(*makers[name]()))
        if options.check and new != text:
            raise ValueError(f"the table of {name} in {FILES[name].name} is stale; run python -m experiments.model_table")
        FILES[name].write_text(new)


def model_rows(names: Iterable[str] | None = None) -> list[list[str]]:
    """Header and rows of the table of models, each with its default encoder."""
    import fcn

    header = ["name", "paper", "tested against", "parameters", f"GFLOPs at {SIZE}x{SIZE}", "weights"]
    return [header, *(_model_row(name) for name in (fcn.list_models() if names is None else names))]


@functools.cache
def _model_row(name: str) -> list[str]:
    import fcn
    from fcn.registry import MODELS

    row = MODELS[name]
    cost = costs(fcn.create_model(name, num_classes=CLASSES), size=572 if name == "unet2015" else SIZE)
    return [f"`{name}`", row.paper, row.reference, *cost, weights(name)]


def name_rows(names: Iterable[str] | None = None) -> list[list[str]]:
    """The table of models without papers, whose pages have room for them."""
    return [[name, *numbers, reference] for name, _, reference, *numbers in model_rows(names)]


def encoder_rows(names: Iterable[str] | None = None) -> list[list[str]]:
    """Header and rows of the table of encoders."""
    import fcn
    from fcn.encoders.table import ENCODERS

    header = ["name", "paper", "tested against", "parameters", f"GFLOPs at {SIZE}x{SIZE}", "strides", "channels", "weights"]
    rows = []
    for name in fcn.list_encoders() if names is None else names:
        row = ENCODERS[name]
        maps = [" ".join(map(str, values)) for values in (row.strides, row.channels)]
        rows.append([f"`{name}`", row.paper, row.reference, *costs(fcn.create_encoder(name)), *maps, weights(name)])
    return [header, *rows]


def preset_rows() -> list[list[str]]:
    """Header and rows of the table of presets."""
    from experiments.configuration.presets import PRESETS

    rows = [["preset", "data", "needs", "training on two CPU cores", "validation mIoU"]]
    for name, preset in PRESETS.items():
        seconds = "" if preset.seconds is None else f"{preset.seconds} s"
        rows.append([f"`{name}`", preset.data, preset.needs, seconds, "" if preset.miou is None else f"{preset.miou:.3f}"])
    return rows


LAYERS = {
    "dense": "Convolutions",
    "depthwise": "Depthwise convolutions",
    "grouped": "Convolutions in groups",
    "upsampled": "Convolutions of images whose pixels are repeated",
    "volume": "Convolutions of volumes",
    "transposed": "Transposed convolutions",
    "matrices": "Matrix products, alone and inside of other algorithms",
    "attention": "Attention",
    "resizing": "Bilinear resizing, of each axis",
    "pooling": "Pooling",
    "fusion": "What is kept as an array",
}
OPERATIONS = {
    "convolution": "forward",
    "input_gradient": "images' gradient",
    "kernel_gradient": "kernel's gradient",
    "sum": "sum over positions",
    "max": "largest of windows",
    "average": "mean of windows",
    "materialize": "sums of residual blocks, concatenations",
    "slice": "strides of pointwise convolutions",
}


def algorithms() -> str:
    """A table for each layer, rules in the order in which they are asked."""
    from fcn.kernels import RULES

    header = ["of", "algorithm", "on", "when", "gain", "cost", "error", "until JAX"]
    parts = []
    for layer, title in LAYERS.items():
        rows = [_rule_row(rule) for rule in RULES if rule.layer == layer]
        parts += [f"## {title}", table(header, *rows)]
    return "\n\n".join(parts)


def _rule_row(rule):
    of = "all" if len(rule.operations) == 3 else ", ".join(str(OPERATIONS.get(name, name)) for name in rule.operations)
    on = "all" if len(rule.platforms) > 2 else ", ".join(rule.platforms)
    error = ", ".join(f"{value:.1e}" for value in rule.error)
    until = ".".join(map(str, rule.until or ()))
    return [of, rule.algorithm, on, rule.reason, rule.gain, rule.cost, error, until]


def costs(model, size: int = SIZE) -> list[str]:
    """Millions of parameters, or thousands, and thousands of millions of multiplications and additions for one image."""
    import jax
    import jax.numpy as jnp

    image = jax.ShapeDtypeStruct((1, size, size, 3), jnp.float32)
    variables = jax.eval_shape(lambda x: model.init(jax.random.key(0), x), image)
    parameters = sum(leaf.size for leaf in jax.tree.leaves(variables["params"]))
    count = f"{parameters / 1e6:.2f} M" if parameters >= 1e4 else f"{parameters / 1e3:.2f} k"
    return [count, f"{operations(model, variables, image) / 1e9:.1f}"]


def operations(model, variables, images) -> float:
    """Multiplications and additions of a forward pass by the definition of its layers; shapes are enough.

    It is lowered for a TPU, which need not be there: on a CPU our convolutions do less, or more, than by their definition. XLA
    counts on a CPU only.
    """
    import jax

    from fcn.environment import on_cpu

    shapes = jax.eval_shape(lambda *arguments: arguments, variables, images)
    with on_cpu():
        cost: Any = jax.jit(model.apply).trace(*shapes).lower(lowering_platforms=("tpu",)).cost_analysis()
    return cost["flops"]


def weights(name: str) -> str:
    """The tags of the published weights of a model or an encoder, with the licences that are stated."""
    from fcn.pretrained import WEIGHTS

    tags = {full.rsplit(".", 1)[1]: row.licence for full, row in WEIGHTS.items() if row.model == name}
    return ", ".join(f"`{tag}`" + (f" ({licence})" if licence else "") for tag, licence in tags.items())


def table(header: list[str], *rows: list[str]) -> str:
    """Markdown."""
    lines = [header, ["---"] * len(header), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def listed(name: str) -> list[dict[str, str]]:
    """The rows of a table as they stand on its page, by the names of the columns."""
    _, content, _ = _cut(FILES[name].read_text(), name)
    header, _, *rows = ([cell.strip() for cell in line.strip("|").split("|")] for line in content.strip().splitlines())
    return [dict(zip(header, row, strict=True)) for row in rows]


def replace(text: str, name: str, content: str) -> str:
    """`text` with `content` between the two marks of the table `name`."""
    before, _, rest = _cut(text, name)
    return before + content + rest


def _cut(text: str, name: str) -> tuple[str, str, str]:
    """`text` up to the table `name`, with the mark before it; the table; the rest, with the mark behind it."""
    begin, end = f"<!-- table of {name} -->\n", f"\n<!-- end of {name} -->"
    before, found, rest = text.partition(begin)
    content, closed, after = rest.partition(end)
    if not (found and closed):
        raise ValueError(f"no marks {begin.strip()} ... {end.strip()}")
    return before + begin, content, end + after


if __name__ == "__main__":
    command.run(lambda: main(sys.argv[1:]))
