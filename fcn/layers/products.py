"""Matrix products whose sums over positions are in the order that is fast on CPUs.

XLA takes several times as long for the sum over positions of x[p, i] y[p, j] with many i and few j as with few i and many j,
which is the same work. Milliseconds (float32, jax 0.10.2 | 0.12.0, two processors of an AMD EPYC Zen 5):

    positions,   i,   j      as asked       exchanged
    100352,    192,  21      9.2 | 8.9      3.3 | 3.9
     25088,    256,  21      5.7 | 4.0      1.1 | 1.2
      6272,    256,  64      1.2 | 1.7      0.7 | 0.7
      1568,    512, 128      1.1 | 1.1      0.7 | 0.6
       392,   1024, 256      0.9 | 0.9      0.6 | 0.6
       394,   3072, 768      5.2 | 5.0      4.9 | 4.6

So gradients by kernels of more channels than features are computed as [O, C]. XLA would exchange the two again to save the
transposition of the result, were there no barrier between.
"""

from functools import partial

import jax
import jax.numpy as jnp
from jax import lax
from jax.custom_derivatives import SymbolicZero
from jaxtyping import Array, Float

from fcn.layers.fusion import computed_once


def sum_over_positions(x: Float[Array, "*stack p c"], y: Float[Array, "*stack p o"]) -> Float[Array, "*stack c o"]:
    """x^T y for each of a stack of matrices, for CPUs."""
    if not _pays(*x.shape[-2:], y.shape[-1]):
        return _sum(x, y)
    return computed_once(_behind_a_barrier(_sum(y, x)))


def _pays(positions, channels, features):
    return channels > features and positions > 16 * features


def _sum(x, y):
    stack = tuple(range(x.ndim - 2))
    return lax.dot_general(x, y, (((x.ndim - 2,), (y.ndim - 2,)), (stack, stack)))


def multiply(x: Float[Array, "p c"], kernel: Float[Array, "c o"]) -> Float[Array, "p o"]:
    """The matrix product, whose gradient by the kernel is in the fast order on a CPU."""
    return _multiply(x, kernel) if _pays(*x.shape, kernel.shape[1]) else x @ kernel


@jax.custom_jvp
def _multiply(x, kernel):
    return x @ kernel


@partial(_multiply.defjvp, symbolic_zeros=True)
def _derivative(primals, tangents):
    """The product rule. Transposed, the kernel's tangent gives the gradient, from behind a barrier."""
    (x, kernel), (dx, dkernel) = primals, tangents
    terms = []
    if not isinstance(dx, SymbolicZero):
        terms.append(_multiply(dx, kernel))
    if not isinstance(dkernel, SymbolicZero):
        terms.append(x @ lax.platform_dependent(computed_once(dkernel).T, cpu=_behind_a_barrier, default=jnp.transpose))
    return _multiply(x, kernel), sum(terms)


def _behind_a_barrier(matrices):
    """The transposes."""
    return lax.optimization_barrier(matrices).swapaxes(-2, -1)
