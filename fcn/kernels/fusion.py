"""What XLA may fuse, and in which order it computes."""

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Float

from fcn.kernels.call import Call, Operation
from fcn.kernels.mode import or_xla
from fcn.kernels.table import by_platform


def _same(x):
    return x


@or_xla(_same)
def materialize(x: Float[Array, "*shape"]) -> Float[Array, "*shape"]:
    """`x`, such as the output of a residual block, which a CPU is to compute once and keep; and so its gradient.

    XLA computes elementwise operations anew for each operation that uses them, so that in a chain of blocks y = relu(y + f(y))
    each adds up all blocks before it: up to 4 ms for a block of a ResNet-152 (2 x 224², two processors of a Zen 5). It
    does not fuse across a conditional. Both branches of this one return `x`; the barriers keep XLA from simplifying it away.
    Accelerators fuse as they like.
    """
    return _kept("materialize", x)


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


@or_xla(_same)
def unfused_on_gpus(x: Float[Array, "*shape"]) -> Float[Array, "*shape"]:
    """`x`, such as the pixels that a pointwise convolution with strides sees, which an NVIDIA GPU is to keep as an array.

    Where XLA fuses a strided slice with a product, compilation can end the process (jax 0.11.2, a ResNet for images of 512x512:
    "Check failed: subdim_size_accumulator == dim_size" in triton_tiling_propagation.cc).
    """
    return _kept("slice", x)


def _behind_a_conditional(x):
    return lax.cond(_always(), lambda x: x, lax.optimization_barrier, x)


ALGORITHMS = {"conditional": _behind_a_conditional, "barrier": lax.optimization_barrier, "native": _same}


def _kept(operation: Operation, x):
    """By the algorithm that the table has for the platform."""
    return by_platform(Call("fusion", operation, "other", x.shape, (), x.shape, x.dtype), ALGORITHMS, x)


def _always():
    """True, which XLA does not know."""
    return lax.optimization_barrier(jnp.bool_(True))
