"""Convolutions and matrix products by oneDNN, Intel's library for x86 processors, with which PyTorch computes as well.

XLA for Linux has it inside, but computes with it only when it is asked to: for a whole program by a flag
(`--xla_cpu_experimental_onednn_custom_call`, which does nothing before JAX 0.12), or, as here, for one operation by the name
that XLA itself gives it.

The names are no public interface of XLA, so only versions of JAX that this was tested with use them. Other forms compute where
several devices share the work, which XLA would not divide, and what is to be kept, which XLA cannot write or promises nothing
about: programs of `jax.export`, and all while there is a persistent compilation cache. FCN_ONEDNN=0 in the environment turns
oneDNN off, as is needed to serialise a compiled program.
"""

import contextlib
import contextvars
import functools
import json
from collections.abc import Iterator, Sequence
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jaxtyping import Array, Float

from fcn import environment
from fcn.environment import ONEDNN, Primitive, ad, batching, mlir
from fcn.kernels.padding import Pads
from fcn.kernels.windows import is_static
from fcn.kernels.xla import native_convolution

_is_manual = contextvars.ContextVar("_is_manual", default=False)


def usable() -> bool:
    """Whether what is traced now, for convolutions what is lowered now, may compute with oneDNN on a CPU."""
    if not environment.asked_onednn() or environment.programs_are_kept() or not environment.has_one_device():
        return False
    return not _is_manual.get() and not environment.is_traced_manually() and is_inside()


@contextlib.contextmanager
def without_onednn() -> Iterator[None]:
    """For what is lowered inside of a `jax.shard_map`."""
    token = _is_manual.set(True)
    try:
        yield
    finally:
        _is_manual.reset(token)


@functools.cache
def is_inside() -> bool:
    """Whether this XLA computes on a CPU and was built with oneDNN, which computes what it should."""
    if not environment.computes_on_x86_in_linux():
        return False
    if not environment.is_tested():
        ONEDNN.turn_off()
    return ONEDNN.works() and _computes_right()


def _computes_right():
    """Whether oneDNN is there, and a convolution and a product are XLA's."""
    x = np.arange(60, dtype=np.float32).reshape(1, 6, 5, 2) % 7
    kernel = np.arange(36, dtype=np.float32).reshape(3, 3, 2, 2) % 5
    settings = (2, 1), ((1, 1), (1, 1)), (1, 1), 1

    def both(x, kernel):
        left, right, transposed = x[0, 0].T, kernel[0, 0], (True, False)
        convolutions = _bind_convolution(x, kernel, settings), native_convolution(x, kernel, *settings)
        products = _bind_product(left, right, transposed), multiply_by_xla(left, right, transposed)
        return convolutions, products

    try:
        results = jax.jit(both).lower(x, kernel).compile()(x, kernel)
    except jax.errors.JaxRuntimeError:  # built without oneDNN
        return False
    if not all(np.array_equal(ours, expected) for ours, expected in results):
        ONEDNN.turn_off("it computes other numbers than XLA")
    return ONEDNN.works()


def multiplies_stacks() -> bool:
    """Whether several matrices may be multiplied at once.

    Without AVX-512, oneDNN of before JAX 0.12 shares a stack among threads, each of which shares its products again. XLA's pool
    of threads for oneDNN does not expect that: two threads replace the pool's state at once, which ends in "malloc():
    unsorted double linked list corrupted", a segmentation fault or not at all (6 products [112, 768] [768, 256]: one process
    in a few ends so within 1000 runs). XLA's own products of such stacks take as long there.
    """
    return environment.version() >= (0, 12) or environment.has_avx512()


def may_convolve(shape: Sequence[Any], pads: Pads) -> bool:
    """Whether images [N, H, W, C] with zeros around them may be convolved with oneDNN."""
    return usable() and is_static(shape) and 0 not in shape and min(map(min, pads)) >= 0


def convolve_onednn(
    x: Float[Array, "n h2 w2 c"],
    kernel: Float[Array, "kh kw i o"],
    strides: tuple[int, int],
    pads: Pads,
    dilation: tuple[int, int],
    groups: int = 1,
) -> Float[Array, "n h w o"]:
    """A convolution with zeros around the images, ((top, bottom), (left, right)), in `groups` groups of channels.

    oneDNN computes float32, and bfloat16 and float16 in float32; the result has the type of `x`. It has no derivative: those of
    `fcn.kernels.bilinear` are convolutions of their own.

    Raises:
      TypeError, ValueError: other types, and shapes that do not fit each other, as XLA's own convolution.
    """
    if x.dtype != kernel.dtype or x.dtype not in (jnp.float32, jnp.bfloat16, jnp.float16):
        raise TypeError(f"oneDNN convolves float32, bfloat16 and float16 here, not {x.dtype} and {kernel.dtype}")
    settings = strides, pads, dilation, groups
    return _bind_convolution(x.astype(jnp.float32), kernel.astype(jnp.float32), settings).astype(x.dtype)


def multiply_onednn(
    x: Float[Array, "*stack _ _"], y: Float[Array, "*stack _ _"], transposed: tuple[bool, bool] = (False, False)
) -> Float[Array, "*stack p o"]:
    """The products [P, C] [C, O] of two stacks of float32 matrices; either may be given transposed, as [C, P] or [O, C].

    Raises:
      TypeError: shapes that do not fit each other, or other types.
    """
    if {x.dtype, y.dtype} != {jnp.dtype(jnp.float32)}:
        raise TypeError(f"oneDNN multiplies float32 here, not {x.dtype} and {y.dtype}")
    return _bind_product(x, y, transposed)


@partial(jax.jit, static_argnums=2, inline=True)
def _bind_convolution(x, kernel, settings):
    return _convolution.bind(x, kernel, settings=settings)


@partial(jax.jit, static_argnums=2, inline=True)
def _bind_product(x, y, transposed=(False, False)):
    return _product.bind(x, y, transposed=transposed)


def _convolve_by_xla(x, kernel, settings):
    return native_convolution(x, kernel, *settings)


def multiply_by_xla(x, y, transposed):
    """The same products as those of `multiply_onednn`, as XLA's own operation, in any type."""
    first, stack = x.ndim - 2, tuple(range(x.ndim - 2))
    summed = (first if transposed[0] else first + 1,), (first + 1 if transposed[1] else first,)
    return lax.dot_general(x, y, (summed, (stack, stack)))


def _by_left(dz, x, y, transposed):
    """The gradient with respect to `x`, in the order in which it was given, from that with respect to the product."""
    return _bind_product(y, dz, (transposed[1], True)) if transposed[0] else _bind_product(dz, y, (False, not transposed[1]))


def _by_right(dz, x, y, transposed):
    """The gradient with respect to `y`, likewise."""
    return _bind_product(dz, x, (True, transposed[0])) if transposed[1] else _bind_product(x, dz, (not transposed[0], False))


def _settings_of_convolution(x, kernel, settings):
    """As XLA writes them, in JSON: the places of the axes, and numbers as strings."""
    strides, pads, dilation, groups = settings
    image = {"data": {"batch_dim": "0", "feature_dim": "3", "spatial_dims": ["1", "2"]}}
    taps = {"spatial_dims": ["0", "1"], "input_feature_dim": "2", "output_feature_dim": "3", "shape": _told(kernel.shape)}
    before, after = zip(*pads)
    window = {"strides": strides, "pad_left": before, "pad_right": after, "window_dilations": dilation}
    return {
        "onednn_conv_config": {
            "dims": "4",
            "feature_groups": str(groups),
            "input": image,
            "kernel": {"filter": taps},
            "output": image,
            "window": {name: _told(numbers) for name, numbers in window.items()},
        }
    }


def _settings_of_product(x, y, transposed):
    return {"onednn_matmul_config": {"transpose_a": transposed[0], "transpose_b": transposed[1]}}


def _told(numbers):
    return [str(number) for number in numbers]


def _primitive(name, settings_of, fallback):
    """An operation that is oneDNN's on CPUs and `fallback` elsewhere, for several at once and for exported programs."""
    primitive = Primitive(name.replace("__onednn$", "onednn_"))
    elsewhere = mlir.lower_fun(fallback, multiple_results=False)

    def shaped(x, y, **settings):
        return x.update(shape=jax.eval_shape(partial(fallback, **settings), x, y).shape)

    def on_cpu(context, *operands, **settings):
        if environment.is_exported(context) or environment.programs_are_kept():
            return elsewhere(context, *operands, **settings)
        told = json.dumps(settings_of(*context.avals_in, **settings))
        return jax.ffi.ffi_lowering(name, api_version=2, backend_config=told)(context, *operands)

    def batched(operands, axes, **settings):
        return jax.vmap(partial(fallback, **settings), axes)(*operands), 0

    primitive.def_abstract_eval(shaped)
    primitive.def_impl(fallback)  # where neither `jax.jit` nor what it traced to is compiled
    mlir.register_lowering(primitive, elsewhere)
    mlir.register_lowering(primitive, on_cpu, platform="cpu")
    batching.primitive_batchers[primitive] = batched
    return primitive


def _primitives():
    convolution = _primitive("__onednn$convolution", _settings_of_convolution, _convolve_by_xla)
    product = _primitive("__onednn$matmul", _settings_of_product, multiply_by_xla)
    ad.defbilinear(product, _by_left, _by_right)
    return convolution, product


_convolution, _product = ONEDNN.attempt(_primitives, lambda: (None, None))
