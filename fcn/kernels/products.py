"""Matrix products whose sums over positions are in the order that is fast on CPUs.

XLA takes several times as long for the sum over positions of x[p, i] y[p, j] with many i and few j as with few i and many j,
which is the same work.

Where oneDNN may be used, large ones are its own (`fcn.kernels.onednn`), in either order. Else gradients with respect to kernels
of more channels than features are computed as [O, C] where there are positions enough: others lose in a network what they gain
here, as their results are large beside the work and have to be transposed. XLA would exchange the two again to save that, were
there no barrier between. A conditional (`materialize`) keeps XLA from transposing in the midst of an optimiser's step, which
would read the result against its order (512x4608: 23 ms instead of 6).
"""

from functools import partial

import jax
from jax import lax
from jax.custom_derivatives import SymbolicZero
from jaxtyping import Array, Float

from fcn.kernels.call import describe_product
from fcn.kernels.fusion import materialize
from fcn.kernels.onednn import multiply_by_xla, multiply_onednn
from fcn.kernels.table import by_platform, choose


def matmul(x: Float[Array, "*stack p c"], y: Float[Array, "*stack c o"]) -> Float[Array, "*stack p o"]:
    """x y for each of a stack of matrices, for CPUs."""
    if choose(describe_product("product", x, y)).algorithm == "onednn":
        return multiply_onednn(x, y)
    return multiply(x, y) if x.ndim == 2 else x @ y


def sum_over_positions(x: Float[Array, "*stack p c"], y: Float[Array, "*stack p o"]) -> Float[Array, "*stack c o"]:
    """x^T y for each of a stack of matrices, for CPUs."""
    return SUMS[choose(describe_product("sum", x, y)).algorithm](x, y)


def _sum(x, y):
    return multiply_by_xla(x, y, (True, False))


SUMS = {
    "onednn": lambda x, y: multiply_onednn(x, y, (True, False)),
    "exchanged": lambda x, y: materialize(_behind_a_barrier(_sum(y, x))),
    "native": _sum,
}


def multiply(x: Float[Array, "p c"], kernel: Float[Array, "c o"]) -> Float[Array, "p o"]:
    """The matrix product, by XLA, whose gradient with respect to the kernel is the sum over positions that the table names."""
    call = describe_product("pointwise", x, kernel)
    algorithm = choose(call).algorithm
    if algorithm == "native":
        return x @ kernel
    return _multiply(x, kernel, multiply_onednn if algorithm == "onednn" else partial(_multiply_exchanged, call))


@partial(jax.custom_jvp, nondiff_argnums=(2,))
def _multiply(x, kernel, product):
    return x @ kernel


@partial(_multiply.defjvp, symbolic_zeros=True)
def _derivative(product, primals, tangents):
    """The product rule. Its part that is linear in the kernel's tangent, transposed, is the sum over positions."""
    (x, kernel), (dx, dkernel) = primals, tangents
    terms = []
    if not isinstance(dx, SymbolicZero):
        terms.append(_multiply(dx, kernel, product))
    if not isinstance(dkernel, SymbolicZero):
        terms.append(product(x, dkernel))
    return _multiply(x, kernel, product), sum(terms)


def _multiply_exchanged(call, x, dkernel):
    return x @ by_platform(call, TANGENTS, dkernel)


def _exchanged(dkernel):
    """The tangent itself; its gradient comes as [O, C] and is transposed once."""
    return _behind_a_barrier(materialize(dkernel).T)


TANGENTS = {"exchanged": _exchanged, "native": lambda dkernel: dkernel}


def _behind_a_barrier(matrices):
    """The transposed matrices; XLA does not exchange the factors of a product to save the transposition."""
    return lax.optimization_barrier(matrices).swapaxes(-2, -1)
