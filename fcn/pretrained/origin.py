"""Trained weights in any form: where they are found, and what they expect of images."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import flax.linen as nn

from fcn.encoders.table import ENCODERS, find_encoder
from fcn.errors import unknown
from fcn.models.parts.with_encoder import WithEncoder
from fcn.preprocessing import Preprocessing, default_preprocessing
from fcn.pretrained.conversion import from_torch
from fcn.pretrained.names import SOURCES
from fcn.pretrained.reading import check_file
from fcn.pretrained.saving import load, load_preprocessing
from fcn.pretrained.smp import is_smp_folder
from fcn.pretrained.weights import WEIGHTS, load_weights
from fcn.registry import MODELS, create_encoder, entry_of, segments
from fcn.shipped import located, shipped


class Origin(NamedTuple):
    """Weights that were found, and not read yet."""

    read: Callable[[int | None], dict[str, Any]]
    """(Channels of the images, or None: as many as the weights have) -> the variables, with the names of the model.

    Those of saved models are as they were saved, for whatever channels.
    """
    preprocessing: Callable[[], Preprocessing]
    """What they expect of images."""
    whole: bool = True
    """They are a whole model's, not those of its encoder."""


def find_weights(model: nn.Module, weights: str | Path, source: str | None) -> Origin:
    """Tells what `weights` is.

    Args:
        model: the network that they are for.
        weights: a name of `fcn.pretrained.WEIGHTS` or of a network that comes with the library, a folder that `fcn.save` or
            smp's `save_pretrained` wrote, or a checkpoint file. Those of a backbone go to the encoder.
        source: whose names a checkpoint file has (see `fcn.from_torch`).

    Raises:
        ValueError: an unknown name, weights of another encoder, or no `source` for a file.
        FileNotFoundError: there is no such file or folder.
    """
    path = located(weights)
    if str(weights) in WEIGHTS:
        return _published(model, str(weights))
    if (path / "model.json").is_file():
        return Origin(lambda _: load(path).variables, lambda: load_preprocessing(path) or default_preprocessing(3))
    if is_smp_folder(path):
        return _file(model, path, source or "smp")
    if path.is_file():
        return _file(model, check_file(path), source)
    if path.exists() or len(path.parts) > 1:
        raise FileNotFoundError(f"{path} is no checkpoint file or saved model")
    raise unknown("weights", str(weights), [*shipped(), *WEIGHTS])


def _published(model: nn.Module, weights: str) -> Origin:
    row = WEIGHTS[weights]
    if row.classes or not (segments(model) or isinstance(model, WithEncoder)):
        expected = (MODELS if row.classes else ENCODERS)[row.model].preprocessing
        return Origin(lambda channels: load_weights(weights, model=model, in_channels=channels), lambda: expected)
    given = model.given_encoder if isinstance(model, WithEncoder) else None
    if not isinstance(model, WithEncoder) or (isinstance(given, str) and given != row.model):
        raise ValueError(f"{weights} is for the encoder {row.model}, but the model's encoder is {given}")

    def read(channels):
        return as_encoder(load_weights(weights, model=_encoder(model), in_channels=channels), model)

    return Origin(read, lambda: ENCODERS[row.model].preprocessing, whole=False)


def _file(model: nn.Module, path: Path, source: str | None) -> Origin:
    """Of another implementation: it expects what published weights of the model, or of its encoder, do."""
    if source is None:
        options = "source=, on the command line --source, or --init-source of a training"
        raise ValueError(f"{path} is a checkpoint file; say whose names it has ({options}): {', '.join(SOURCES)}")
    if source in getattr(model, "references", {}) or not isinstance(model, WithEncoder):
        row = entry_of(model)
        record = row.preprocessing if row else default_preprocessing(3)
        return Origin(lambda channels: from_torch(model, path, source=source, in_channels=channels), lambda: record)

    def read(channels):
        return as_encoder(from_torch(_encoder(model), path, source=source, in_channels=channels), model)

    known = not isinstance(model.given_encoder, nn.Module)
    record = find_encoder(model.given_encoder).preprocessing if known else default_preprocessing(3)
    return Origin(read, lambda: record, whole=False)


def _encoder(model: WithEncoder) -> nn.Module:
    """The encoder alone, of full depth where it has a name."""
    given = model.given_encoder
    return create_encoder(given) if isinstance(given, str) else model.make_encoder()


def as_encoder(variables: Mapping[str, Any], model: WithEncoder) -> dict[str, Any]:
    """The variables of an encoder, as those of a model that has it."""
    return {collection: {model.encoder_name: values} for collection, values in variables.items()}
