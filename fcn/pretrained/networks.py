"""Networks with all that their user must know: by name, from a folder, or from a checkpoint of another implementation."""

import contextlib
import warnings
from collections.abc import Iterator, Sequence
from pathlib import Path

import flax.linen as nn

from fcn.errors import unknown
from fcn.preprocessing import Preprocessing, default_preprocessing
from fcn.pretrained.conversion import from_torch
from fcn.pretrained.names import channels_of
from fcn.pretrained.saving import Saved, load, load_task
from fcn.pretrained.smp import is_smp_folder, smp_model
from fcn.pretrained.weights import WEIGHTS, default_model, load_weights
from fcn.registry import entry_of, segments
from fcn.shipped import located, shipped
from fcn.tasks import Task


def open_network(name: str | Path) -> Saved:
    """A segmentation network: published weights or one that comes with the library by name, or a folder that `fcn.save` or
    smp's `save_pretrained` wrote.

    Raises:
        FileNotFoundError: there is no such folder.
        ValueError: there are no such weights, or they do not segment.
    """
    if isinstance(name, str) and name in WEIGHTS:
        if not (classes := WEIGHTS[name].classes):
            raise ValueError(f"{name} has an encoder only, which does not segment")
        model = default_model(WEIGHTS[name])
        variables = load_weights(name, model=model)
        return Saved(model, variables, classes, None, expected_by(model, variables), WEIGHTS[name].licence or None)
    path = located(name)
    if is_smp_folder(path):
        return read_checkpoint(path, smp_model(path), source="smp")
    if not path.is_dir():
        if len(path.parts) > 1 or path.exists():
            raise FileNotFoundError(f"{path} is no folder of a saved model")
        raise unknown("network", str(name), [*shipped(), *(weights for weights, row in WEIGHTS.items() if row.classes)])
    return open_saved(path)


def open_saved(path: Path) -> Saved:
    """A segmentation network from a folder that `fcn.save` wrote.

    Raises:
        ValueError: it is another network, or damaged.
    """
    saved = load(path)
    if not segments(saved.model):
        raise ValueError(f"{path} is a {type(saved.model).__name__}, an encoder or a classifier, which does not segment")
    return saved


def stored_task(name: str | Path) -> Task | None:
    """What the network of that name says of its channels, without reading its variables; None where nothing tells it."""
    return load_task(name) if name not in WEIGHTS and (located(name) / "model.json").is_file() else None


def expected_images(path: str | Path, saved: Saved) -> Preprocessing:
    """What a network that was read from `path` expects of images; where that is not said it is assumed, with a warning."""
    if saved.preprocessing is not None:
        return saved.preprocessing
    expected = default_preprocessing(channels_of(saved.model, saved.variables))
    statistics = f"mean {[round(v, 3) for v in expected.mean]}, std {[round(v, 3) for v in expected.std]}"
    warnings.warn(f"{path} does not say what images its network expects; {statistics} are assumed", stacklevel=2)
    return expected


def read_checkpoint(path: Path, model: nn.Module, *, source: str, classes: Sequence[str] | None = None) -> Saved:
    """`model` with a checkpoint that holds all of it, for images as published weights of the model expect them.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: as `fcn.from_torch` does, or for a checkpoint of another number of classes.
    """
    with all_classes(path, f"{model.num_classes} of the model"):
        variables = from_torch(model, path, source=source)
    return Saved(model, variables, None if classes is None else tuple(classes), None, expected_by(model, variables), None)


@contextlib.contextmanager
def all_classes(weights: str | Path, wanted: str) -> Iterator[None]:
    """Inside, weights of another number of classes than is `wanted` raise a ValueError in place of being adapted."""
    with warnings.catch_warnings():
        warnings.filterwarnings("error", message="another number of classes")
        try:
            yield
        except UserWarning:
            raise ValueError(f"{weights} has another number of classes than the {wanted}") from None


def read_names(file: Path) -> tuple[str, ...]:
    """The names of classes, one on each line of a text file.

    Raises:
        FileNotFoundError: there is no such file.
    """
    if not file.is_file():
        raise FileNotFoundError(f"no file {file}")
    return tuple(line.strip() for line in file.read_text(encoding="utf-8").splitlines() if line.strip())


def expected_by(model: nn.Module, variables: dict) -> Preprocessing:
    """What published weights of the model expect of images, for as many channels as the variables are for."""
    row = entry_of(model)
    return (row.preprocessing if row else default_preprocessing(3)).with_channels(channels_of(model, variables))
