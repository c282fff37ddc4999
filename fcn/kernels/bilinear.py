"""A convolution and its two gradients as three primitives, which every transformation of JAX takes.

A convolution y = C(x, k) is linear in the images x and in the kernel k. So are its gradients with respect to the images,
X(dy, k), and with respect to the kernel, K(x, dy), and each one's transposes are the other two:

    transpose of C with respect to x: X(ct, k)     to k:  K(x, ct)
    transpose of X with respect to dy: C(ct, k)    to k:  K(ct, dy)
    transpose of K with respect to x: X(dy, ct)    to dy: C(x, ct)

That gives forward mode, reverse mode and any nesting of the two. A jaxpr holds one equation for each, and the algorithm is
chosen where that is lowered, when the platform is known. Images may be several maps beside each other
(`fcn.kernels.upsampled`): x and its gradients are lists.
"""

import contextlib
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import AbstractMesh, NamedSharding, PartitionSpec
from jaxtyping import Array

from fcn.environment import (
    KERNELS,
    ClosedJaxpr,
    Primitive,
    ad,
    batching,
    dce_jaxpr,
    has_one_device,
    is_exported,
    is_lowered_manually,
    jaxpr_as_fun,
    looked_for,
    matmul_precision,
    mlir,
    platform_at_hand,
)
from fcn.kernels.call import Layer, Operation, Problem, describe
from fcn.kernels.onednn import without_onednn
from fcn.kernels.padding import Pads
from fcn.kernels.sharding import varying_alike
from fcn.kernels.table import choose, is_heard
from fcn.kernels.xla import native_convolution

ALGORITHMS: dict[Layer, Callable[[Operation, str, Problem], Callable]] = {}
"""For each layer, a function of the operands for an operation, an algorithm and a problem. It gives one array, or for the
input gradient a tuple of one for each map."""
OPERATIONS: tuple[Operation, ...] = ("convolution", "input_gradient", "kernel_gradient")


def convolve(maps: Sequence[Array], kernel: Array, strides, pads: Pads, dilation, groups: int = 1, factor: int = 1) -> Array:
    """The convolution of maps [N, H, W, _] with a kernel [kh, kw, C / groups, O], all of one type; of volumes likewise."""
    *maps, kernel = varying_alike(*maps, kernel)
    shapes = tuple(tuple(x.shape) for x in maps)
    pads = tuple((before, after) for before, after in pads)
    settings = tuple(strides), pads, tuple(dilation), groups, factor
    problem = Problem(shapes, tuple(kernel.shape), kernel.dtype, *settings, matmul_precision(), has_one_device())
    if is_heard():
        _foresee(problem)
    return _bind("convolution", maps, kernel, problem, ())[0]


def _bind(operation, left, right, problem, mapped):
    return PRIMITIVES[operation].bind(*left, right, problem=problem, mapped=mapped)


def _results(operation: Operation, problem: Problem) -> tuple[tuple[Any, ...], ...]:
    """Shapes of what an operation gives."""
    return {"convolution": (problem.output_shape,), "input_gradient": problem.shapes}.get(operation, (problem.kernel_shape,))


def _transposed_left(operation, cotangents, left, right):
    """Which operation, of which operands, is the transpose with respect to the left operands."""
    return {
        "convolution": ("input_gradient", cotangents, right),
        "input_gradient": ("convolution", cotangents, right),
        "kernel_gradient": ("input_gradient", [right], cotangents[0]),
    }[operation]


def _transposed_right(operation, cotangents, left, right):
    """The same for the right operand."""
    return {
        "convolution": ("kernel_gradient", left, cotangents[0]),
        "input_gradient": ("kernel_gradient", cotangents, left[0]),
        "kernel_gradient": ("convolution", left, cotangents[0]),
    }[operation]


def _abstract(*operands, operation, problem, mapped):
    """`mapped` has an entry for each `jax.vmap` around, outermost first: which operands have an axis of it in front."""
    stack = [_length(operands, mapped, level) for level in range(len(mapped))]
    return [
        operands[0].update(shape=(*stack, *shape), sharding=_split(operands[0], mapped, operation, (*stack, *shape)))
        for shape in _results(operation, problem)
    ]


def _length(operands, mapped, level):
    """Of a level's axis, which comes after those of the levels before it that an operand has."""
    place = mapped[level].index(True)
    return operands[place].shape[sum(row[place] for row in mapped[:level])]


def _split(x, mapped, operation, shape):
    """Images are split as those that they are made of, over the batch; kernels are whole."""
    spec = x.sharding.spec
    batch = spec[0] if not mapped and operation != "kernel_gradient" and len(spec) else None
    return NamedSharding(x.sharding.mesh, PartitionSpec(batch, *(None,) * (len(shape) - 1)))


def _derivative(primals, tangents, *, operation, problem, mapped):
    """The product rule."""
    bind = partial(_bind, operation, problem=problem, mapped=mapped)
    (*left, right), (*dleft, dright), terms = primals, tangents, []
    if not all(isinstance(tangent, ad.Zero) for tangent in dleft):
        terms.append(bind([ad.instantiate_zeros(tangent) for tangent in dleft], right))
    if not isinstance(dright, ad.Zero):
        terms.append(bind(left, dright))
    return bind(left, right), [sum(parts[1:], parts[0]) for parts in zip(*terms)]


def _transposed(cotangents, *operands, operation, problem, mapped):
    (*left, right), count = operands, len(operands)
    cotangents = [ad.instantiate_zeros(cotangent) for cotangent in cotangents]
    by_right = ad.is_undefined_primal(right)
    of = _transposed_right if by_right else _transposed_left
    other, new_left, new_right = of(operation, cotangents, left, right)
    flags, all_levels = [tuple(row[i] for row in mapped) for i in range(count)], (True,) * len(mapped)
    _, left_flags, right_flags = of(operation, [all_levels] * len(cotangents), flags[:-1], flags[-1])
    results = _bind(other, new_left, new_right, problem, tuple(zip(*left_flags, right_flags)))
    targets = [count - 1] if by_right else range(count - 1)
    summed = {target: _sum_unmapped(result, mapped, target) for result, target in zip(results, targets, strict=True)}
    return [summed.get(i) if ad.is_undefined_primal(operand) else None for i, operand in enumerate(operands)]


def _sum_unmapped(result, mapped, target):
    axes = tuple(level for level, row in enumerate(mapped) if not row[target])
    return jnp.sum(result, axes) if axes else result


def _batched(operands, axes, *, operation, problem, mapped):
    """A further axis in front of all that have one already."""
    row = tuple(axis is not None for axis in axes)
    operands = [x if axis is None else jnp.moveaxis(x, axis, 0) for x, axis in zip(operands, axes)]
    results = _bind(operation, operands[:-1], operands[-1], problem, (row, *mapped))
    return results, [0] * len(results)


def by_transposition(operation: Operation, convolve: Callable[..., Array], problem: Problem) -> Callable:
    """A function of the operands: `convolve`, which is one of maps and kernel, or its transpose with respect to either."""
    if operation == "convolution":
        return convolve
    if operation == "kernel_gradient":
        kernel = jax.ShapeDtypeStruct(problem.kernel_shape, problem.dtype)
        return lambda *arrays: jax.linear_transpose(partial(convolve, *arrays[:-1]), kernel)(arrays[-1])[0]
    types = [jax.ShapeDtypeStruct(shape, problem.dtype) for shape in problem.shapes]
    return lambda dy, kernel: jax.linear_transpose(lambda *maps: convolve(*maps, kernel), *types)(dy)


def algorithm(operation: Operation, platform: str | None, problem: Problem) -> Callable:
    """A function of the operands, by the algorithm that the table names."""
    return ALGORITHMS[problem.layer](operation, choose(describe(operation, platform, problem)).algorithm, problem)


def _foresee(problem):
    """Chooses what will be chosen when this is lowered for this machine, and so for the convolutions that it consists of."""
    convolution, *_ = (algorithm(operation, platform_at_hand(), problem) for operation in OPERATIONS)
    if problem.layer in ("grouped", "upsampled", "volume"):
        types = (jax.ShapeDtypeStruct(shape, problem.dtype) for shape in (*problem.shapes, problem.kernel_shape))
        jax.eval_shape(lambda *arrays: convolution(*arrays), *types)


def _function(operation, platform, problem, mapped):
    """The algorithm for the platform, of mapped operands, with a list of results."""
    chosen = algorithm(operation, platform, problem)

    def function(*operands):
        results = chosen(*operands)
        return list(results) if isinstance(results, tuple) else [results]

    for row in reversed(mapped):
        function = jax.vmap(function, [0 if has else None for has in row])
    return function


@contextlib.contextmanager
def _as_called(context, problem, mapped):
    """With the precision and the types of where the operation was called, and without a mesh.

    oneDNN computes whole arrays, one at a time, in programs that are not exported.
    """
    with contextlib.ExitStack() as stack:
        stack.enter_context(jax.sharding.use_abstract_mesh(AbstractMesh((), ())))
        stack.enter_context(jax.default_matmul_precision(problem.precision))
        if problem.dtype == jnp.float64:
            stack.enter_context(jax.enable_x64(True))
        if mapped or is_lowered_manually(context) or is_exported(context):
            stack.enter_context(without_onednn())
        yield


def _lowered(context, *operands, operation, platform, problem, mapped):
    """By the algorithm for the platform, of plain arrays: how these are divided among devices is XLA's to find out."""
    types = [jax.ShapeDtypeStruct(aval.shape, aval.dtype) for aval in context.avals_in]
    with _as_called(context, problem, mapped):
        traced = jax.make_jaxpr(_function(operation, platform, problem, mapped))(*types)
        used, _ = dce_jaxpr(traced.jaxpr, [True] * len(traced.out_avals), instantiate=True)
        lower = mlir.lower_fun(jaxpr_as_fun(ClosedJaxpr(used, traced.consts)), multiple_results=True)
        return lower(context.replace(avals_in=traced.in_avals), *operands)


@partial(jax.jit, static_argnames=("operation", "problem", "mapped"))
def _compiled(*operands, operation, problem, mapped):
    return PRIMITIVES[operation].bind(*operands, problem=problem, mapped=mapped)


def _called(*operands, operation, **settings):
    """Outside of `jax.jit`: compiled even under `jax.disable_jit`, with the checks of `jax.debug_nans` and `jax.debug_infs`.

    Both make JAX call this again in place of what is compiled.
    """
    checks = looked_for()
    with jax.disable_jit(False), jax.debug_nans(False), jax.debug_infs(False):
        results = _compiled(*operands, operation=operation, **settings)
        for name, is_bad in checks.items():
            if any(is_bad(result).any() for result in results):
                raise FloatingPointError(f"invalid value ({name}) encountered in {operation}")
    return results


def _primitive(operation: Operation) -> Any:
    new, told = Primitive(operation), {"operation": operation}
    new.multiple_results = True
    new.def_impl(partial(_called, **told))
    new.def_abstract_eval(partial(_abstract, **told))
    for platform in ("cpu", "cuda", None):
        mlir.register_lowering(new, partial(_lowered, platform=platform, **told), platform=platform)
    ad.primitive_jvps[new] = partial(_derivative, **told)
    ad.primitive_transposes[new] = partial(_transposed, **told)
    batching.primitive_batchers[new] = partial(_batched, **told)
    return new


def _primitives() -> dict[Operation, Any]:
    return {operation: _primitive(operation) for operation in OPERATIONS}


PRIMITIVES = KERNELS.attempt(_primitives, dict)


@KERNELS.checked_by
def _check() -> None:
    """Raises an error if the values and gradients of a small convolution are not XLA's."""
    x = np.arange(32, dtype=np.float32).reshape(1, 4, 4, 2)
    kernel = np.arange(18, dtype=np.float32).reshape(3, 3, 2, 1)
    settings = (1, 1), ((1, 1), (1, 1)), (1, 1)

    def gradients(convolution):
        return jax.grad(lambda x, kernel: jnp.sum(convolution(x, kernel, *settings) ** 2), (0, 1))

    def both(x, kernel):
        ours = gradients(lambda x, *others: convolve((x,), *others))
        return ours(x, kernel), gradients(native_convolution)(x, kernel)

    given, expected = jax.jit(both).lower(x, kernel).compile()(x, kernel)
    if not all(map(partial(np.allclose, rtol=0.01), given, expected)):
        raise ArithmeticError("other gradients than XLA's")
