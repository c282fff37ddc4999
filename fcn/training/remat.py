"""Computing twice what would take memory between the forward and the backward pass."""

import contextlib
from collections.abc import Callable, Iterator
from typing import Literal

import flax.linen as nn
import jax
import numpy as np

from fcn.layers import Network

Remat = Literal["none", "blocks", "all"]


def rematerialised(function: Callable, what: Remat) -> Callable:
    """`function`, which applies a network to arrays, with less kept for its backward pass.

    Args:
      function: arrays -> arrays.
      what: "none" keeps what JAX keeps; "blocks" keeps the inputs of each block, whose inside is computed again; "all" keeps
        the arguments, and the whole is computed again.
    """
    if what == "all":
        return jax.checkpoint(function)
    if what == "none":
        return function

    def applied(*args):
        with recomputed_blocks():
            return function(*args)

    return applied


@contextlib.contextmanager
def recomputed_blocks() -> Iterator[None]:
    """In what is applied inside of it, the backward pass recomputes each block of a network from the block's inputs.

    Blocks are the modules of a network, of its encoder, its decoder and their stages, that are made of layers.
    """
    inside = False

    def call(function, args, kwargs, context):
        nonlocal inside
        if inside or context.method_name != "__call__" or not _is_block(context.module, args):
            return function(*args, **kwargs)
        inside = True
        try:
            return nn.remat(lambda module, *args: module(*args, **kwargs))(context.module, *args)
        finally:
            inside = False

    with nn.intercept_methods(call):
        yield


def _is_block(module: nn.Module, args: tuple) -> bool:
    kind = type(module)
    is_layer = kind.__module__.startswith(("flax.", "fcn.layers."))
    is_made_of_blocks = isinstance(module, Network) or kind.__name__.endswith(("Encoder", "Decoder", "Stage"))
    return not (is_layer or is_made_of_blocks) and all(isinstance(x, jax.Array | np.ndarray) for x in jax.tree.leaves(args))
