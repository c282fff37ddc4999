"""What XLA may fuse, and in which order it computes."""

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Float

from fcn.kernels.mode import is_xla


def materialize(x: Float[Array, "*shape"]) -> Float[Array, "*shape"]:
    """`x`, such as the output of a residual block, which a CPU is to compute once and keep; and so its gradient.

    XLA computes elementwise operations anew for each operation that uses them, so that in a chain of blocks y = relu(y + f(y))
    each adds up all blocks before it: up to 4 ms for a block of a ResNet-152 (2 x 224², two processors of a Zen 5). It
    does not fuse across a conditional. Both branches of this one return `x`; the barriers keep XLA from simplifying it away.
    Accelerators fuse as they like.
    """
    return x if is_xla() else lax.platform_dependent(x, cpu=_behind_a_conditional, default=lambda x: x)


def sum_in_turn(function: Callable[..., Array], blocks: Sequence[Any], *arrays: Array) -> Array:
    """The sum of `function(block, *arrays)` over one or more blocks, computed one after the other; for CPUs.

    What is made of a block is still in the cache when it is used, and the next takes its memory. XLA would rather begin with
    what depends on no result, for all blocks. Here each is computed in a conditional that adds it to the sum before it.
    """

    def add(block, total, *arrays):
        return total + function(block, *arrays)

    total = function(blocks[0], *arrays)
    for block in blocks[1:]:
        total = lax.cond(_always(), partial(add, block), lambda total, *arrays: total, total, *arrays)
    return total


def unfused_on_gpus(x: Float[Array, "*shape"]) -> Float[Array, "*shape"]:
    """`x`, such as the pixels that a pointwise convolution with strides sees, which an NVIDIA GPU is to keep as an array.

    Where XLA fuses a strided slice with a product, compilation can end the process (jax 0.11.2, a ResNet for images of 512x512:
    "Check failed: subdim_size_accumulator == dim_size" in triton_tiling_propagation.cc).
    """
    return x if is_xla() else lax.platform_dependent(x, cuda=lax.optimization_barrier, default=lambda x: x)


def _behind_a_conditional(x):
    return lax.cond(_always(), lambda x: x, lax.optimization_barrier, x)


def _always():
    """True, which XLA does not know."""
    return lax.optimization_barrier(jnp.bool_(True))
