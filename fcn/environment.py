"""What is asked of JAX and of the environment variables that steer kernels, where a version of JAX may lack the answer."""

import contextlib
import contextvars
import importlib
import os
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from typing import Any

import jax


def _find(module: str, name: str) -> Any:
    """What a module of JAX has of that name, which no document promises; else None."""
    try:
        return getattr(importlib.import_module(module), name, None)
    except ImportError:
        return None


MAKE_CONTEXT = getattr(jax, "make_user_context", None)
MAX_OF_SYMBOLS = _find("jax._src.core", "max_dim")


class TraceContext:
    """A value for a block of code, which `jax.jit` caches by: what was compiled with another value is traced again.

    `make` is what JAX has for that. Without it the value is kept all the same; functions that were compiled before stay.
    """

    def __init__(self, default: Any, make: Callable | None = MAKE_CONTEXT):
        self._kept = make(default) if make else None
        self._plain = contextvars.ContextVar("fcn", default=default)

    @property
    def value(self) -> Any:
        """The innermost block's."""
        return self._kept.value if self._kept else self._plain.get()

    def __call__(self, value: Any) -> AbstractContextManager:
        """Inside, this value."""
        return self._kept(value) if self._kept else self._set(value)

    @contextlib.contextmanager
    def _set(self, value) -> Iterator[None]:
        token = self._plain.set(value)
        try:
            yield
        finally:
            self._plain.reset(token)


def largest(size: Any, other: Any, find: Callable | None = MAX_OF_SYMBOLS) -> Any:
    """The larger of two sizes, of which one may be a symbol of `jax.export`, with what JAX has for that.

    Raises:
      InconclusiveDimensionOperation: JAX has nothing, and cannot tell.
    """
    if find and not (isinstance(size, int) and isinstance(other, int)):
        return find(size, other)
    return max(size, other)


def asked_kernels() -> str:
    """FCN_KERNELS of the environment, "auto" where it is not set."""
    return os.environ.get("FCN_KERNELS") or "auto"
