"""A trained network as one file that runs without this library, by `jax` alone: uint8 images -> class ids and probabilities.

A zip of three members: `program.jaxexport` (what `jax.export` serialised, with the variables inside), `metadata.json` (what
goes in and out, and what the network is) and `variables.safetensors` (from which, with the metadata, it is made again).
"""

import datetime
import functools
import json
import tempfile
import zipfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int, UInt8

from fcn.draft import replacing
from fcn.errors import first_line
from fcn.inference.standalone import Sizes, prediction, sizes_of
from fcn.kernels import use
from fcn.preprocessing import Preprocessing
from fcn.pretrained.saving import Saved, load, load_preprocessing, load_task, save
from fcn.tasks import Task

Stored = TypeVar("Stored")
FORMAT = 1
PLATFORMS = ("cpu", "cuda", "tpu")
PROGRAM, METADATA, VARIABLES = "program.jaxexport", "metadata.json", "variables.safetensors"
SUFFIX = ".fcn"
READABLE = datetime.timedelta(days=180)
"""For so long JAX promises to read what it has written."""


def export_network(
    path: str | Path,
    model: nn.Module,
    variables: Mapping[str, Any],
    preprocessing: Preprocessing,
    task: Task,
    *,
    size: tuple[int, ...] | None = None,
    platforms: Sequence[str] = PLATFORMS,
    label_ids: Sequence[int] | None = None,
) -> Sizes:
    """Writes a network as one file, whole or not at all.

    The program takes uint8 images [b, h, w, c], red first, and gives int32 class ids [b, h, w] and float32 probabilities
    [b, h, w, k]; of a task of several labels ids are 0 or 1, [b, h, w, k]. As `Predictor` with `bucket=32` does, it repeats
    the last row and column up to the network's strides. Where the variables are for signals or volumes, it takes float32
    [b, l, c] or [b, d, h, w, c], of values as `Preprocessing.apply` takes them.

    Args:
        path: of the file.
        model, variables, preprocessing, task: the network.
        size: height and width of the images that it takes, or the sides of signals or volumes; by default any. Networks that
            pool into a fixed number of cells take one size only.
        platforms: for which it is lowered: "cpu", "cuda", "rocm", "tpu".
        label_ids: as for `fcn.save`; the program gives numbers of classes in any case.

    Returns:
        The images that it takes.

    Raises:
        FileExistsError: there is something at `path` already.
        ValueError: the task needs this library to make a prediction of scores, the network takes no images of any size and
            none was given, a size of other dimensions, or what `fcn.save` refuses.
    """
    path = Path(path)
    if path.exists():
        raise FileExistsError(f"{path} exists already; give another name")
    sizes = sizes_of(model, variables, size)
    program = _program(model, variables, preprocessing, task, sizes, platforms)
    with tempfile.TemporaryDirectory() as folder, replacing(path) as draft:
        save(Path(folder) / "network", model, variables, preprocessing=preprocessing, task=task, label_ids=label_ids)
        network = json.loads((Path(folder) / "network/model.json").read_text(encoding="utf-8"))
        with zipfile.ZipFile(draft, "w") as file:
            file.writestr(METADATA, json.dumps(_metadata(program, preprocessing, sizes, network), indent=2) + "\n")
            file.writestr(PROGRAM, program.serialize())
            file.write(Path(folder) / "network/variables.safetensors", VARIABLES)
    return sizes


class Exported(NamedTuple):
    """What `open_export` gives.

    Attributes:
        program: images -> (class ids, probabilities).
        metadata: the file's.
    """

    program: Any
    metadata: dict[str, Any]

    def __call__(
        self, images: UInt8[np.ndarray, "b h w c"] | Float[np.ndarray, "b *spatial c"]
    ) -> tuple[Int[Array, "b ..."], Float[Array, "b *_"]]:
        """Class ids and probabilities."""
        return self.program.call(images)


def open_export(path: str | Path) -> Exported:
    """Reads what `export_network` wrote.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: it is none, damaged, of another format or version of JAX, or for other platforms than this one.
    """
    path = Path(path)
    metadata = json.loads(_member(path, METADATA))
    if metadata.get("format") != FORMAT:
        raise ValueError(f"{path} has the format {metadata.get('format')}; this version of fcn reads {FORMAT}; export it again")
    try:
        found = jax.export.deserialize(bytearray(_member(path, PROGRAM)))
    except Exception as error:  # JAX raises many kinds for what it does not read
        told, written = first_line(str(error)), metadata.get("jax")
        raise ValueError(f"{path} was written by JAX {written}, and {jax.__version__} does not read it ({told})") from None
    here = jax.export.default_export_platform()
    if here not in found.platforms:
        raise ValueError(f"{path} is for {', '.join(found.platforms)}, and JAX computes on {here} here; export it for that")
    return Exported(found, metadata)


def load_network(path: str | Path) -> Saved:
    """The network of a file that `export_network` wrote, as `fcn.load` gives it; whatever its program's version and platforms.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: it is none, or damaged.
    """
    return _read(Path(path), load, VARIABLES)


def stored_task(path: str | Path) -> Task | None:
    """What such a file says of the network's channels, without reading its variables; errors as of `load_network`."""
    return _read(Path(path), load_task)


def stored_preprocessing(path: str | Path) -> Preprocessing | None:
    """What such a file says of images, without reading its variables; errors as of `load_network`."""
    return _read(Path(path), load_preprocessing)


def _read(path: Path, reader: Callable[[str], Stored], *members: str) -> Stored:
    """What is read of the folder of a saved model that a file's record and these members make."""
    metadata = _member(path, METADATA)
    with tempfile.TemporaryDirectory() as folder:
        for name in members:
            (Path(folder) / name).write_bytes(_member(path, name))
        try:
            (Path(folder) / "model.json").write_text(json.dumps(json.loads(metadata)["network"]), encoding="utf-8")
            return reader(folder)
        except (KeyError, TypeError):
            raise ValueError(f"{path} does not say what its network is; export it again") from None
        except ValueError as error:
            raise ValueError(f"{path}: {str(error).removeprefix(folder).lstrip('/')}") from None


def _member(path: Path, name: str) -> bytes:
    if not path.is_file():
        raise FileNotFoundError(f"no file {path}")
    try:
        with zipfile.ZipFile(path) as file:
            return file.read(name)
    except (zipfile.BadZipFile, KeyError, EOFError):
        raise ValueError(f"{path} is no exported network, or damaged; export it again") from None


def _program(model, variables, preprocessing, task, sizes: Sizes, platforms):
    """The program, for any number of images."""
    predict = functools.partial(prediction(model, preprocessing, task), variables)
    with use("xla"), sizes.explained(model):
        return jax.export.export(jax.jit(predict), platforms=list(platforms))(sizes.images(preprocessing.channels))


def _metadata(program, preprocessing: Preprocessing, sizes: Sizes, network: dict) -> dict[str, Any]:
    today = datetime.datetime.now(datetime.UTC).date()
    return {
        "format": FORMAT,
        "input": {"type": jnp.dtype(sizes.dtype).name, "shape": [*sizes.names, preprocessing.channels]},
        "outputs": ["class ids, int32", "probabilities, float32"],
        "images": preprocessing.describe(),
        "platforms": list(program.platforms),
        "jax": jax.__version__,
        "written": today.isoformat(),
        "readable_until": (today + READABLE).isoformat(),
        "network": network,
    }
