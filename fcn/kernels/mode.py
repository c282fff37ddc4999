"""Whether layers take the algorithms of `fcn.kernels` or XLA's own operations."""

import functools
from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Any, TypeVar

from fcn.environment import KERNELS, TraceContext, asked_kernels
from fcn.errors import unknown

Function = TypeVar("Function", bound=Callable)

MODES = ("auto", "xla")

_mode = TraceContext(asked_kernels())


def use(mode: str) -> AbstractContextManager:
    """`with fcn.kernels.use("xla"):` makes every layer that is traced inside XLA's own operation, in the jaxpr itself.

    For other compilers and converters, for debugging and for comparison. What was compiled in another mode is traced again.
    FCN_KERNELS=xla in the environment does so for a whole process.

    Args:
      mode: "auto", in which the algorithm suits shape and platform, or "xla".

    Raises:
      ValueError: another mode.
    """
    return _mode(_checked(mode))


def is_xla() -> bool:
    """Whether XLA's own operations are asked for, or all that this version of JAX has.

    Raises:
      ValueError: FCN_KERNELS is neither of the modes.
    """
    return _checked(_mode.value) == "xla" or not KERNELS.works()


def or_xla(native: Callable) -> Callable[[Function], Function]:
    """A decorator of what computes a layer: in the mode "xla" `native` computes it, from the same arguments."""

    def decorate(function: Any) -> Any:
        @functools.wraps(function)
        def computed(*arguments, **named):
            return (native if is_xla() else function)(*arguments, **named)

        return computed

    return decorate


def _checked(mode: str) -> str:
    if mode not in MODES:
        raise unknown("mode of kernels", mode, MODES)
    return mode
