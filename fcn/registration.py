"""Models and encoders of your own, by name beside those of the library."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import flax.linen as nn

from fcn.encoders.entry import Encoder, check_row, name_of
from fcn.encoders.table import ENCODERS
from fcn.options import known_options
from fcn.preprocessing import IMAGENET_MEAN, IMAGENET_STD
from fcn.ranges import abbreviate
from fcn.registry import MODELS, Entry, row_of


def register_encoder(
    name: str,
    constructor: Callable[..., nn.Module],
    *,
    strides: Sequence[int] = (2, 4, 8, 16, 32),
    channels: Sequence[int] = (),
    paper: str = "",
    mean: Sequence[int | float] = IMAGENET_MEAN,
    std: Sequence[int | float] = IMAGENET_STD,
) -> Encoder:
    """Adds an encoder of your own to those that `create_model` and `create_encoder` know by name.

    Args:
        name: a new one.
        constructor: a class of Flax modules, or a partial of one, with the fields `depth`, `output_stride`, `dtype`,
            `param_dtype` and `axis_name`. Its modules are called as `encoder(images, train=...)` with images [B, H, W, C] and
            give a tuple of feature maps, finest first: those up to stride 2**depth.
        strides: of the maps at full depth, where nothing is dilated.
        channels: of the same maps; for users only.
        paper: where it is described.
        mean, std: what its weights expect of images.

    Returns:
        the row of the table, which `create_model(encoder=...)` takes as well.

    Raises:
        ValueError: there is an encoder of that name, the constructor lacks a field, or the strides are no powers of two.
    """
    row = Encoder(constructor, paper, "", None, tuple(channels), tuple(strides), tuple(mean), tuple(std))
    check_row(row)
    ENCODERS[_new("encoder", ENCODERS, name)] = row
    return row


def register_model(
    name: str,
    constructor: Callable[..., nn.Module],
    *,
    paper: str = "",
    mean: Sequence[int | float] | None = None,
    std: Sequence[int | float] | None = None,
) -> Entry:
    """Adds a segmentation model of your own to those that `create_model` knows by name.

    Args:
        name: a new one.
        constructor: a class of Flax modules, or a partial of one, with a field `num_classes`. Its modules are called as
            `model(images, train=...)` with images [B, H, W, C] and give float32 logits [B, H, W, num_classes]. One with a field
            `encoder` (see `fcn.models.parts.with_encoder.WithEncoder`) gets what `create_model` is given.
        paper: where it is described.
        mean, std: what its weights expect of images. Models of one class expect the same: by default what those expect that
            have a name already, as the library's have, and else ImageNet's.

    Returns:
        the row of the table.

    Raises:
        ValueError: there is a model of that name, the constructor has no field `num_classes`, or models of its class expect
            another mean or std.
    """
    if "num_classes" not in known_options(constructor):
        raise ValueError(f"a model has the field num_classes, which {name_of(constructor)} has not")
    known = row_of(constructor)
    usual = known or Entry(constructor)
    mean, std = (tuple(a if given is None else given) for a, given in ((usual.mean, mean), (usual.std, std)))
    if known and (mean, std) != (known.mean, known.std):
        raise ValueError(
            f"mean {mean} and std {std} are not those of the other models of {name_of(constructor)}, {known.mean} and "
            f"{known.std}; leave them out, or register a subclass"
        )
    row = Entry(constructor, paper, "", mean, std, usual.bgr)
    MODELS[_new("model", MODELS, name)] = row
    return row


def _new(kind: str, table: Mapping[str, Any], name: Any) -> str:
    """The name, if it is one and none of the table's."""
    if not isinstance(name, str) or not name:
        raise ValueError(f"the name of {kind} is {abbreviate(name)}; it must be a text")
    if name in table:
        raise ValueError(f"there is {kind} {name!r} already; choose another name")
    return name
