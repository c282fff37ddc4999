"""How exact tiles are: `python -m experiments.tile_table`. It takes minutes for each network, and prints a table.

Of each network of the registry, with its default encoder and random variables: the halo of its tiles, and by how much logits of
tiles differ from those of the whole image, for images and tiles of several sizes; or why its tiles are blended.
"""

import dataclasses
import sys
from collections.abc import Sequence
from typing import Annotated

import numpy as np

from experiments import command, model_table
from experiments.onnx_table import random_variables
from fcn.ranges import Range, check_fields


@dataclasses.dataclass(frozen=True)
class TileTableConfig:
    """Compares the logits of tiles with those of whole images."""

    models: tuple[str, ...] = ()
    """Names of models (default: all)."""
    count: Annotated[int, Range(0, 1000)] = 20
    """So many sizes of images and tiles; 0: halos alone, which takes seconds for each network."""

    def __post_init__(self):
        check_fields(self)


def main(args: Sequence[str]) -> None:
    options = command.parse(TileTableConfig, args, "tile_table", __doc__)
    import fcn

    header = ["name", "halo", "largest difference / largest logit"]
    rows = []
    for name in options.models or fcn.list_models():
        rows.append(row(name, options.count))
        print(" | ".join(rows[-1]), flush=True)
    print(model_table.table(header, *rows))


def row(name: str, count: int, **fields) -> list[str]:
    """Of a model: its name, its halo, and the largest difference, or why there is none."""
    import fcn
    from fcn.inference import Predictor, receptive_field
    from fcn.preprocessing import Preprocessing

    model = fcn.create_model(name, num_classes=3, **fields)
    try:
        field = receptive_field(model)
    except ValueError as error:
        return [f"`{name}`", "", f"blended: {str(error).partition(': ')[2]}"]
    halo, start = max(map(max, field.halo)), next(iter(field.legal_sizes(64, 1024)))
    if count == 0:
        return [f"`{name}`", str(halo), ""]
    predictor = Predictor(model, random_variables(model, (start, start)), Preprocessing(), bucket=None)
    random = np.random.default_rng(0)
    differences = [_difference(predictor, halo, random) for _ in range(count)]
    return [f"`{name}`", str(halo), f"{max(differences):.0e}"]


def _difference(predictor, halo: int, random: np.random.Generator) -> float:
    """Of an image and a tile of random sizes: tiles in two rows or columns at least."""
    tile = int(random.integers(halo, halo + 65))
    size = random.integers(2 * tile + 1, 2 * tile + 65, 2)
    image = random.integers(0, 256, (*size, 3)).astype(np.uint8)
    whole = predictor.logits(image)
    return float(np.abs(predictor.logits(image, tile=tile) - whole).max() / np.abs(whole).max())


if __name__ == "__main__":
    command.run(lambda: main(sys.argv[1:]))
