"""What every script's command line shares: parsing, errors in one sentence, and how the process is set up."""

import ctypes
import difflib
import functools
import io
import logging
import os
import platform
import re
import shutil
import signal
import sys
import textwrap
import threading
import warnings
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

from fcn.text import printable

T = TypeVar("T")

# glibc returns large buffers to the system and faults their pages in again, step after step; keeping them, in huge pages, makes
# memory-bound operations on a CPU up to four times faster. What is larger than so many bytes is not kept: something small may
# lie in its place when it is wanted again, and then as much is taken elsewhere. The C library reads this when a process starts.
MALLOC = "glibc.malloc.hugetlb=1:glibc.malloc.mmap_threshold={largest}:glibc.malloc.trim_threshold=17179869184"


def keep_memory(largest: int = 2**32) -> None:
    """Starts this process again, once, with allocator settings that suit computing on a CPU (Linux with glibc).

    Processes that this one starts have them, too; where the user has set GLIBC_TUNABLES, that holds.
    """
    if _glibc() is None or "GLIBC_TUNABLES" in os.environ:
        return
    os.environ["GLIBC_TUNABLES"] = MALLOC.format(largest=largest)
    os.execv(sys.executable, [sys.executable, *sys.orig_argv[1:]])


def give_memory_back() -> None:
    """Gives the system the freed memory that `keep_memory` makes glibc hold: a compilation leaves a gigabyte."""
    if c := _glibc():
        c.malloc_trim(0)


def set_small_apart(size: int = 2**30) -> None:
    """Leaves a gap of so many bytes, where what is smaller goes until it is full (glibc, the main thread).

    glibc takes the smallest place that fits. Without the gap a step's results come to lie where its temporary memory was, or
    behind it, and the next step takes as much again. Temporary memory smaller than the gap gains nothing.
    """
    if (c := _glibc()) is None:
        return
    c.malloc.restype, c.malloc.argtypes = ctypes.c_void_p, [ctypes.c_size_t]
    c.realloc.restype, c.realloc.argtypes = ctypes.c_void_p, [ctypes.c_void_p, ctypes.c_size_t]
    c.free.argtypes = [ctypes.c_void_p]
    gap, end = c.malloc(size), c.malloc(size)  # side by side, behind all else, where nothing as large is free
    c.realloc(end, 1)  # stays in its place, between the gap and what comes later
    c.free(gap)


def _glibc() -> ctypes.CDLL | None:
    """The C library, if it is glibc."""
    return ctypes.CDLL(None) if platform.libc_ver()[0] == "glibc" else None


def use_processors(count: int | None) -> None:
    """Keeps this process, and those that it starts, on so many of the processors that it may use (Linux); None takes all.

    Raises:
      ValueError: there are fewer.
    """
    if count is None:
        return
    allowed = sorted(os.sched_getaffinity(0))
    if not 1 <= count <= len(allowed):
        raise ValueError(f"{count} processors were asked for; choose 1 to {len(allowed)}")
    os.sched_setaffinity(0, allowed[:count])


OFTEN = 270
"""Calls from which a function gains more by oneDNN than its next compilation costs (docs/measurements/xeon.md)."""


def cache_compilations(calls: int = 1) -> None:
    """Keeps compiled programs in `~/.cache/fcn/xla`, or JAX_COMPILATION_CACHE_DIR, so that the next start is faster.

    XLA cannot keep what computes with oneDNN, so that layers do so only without a cache. Where they can, and the main function
    is called often, none is kept, but where JAX_COMPILATION_CACHE_DIR asks for it. Call it before anything is compiled, and on
    several hosts after `start_processes`.

    Args:
      calls: how often the function that takes longest to compile will be called.
    """
    import jax

    from fcn.environment import cache_folder
    from fcn.kernels import uses_onednn

    if calls >= OFTEN and uses_onednn():
        return
    if "JAX_COMPILATION_CACHE_DIR" not in os.environ:
        jax.config.update("jax_compilation_cache_dir", str(cache_folder() / "xla"))
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.5)


def parse(
    config: type[T],
    args: Sequence[str],
    name: str,
    about: str | None,
    *,
    default: T | None = None,
    hints: Mapping[str, str] = {},
) -> T:
    """Reads a command line; ends the process where it asks for help or is wrong.

    Args:
      config: the dataclass to make.
      args: the command line.
      name: of the command, with what comes before its options: "train [PRESET]".
      about: what it does, in paragraphs; for `--help`.
      default: holds what the command line does not say.
      hints: options that others have -> what they are here.

    Raises:
      ValueError: an option of `hints` was given.
    """
    import tyro

    for option in (arg.partition("=")[0] for arg in args):
        if option in hints:
            raise ValueError(f"unknown option {option}; {hints[option]}")
    defaults: dict[str, Any] = {} if default is None else {"default": default}
    return tyro.cli(config, prog=f"python -m experiments.{name}", description=_wrapped(about), args=list(args), **defaults)


def _wrapped(text: str | None) -> str:
    """Paragraphs and points (*) as lines that fit the terminal; tyro joins lines, but for those that begin with a space."""
    width = min(shutil.get_terminal_size().columns, 128) - 1
    parts = re.split(r"\n\n+|\n(?=\* )", (text or "").strip())
    return "\n".join(textwrap.fill(part, width, initial_indent=" ", subsequent_indent=" ") for part in parts)


def quiet(*loggers: str) -> None:
    """Keeps from the terminal what these loggers say, and the system's errors in threads and at the end, told before.

    Where FCN_TRACEBACK asks for details nothing is kept back.
    """
    if os.environ.get("FCN_TRACEBACK"):
        return
    for name in loggers:
        logging.getLogger(name).setLevel(logging.CRITICAL)
    threading.excepthook = _without_system_errors(threading.__excepthook__)
    sys.unraisablehook = _without_system_errors(sys.__unraisablehook__)


def _without_system_errors(hook: Callable) -> Callable:
    return lambda failure: None if issubclass(failure.exc_type, OSError) else hook(failure)


def warn(text: str) -> None:
    """Tells users what they should know and need not mend."""
    print(f"warning: {printable(text)}", file=sys.stderr)


def nearest(kind: str, given: str, allowed: Sequence[str]) -> str:
    """ "unknown preset 'shapes_unt'; did you mean 'shapes_unet'? (known: ...)"."""
    near = difflib.get_close_matches(given, allowed, 1)
    return f"unknown {kind} {given!r}" + (f"; did you mean {near[0]!r}?" if near else "") + f" (known: {', '.join(allowed)})"


_FILES = (
    ".png .jpg .jpeg .tif .tiff .bmp .webp .npy .npz .onnx .pt .pth .th .bin .pb .tflite .mlmodel .h5 .hdf5 .keras .pkl "
    ".safetensors .ckpt .msgpack .zip .gz .tar .tgz .json .csv .txt"
).split()


def refuse_file_name(path: Path, kind: str) -> None:
    """Refuses the name of a file for what becomes a folder.

    Raises:
      ValueError: `path` ends as files do ("x.onnx"), or is one.
    """
    if path.is_file() or (path.suffix.lower() in _FILES and not path.is_dir()):
        raise ValueError(f"--out {path} is the name of a file, but {kind} is written there; try --out {path.with_suffix('')}")


def refuse_to_write(option: str, path: Path | None, overwrite: bool) -> None:
    """Refuses a file to write that is a folder, lies in none, or exists already.

    Raises:
      OSError: the fitting one.
    """
    if path is None:
        return
    if path.is_dir():
        raise IsADirectoryError(f"--{option} {path} is a folder; name a file")
    if path.exists() and not overwrite:
        raise FileExistsError(f"--{option} {path} exists; give another name, or --overwrite")
    if not path.parent.is_dir():
        raise FileNotFoundError(f"--{option} {path}: there is no folder {path.parent}")


def refuse_without_model(options: Any, *names: str) -> None:
    """Refuses what describes the network of --model where none was named: a folder describes its own.

    Raises:
      ValueError: one of these fields was given.
    """
    if given := [f"--{name}" for name in names if getattr(options, name)]:
        raise ValueError(f"{', '.join(given)} describes the network of --model; name it, or leave {given[0]} out")


def run(main: Callable[[], T]) -> T:
    """Calls `main`; what the user can mend is told in one sentence on stderr, with exit status 1, without a traceback.

    Where whoever reads the output has gone (`| head`), it ends without a word and with the shell's status for that, 141.
    """
    streams = [stream for stream in (sys.stdout, sys.stderr) if stream is not None]
    for stream in streams:
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")  # for names that the terminal's encoding does not have
    warnings.formatwarning = functools.partial(_format_warning, warnings.formatwarning)
    try:
        try:
            return main()
        finally:
            for stream in streams:
                stream.flush()
    except BrokenPipeError:
        for stream in streams:  # so that nothing is written when Python ends
            os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())
        sys.exit(141)
    except KeyboardInterrupt as error:  # its number is that of the signal, if it was another than Ctrl-C's
        print(str(error) or "interrupted", file=sys.stderr)
        sys.exit(128 + getattr(error, "signal", signal.SIGINT))
    except Exception as error:
        told = None if os.environ.get("FCN_TRACEBACK") else explain(error)
        if told is None:
            raise
        print(f"error: {told}", file=sys.stderr)
        sys.exit(1)


def _format_warning(usual: Callable[..., str], message: Warning | str, category: type[Warning], *place) -> str:
    """What is meant for users is a sentence, without the line of code that gives it; Pillow's get the file's name."""
    decode = sys.modules.get("fcn.data.reading.decode")
    if decode is not None and (file := decode.file_being_read()) and "PIL" in Path(place[0]).parts:
        return f"warning: {printable(f'{file}: {message}')}\n"
    return f"warning: {printable(str(message))}\n" if category is UserWarning else usual(message, category, *place)


def explain(error: Exception) -> str | None:
    """What a user can do something about, as a sentence that a terminal can show; None for a defect of ours."""
    from fcn.training import NonFiniteLossError

    if is_out_of_memory(error):
        what = str(error).partition("\n")[0] or "no more is to be had"
        told = f"out of memory ({what}); a smaller batch, smaller images or a smaller network needs less"
    elif isinstance(error, ImportError):
        told = _explain_import(error)
    else:
        told = str(error) if isinstance(error, ValueError | OSError | NonFiniteLossError) else None
    return told and "\n".join(map(printable, told.split("\n")))


def is_out_of_memory(error: BaseException) -> bool:
    """Whether Python, or JAX on a device, could not have the memory that it asked for."""
    return isinstance(error, MemoryError) or (isinstance(error, RuntimeError) and "RESOURCE_EXHAUSTED" in str(error))


def _explain_import(error: ImportError) -> str | None:
    """Our own sentences say what to install; for a package that is missing this one does; what is ours is not missing."""
    if error.name is None:
        return str(error)
    if not isinstance(error, ModuleNotFoundError) or error.name.partition(".")[0] in ("fcn", "experiments"):
        return None
    return f"{error}; install the package that has it, such as pip install {error.name.partition('.')[0].replace('_', '-')}"
