"""Which algorithm each layer of a network takes, and why."""

import contextvars
import dataclasses
from collections.abc import Sequence
from typing import NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp

from fcn.environment import platform_at_hand
from fcn.kernels.call import Call
from fcn.kernels.mode import is_xla, use
from fcn.kernels.table import find, listening

_path: contextvars.ContextVar[str] = contextvars.ContextVar("_path", default="")


class Explanation(NamedTuple):
    """What computes an operation of a layer.

    Attributes:
      path: of the layer, such as "encoder/layer1_0/conv1".
      operation: "convolution", "input_gradient" and "kernel_gradient" (with respect to the images and the kernel), "product",
        "pointwise" (a product that is XLA's, with the algorithm of its kernel's gradient), "attention", "resize" (one axis),
        "max", "average", or "materialize" and "slice" (what is kept as an array).
      shapes: of images, kernel and output.
      algorithm: its name in docs/forms.md, "native" for XLA's own.
      reason: the condition of docs/forms.md that it meets.
    """

    path: str
    operation: str
    shapes: tuple[tuple[int, ...], ...]
    algorithm: str
    reason: str


def explain(model: nn.Module, shape: Sequence[int], *, gradients: bool = False) -> list[Explanation]:
    """Which algorithm each layer takes on this machine, in the order in which layers are called.

    The network is traced, not run. A layer that consists of several convolutions has a row for each that is different.

    Args:
      model: a network of layers of `fcn.layers`.
      shape: of its images, [B, H, W, C], or of signals or volumes.
      gradients: whether those of the layers are explained as well.

    Raises:
      ValueError: what the model says of images that it does not take.
    """
    rows = dict.fromkeys(_explanation(path, call) for path, call in calls(model, shape))
    return [row for row in rows if gradients or row.operation not in ("input_gradient", "kernel_gradient")]


def calls(model: nn.Module, shape: Sequence[int]) -> list[tuple[str, Call]]:
    """The path of a layer and what it asks the table, for all layers."""
    images = jax.ShapeDtypeStruct(tuple(shape), jnp.float32)
    variables = jax.eval_shape(lambda x: model.init(jax.random.key(0), x), images)
    found: list[tuple[str, Call]] = []
    with use("auto"), nn.intercept_methods(_follow), listening(lambda call: found.append((_path.get(), call))):
        jax.eval_shape(lambda variables, x: model.apply(variables, x), variables, images)
    return [(path, _here(call)) for path, call in found]


def _follow(method, arguments, options, context):
    """Keeps the path of the layer that is called."""
    token = _path.set("/".join(context.module.path))
    try:
        return method(*arguments, **options)
    finally:
        _path.reset(token)


def _here(call: Call) -> Call:
    """Matrices are described as on a CPU wherever they are."""
    platform = platform_at_hand()
    return dataclasses.replace(call, platform=platform) if call.layer == "matrices" and platform != "cpu" else call


def _explanation(path, call):
    rule, shapes, operation = find(call), (call.images, call.kernel, call.output), call.operation
    if call.mirrored:
        *taps, channels, features = call.kernel
        operation, shapes = "input_gradient", (call.output, (*taps, features, channels), call.images)
    chosen = ("native", "asked for by fcn.kernels.use or FCN_KERNELS") if is_xla() else (rule.algorithm, rule.reason)
    return Explanation(path, operation, shapes, *chosen)
