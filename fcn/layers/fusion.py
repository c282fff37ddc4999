"""What XLA may fuse."""

import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Float


def computed_once(x: Float[Array, "*shape"]) -> Float[Array, "*shape"]:
    """`x`, the sum of a residual block, which a CPU is to compute once and keep.

    XLA computes elementwise operations anew for each operation that uses them, so that in a chain of blocks y = relu(y + f(y))
    each adds up all blocks before it: 4 ms for each of the last blocks of a ResNet-152. It does not fuse across a conditional,
    and this one, whose branches are the same, it does not see through. Accelerators fuse as they like.
    """
    return lax.platform_dependent(x, cpu=_behind_a_conditional, default=lambda x: x)


def _behind_a_conditional(x):
    return lax.cond(lax.optimization_barrier(jnp.bool_(True)), lambda x: x, lax.optimization_barrier, x)
