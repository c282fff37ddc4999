"""Parts of a network that stay as they are for a while, and parts that learn more slowly than the rest."""

import bisect
import contextlib
import math
import re
from collections.abc import Iterator, Sequence
from typing import Any

import flax.linen as nn
import jax
from flax.traverse_util import flatten_dict, path_aware_map
from jaxtyping import PyTree

from fcn.errors import unknown

Path = tuple[str, ...]
_BLOCK = re.compile(r"blocks?\d*_\d+")


def is_within(path: Sequence[Any], parts: Sequence[str]) -> bool:
    """Whether what has this path lies in one of `parts`: "encoder", "encoder/layer1_0" ..."""
    return any(tuple(path[: part.count("/") + 1]) == tuple(part.split("/")) for part in parts)


def check_parts(params: PyTree, parts: Sequence[str]) -> None:
    """Refuses parts that the network does not have, and those that are all of it.

    Raises:
      ValueError: naming the part.
    """
    paths = list(flatten_dict(params))
    for part in parts:
        if not any(is_within(path, [part]) for path in paths):
            depth = part.count("/") + 1
            raise unknown("part of the network", part, {"/".join(path[:depth]) for path in paths if len(path) > depth})
    if all(is_within(path, parts) for path in paths):
        raise ValueError(f"{', '.join(parts)} is all of the network; leave a part that learns")


@contextlib.contextmanager
def evaluating(parts: Sequence[str]) -> Iterator[None]:
    """What is applied inside of it computes in `parts` as with `train=False`: by BatchNorm's statistics, without dropout."""

    def call(function, args, kwargs, context):
        if kwargs.get("train") and is_within(context.module.path, parts):
            kwargs = {**kwargs, "train": False}
        return function(*args, **kwargs)

    with nn.intercept_methods(call) if parts else contextlib.nullcontext():
        yield


def held(params: PyTree, parts: Sequence[str]) -> PyTree:
    """`params`, those of `parts` without a gradient."""
    return path_aware_map(lambda path, x: jax.lax.stop_gradient(x) if is_within(path, parts) else x, params)


def learning_rates(
    params: PyTree, *, bias_rate: float = 1.0, encoder: str = "encoder", encoder_rate: float = 1.0, layer_decay: float = 1.0
) -> PyTree:
    """The factor of each parameter's learning rate.

    Args:
      params: parameters, or what has their paths.
      bias_rate: that of biases.
      encoder: the encoder's name in the network.
      encoder_rate: that of the encoder.
      layer_decay: by which the encoder's layers learn more slowly, from block to block down to the image. The decoder, and what
        follows the last block, have the full rate, the last block `layer_decay`, the embedding of patches that to the power of
        the number of blocks + 1 (Bao, Dong, Piao, Wei, BEiT, ICLR 2022, appendix).

    Raises:
      ValueError: there is no encoder, or it has no blocks, and they were asked for.
    """
    inside = [path[1:] for path in flatten_dict(params) if path[0] == encoder]
    if not inside and (encoder_rate != 1 or layer_decay != 1):
        raise ValueError("encoder_rate and layer_decay are for networks with an encoder; this one has none: leave them out")
    layers = layers_above(inside) if layer_decay != 1 else dict.fromkeys(inside, 0)

    def factor(path, _):
        own = encoder_rate * layer_decay ** layers[path[1:]] if path[0] == encoder else 1.0
        return own * bias_rate if path[-1] == "bias" else own

    return path_aware_map(factor, params)


def layers_above(paths: Sequence[Path]) -> dict[Path, int]:
    """How many blocks of an encoder of blocks lie at or above each of its parameters, and one more below the first block.

    Raises:
      ValueError: there are no blocks.
    """
    places = {path: _place(path) for path in paths}
    blocks = sorted({place for place, is_block in places.values() if is_block})
    if not blocks:
        raise ValueError("layer_decay is for encoders of blocks: vit, mit, swin or convnext; this one has none: leave it out")

    def above(place, is_block):
        before = bisect.bisect_left(blocks, place)
        return len(blocks) - before + (not is_block and before < len(blocks))

    return {path: above(*place) for path, place in places.items()}


def _place(path: Path) -> tuple[tuple[int | float, ...], bool]:
    """Where a parameter lies among the blocks, as numbers that grow from the image up, and whether that is in a block."""
    place: tuple[int | float, ...] = ()
    for name in path:
        numbers = tuple(map(int, re.findall(r"\d+", name)))
        if _BLOCK.fullmatch(name):
            return place + numbers, True
        if name.startswith("norm"):  # behind the blocks of its stage, or behind all
            return (*place, *numbers, math.inf), False
        if not name.startswith(("layers_", "stages_")):
            return place or numbers, False
        place += numbers
    return place, False
