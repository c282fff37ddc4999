"""What is asked of JAX and XLA beyond what they document, of the machine, and of the environment variables that steer kernels.

The versions of JAX that were tested answer all of it. With others, what fails is off: something slower takes its place, and a
warning says so once.
"""

import contextlib
import contextvars
import functools
import importlib
import inspect
import os
import platform
import re
import sys
import warnings
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any, TypeVar

import jax
import jax.numpy as jnp
from jax.sharding import AxisType

from fcn.errors import first_line

T = TypeVar("T")

CONFIG: Any = jax.config
"""JAX's configuration; it adds its attributes by name, which type checkers do not see."""

TESTED = (0, 10), (0, 13)
"""Of JAX: the first version that was tested, and the first that was not."""


def is_tested() -> bool:
    """Whether this version of JAX was."""
    return TESTED[0] <= version() < TESTED[1]


def version() -> tuple[int, ...]:
    """That of JAX."""
    return jax.__version_info__


def has_one_device() -> bool:
    """Whether all processors are one device's, so that no array is divided among several."""
    return jax.device_count() == 1


def platform_at_hand() -> str:
    """Where this process computes: "cpu", "cuda" or "other"."""
    return {"cpu": "cpu", "gpu": "cuda"}.get(jax.default_backend(), "other")


def on_cpu() -> AbstractContextManager:
    """Inside, what is computed is computed on the CPU."""
    return jax.default_device(jax.local_devices(backend="cpu")[0])


def matmul_precision() -> str | None:
    """`jax.default_matmul_precision` where this is asked."""
    return CONFIG.jax_default_matmul_precision


def looked_for() -> dict[str, Callable[[Any], jax.Array]]:
    """What `jax.debug_nans` and `jax.debug_infs` look for."""
    asked = {"nan": (CONFIG.jax_debug_nans, jnp.isnan), "inf": (CONFIG.jax_debug_infs, jnp.isinf)}
    return {name: find for name, (is_on, find) in asked.items() if is_on}


class Feature:
    """Something that is built on what JAX does not promise.

    With a version that was tested it works, and its errors are ours. With others it is off from its first error on.

    Args:
        without: what is so where it is off, for the warning.
    """

    def __init__(self, without: str):
        self._without, self._is_on, self._check = without, True, None

    def checked_by(self, check: Callable[[], None]) -> Callable[[], None]:
        """A decorator for what fails where the feature does; it is called before the first use, with versions not tested."""
        self._check = check
        return check

    def works(self) -> bool:
        """Whether it may be used."""
        if self._check and self._is_on and not is_tested():
            check, self._check = self._check, None
            self.attempt(check, lambda: None)
        return self._is_on

    def attempt(self, function: Callable[[], T], fallback: Callable[[], T]) -> T:
        """What `function` gives; what `fallback` gives where the feature is off, now or before."""
        if self._is_on:
            try:
                return function()
            except Exception as error:
                if is_tested():
                    raise
                result = fallback()  # an error that this raises, too, is not the feature's
                self.turn_off(f"{type(error).__name__}: {first_line(str(error))}")
                return result
        return fallback()

    def turn_off(self, reason: str = "not tested with this version") -> None:
        """From now on it does not work, which the first call says."""
        if self._is_on:
            self._is_on = False
            warnings.warn(f"JAX {jax.__version__}: {self._without} ({reason})", stacklevel=3)


KERNELS = Feature("layers compute by XLA's own operations, as with FCN_KERNELS=xla, which is slower on CPUs")
ONEDNN = Feature("nothing is computed by oneDNN")
QUICK_INIT = Feature("`init` runs the network, which is slower, and draws other numbers")
MODES = Feature("functions that were compiled before `fcn.kernels.use` stay as they were")
MESHES = Feature("networks take no arrays on meshes with Explicit axes")
ORDER = Feature("programs for CPUs need more memory")


def _find(module: str, name: str | None = None) -> Any:
    """A module of JAX or what it has of a name, which no document promises; else None."""
    try:
        found = importlib.import_module(module)
    except ImportError:
        return None
    return getattr(found, name, None) if name else found


ad, batching, mlir = (_find(f"jax.interpreters.{name}") for name in ("ad", "batching", "mlir"))
dce_jaxpr = _find("jax.interpreters.partial_eval", "dce_jaxpr")
ClosedJaxpr, Literal, Primitive, jaxpr_as_fun = (
    _find("jax.extend.core", name) for name in ("ClosedJaxpr", "Literal", "Primitive", "jaxpr_as_fun")
)
LITTLE_MEMORY = {"xla_cpu_scheduler_type": "CPU_SCHEDULER_TYPE_MEMORY_OPTIMIZED"}
MAKE_CONTEXT = _find("jax", "make_user_context")
MAX_OF_SYMBOLS = _find("jax._src.core", "max_dim")


def layer_of(equation: Any) -> str:
    """The path of the layer that an equation of a jaxpr belongs to, as far as this version of JAX tells."""
    return str(getattr(getattr(equation, "source_info", None), "name_stack", ""))


_CALLS = {"jit", "pjit", "closed_call", "core_call", "checkpoint", "remat", "remat2", "custom_jvp_call", "custom_vjp_call"}
_CALLS |= {"custom_vjp_call_jaxpr"}


def called(equation: Any) -> tuple[Any, Sequence[Any]] | None:
    """The jaxpr that an equation calls, with its constants; None: it is an operation."""
    if equation.primitive.name not in _CALLS:
        return None
    jaxpr = next(equation.params[name] for name in ("jaxpr", "call_jaxpr", "fun_jaxpr") if name in equation.params)
    return (jaxpr.jaxpr, jaxpr.consts) if hasattr(jaxpr, "consts") else (jaxpr, ())


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
        MODES.turn_off()
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


def explicit_mesh(arrays: Iterable[jax.Array]) -> Any:
    """The mesh with Explicit axes that one of the arrays lies on, and that mesh with Auto axes; None where there is none."""

    def find():
        meshes = (jax.typeof(array).sharding.mesh for array in arrays)
        mesh = next((mesh for mesh in meshes if mesh.explicit_axes and not mesh.manual_axes), None)
        return mesh and (mesh, mesh.update_axis_types(dict.fromkeys(mesh.explicit_axes, AxisType.Auto)))

    return MESHES.attempt(find, lambda: None)


def varying_axes(array: jax.Array) -> frozenset:
    """The axes of a `jax.shard_map` that an array varies over; what tells them has another name in other versions of JAX."""
    kind = jax.typeof(array)
    return getattr(getattr(kind, "manual_axis_type", kind), "varying", getattr(kind, "vma", frozenset()))


def is_traced_manually() -> bool:
    """Whether what is traced now is the inside of a `jax.shard_map`."""
    return bool(getattr(jax.sharding.get_abstract_mesh(), "manual_axes", ()))


def is_lowered_manually(context: Any) -> bool:
    """Whether what is lowered in a context is the inside of a `jax.shard_map`."""
    return bool(getattr(_find_in(context, "axis_context"), "manual_axes", ()))


def is_exported(context: Any) -> bool:
    """Whether what is lowered in a context is for `jax.export`, or might be."""
    return getattr(_find_in(context, "lowering_parameters"), "for_export", True)


def _find_in(context, name):
    return getattr(getattr(context, "module_context", None), name, None)


def programs_are_kept() -> bool:
    """Whether there is a persistent compilation cache."""
    return bool(CONFIG.jax_enable_compilation_cache and CONFIG.jax_compilation_cache_dir)


def accepted(function: Callable, **options: Any) -> dict[str, Any]:
    """Those of the options that a function of JAX has."""
    return {name: value for name, value in options.items() if name in inspect.signature(function).parameters}


def order_with_little_memory() -> dict[str, str]:
    """XLA's option for CPUs that keeps no more results than needed at a time."""

    def find():
        if not is_tested():
            jax.jit(lambda: 0, compiler_options=LITTLE_MEMORY).lower().compile()  # fails where XLA does not know it
        return LITTLE_MEMORY

    return ORDER.attempt(find, dict)


def computes_on_x86_in_linux() -> bool:
    """Whether XLA computes on a processor for which it may have oneDNN inside."""
    return (sys.platform, platform.machine(), jax.default_backend()) == ("linux", "x86_64", "cpu")


@functools.cache
def has_avx512() -> bool:
    """Whether the processor has AVX-512 (Linux)."""
    try:
        return re.search(r"^flags\b.*\bavx512f\b", Path("/proc/cpuinfo").read_text(), re.MULTILINE) is not None
    except OSError:
        return False


def processors() -> str:
    """Their kind and number; hosts of virtual machines give the same name to several generations."""
    told = [platform.processor() or platform.machine()]
    information = Path("/proc/cpuinfo")
    if information.exists():
        first = [line.partition(":") for line in information.read_text().partition("\n\n")[0].splitlines()]
        told = [value.strip() for name, _, value in first if name.strip() in ("cpu family", "model", "model name", "CPU part")]
    return f"{' '.join(told)} x {os.cpu_count()}"


def asked_onednn() -> bool:
    """FCN_ONEDNN of the environment; True where it is not set."""
    return os.environ.get("FCN_ONEDNN") != "0"


def compute_capability() -> float:
    """That of this process's first device, where it is an NVIDIA GPU; else 0."""
    told = getattr(jax.local_devices()[0], "compute_capability", "")  # "9.0"; AMD's are words
    return float(told) if re.fullmatch(r"\d+\.\d+", told) else 0.0


def asked_kernels() -> str:
    """FCN_KERNELS of the environment, "auto" where it is not set."""
    return os.environ.get("FCN_KERNELS") or "auto"


def cache_folder() -> Path:
    """What may be made or downloaded again is kept here: `fcn` in the user's cache folder (XDG_CACHE_HOME)."""
    return Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache").expanduser() / "fcn"
