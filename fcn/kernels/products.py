"""Matrix products whose sums over positions are in the order that is fast on CPUs.

XLA takes several times as long for the sum over positions of x[p, i] y[p, j] with many i and few j as with few i and many j,
which is the same work. Milliseconds (float32, jax 0.10.2 | 0.12.0, two processors of an AMD EPYC Zen 5):

    positions,   i,   j      as asked       exchanged
    100352,    192,  21      9.2 | 8.9      3.3 | 3.9
     25088,    256,  21      5.7 | 4.0      1.1 | 1.2
      6272,    256,  64      1.2 | 1.7      0.7 | 0.7
      1568,    512, 128      1.1 | 1.1      0.7 | 0.6
       392,   1024, 256      0.9 | 0.9      0.6 | 0.6

Where oneDNN may be used, large ones are its own (`fcn.kernels.onednn`), in either order. Else gradients by kernels of more
channels than features are computed as [O, C] where there are positions enough: others lose in a network what they gain here, as
their results are large beside the work and have to be transposed. XLA would exchange the two again to save that, were there no
barrier between. A conditional (`computed_once`) keeps XLA from transposing in the midst of an optimiser's step, which would
read the result against its order (512x4608: 23 ms instead of 6).
"""

from functools import partial

import jax
from jax import lax
from jax.custom_derivatives import SymbolicZero
from jaxtyping import Array, Float

from fcn.kernels.fusion import computed_once
from fcn.kernels.onednn import may_multiply, multiply_by_xla, multiply_onednn
from fcn.kernels.windows import is_known

FEWEST_POSITIONS = 16
"""For each feature."""


def matmul(x: Float[Array, "*stack p c"], y: Float[Array, "*stack c o"]) -> Float[Array, "*stack p o"]:
    """x y for each of a stack of matrices, for CPUs."""
    if may_multiply(x, y):
        return multiply_onednn(x, y)
    return multiply(x, y) if x.ndim == 2 else x @ y


def sum_over_positions(x: Float[Array, "*stack p c"], y: Float[Array, "*stack p o"]) -> Float[Array, "*stack c o"]:
    """x^T y for each of a stack of matrices, for CPUs."""
    if may_multiply(x, y):
        return multiply_onednn(x, y, (True, False))
    if not _pays(x.shape[-2], x.shape[-1], y.shape[-1]):
        return _sum(x, y)
    return computed_once(_behind_a_barrier(_sum(y, x)))


def _pays(positions, channels, features):
    """Whether the exchanged product is faster, its result's transposition included; not for unknown numbers of positions."""
    return channels > features and is_known((positions,)) and positions > FEWEST_POSITIONS * features


def _sum(x, y):
    return multiply_by_xla(x, y, (True, False))


def multiply(x: Float[Array, "p c"], kernel: Float[Array, "c o"]) -> Float[Array, "p o"]:
    """The matrix product, by XLA, whose gradient by the kernel is oneDNN's or in the fast order on a CPU."""
    return _multiply(x, kernel) if may_multiply(x, kernel) or _pays(x.shape[0], x.shape[1], kernel.shape[1]) else x @ kernel


@jax.custom_jvp
def _multiply(x, kernel):
    return x @ kernel


@partial(_multiply.defjvp, symbolic_zeros=True)
def _derivative(primals, tangents):
    """The product rule. Its part that is linear in the kernel's tangent, transposed, is the exchanged sum over positions."""
    (x, kernel), (dx, dkernel) = primals, tangents
    terms = []
    if not isinstance(dx, SymbolicZero):
        terms.append(_multiply(dx, kernel))
    if not isinstance(dkernel, SymbolicZero):
        terms.append(multiply_onednn(x, dkernel) if may_multiply(x, kernel) else x @ _exchanged_on_cpus(dkernel))
    return _multiply(x, kernel), sum(terms)


def _exchanged_on_cpus(dkernel):
    return lax.platform_dependent(dkernel, cpu=_exchanged, default=lambda dkernel: dkernel)


def _exchanged(dkernel):
    """The tangent itself; its gradient comes as [O, C] and is transposed once."""
    return _behind_a_barrier(computed_once(dkernel).T)


def _behind_a_barrier(matrices):
    """The transposed matrices; XLA does not exchange the factors of a product to save the transposition."""
    return lax.optimization_barrier(matrices).swapaxes(-2, -1)
