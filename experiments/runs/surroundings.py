"""environment.json: what a run depended on, and since which step: versions, devices, and what chooses kernels and numbers."""

import json
import os
import platform
from collections.abc import Iterator
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from fcn.training.records import DamagedFile, read_json, write_json

CURE = "delete it and start the training again, which writes what holds from then on"
_PACKAGES = {"fcn": "fcn-zoo", "jax": "jax", "jaxlib": "jaxlib", "flax": "flax", "optax": "optax"}
_SETTINGS = ("jax_default_matmul_precision", "jax_default_prng_impl", "jax_enable_x64", "jax_threefry_partitionable")
_VARIABLES = ("XLA_FLAGS", "LIBTPU_INIT_ARGS")
_OF_ANY_NAMES = ("devices", "variables")
"""Facts in which a name that is missing is there no more; elsewhere an older start did not note it."""


def record(file: Path, step: int) -> list[str]:
    """Notes what the run depends on from `step` on, if it is not what is noted; gives what has changed, in a few words each.

    Raises:
      DamagedFile: the file does not hold what was written there.
    """
    starts = _read(file) if file.is_file() else []
    before, now = [start for start in starts if start["step"] < step], describe()
    old = {name: value for name, value in before[-1].items() if name != "step"} if before else now
    kept = before if before and old == now else [*before, {"step": step, **now}]
    if kept != starts:
        write_json(file, {"starts": kept})
    return list(_changes(old, now))


def describe() -> dict[str, Any]:
    """What results depend on beside configuration and data."""
    import jax

    from fcn.environment import asked_kernels
    from fcn.kernels import measured_table, uses_onednn

    kinds = [device.device_kind for device in jax.devices()]
    facts = {
        "versions": {"python": platform.python_version(), **{name: _version(package) for name, package in _PACKAGES.items()}},
        "devices": {kind: kinds.count(kind) for kind in sorted(set(kinds))},
        "processes": jax.process_count(),
        "kernels": {"mode": asked_kernels(), "onednn": uses_onednn(), "measured": measured_table()},
        "settings": {name: getattr(jax.config, name) for name in _SETTINGS},
        "variables": {name: os.environ[name] for name in _VARIABLES if os.environ.get(name)},
    }
    return json.loads(json.dumps(facts))  # as it is read again


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None


def _read(file: Path) -> list[dict[str, Any]]:
    starts = read_json(file, CURE).get("starts")
    if not isinstance(starts, list) or not all(isinstance(s, dict) and type(s.get("step")) is int for s in starts):
        raise DamagedFile(file, "it holds no list of starts, each with its step", CURE)
    return starts


def _changes(old: Any, new: Any, name: str = "") -> Iterator[str]:
    if old == new:
        return
    if name == "measured":  # letters, one for each size of a layer
        yield "measured kernels"
    elif isinstance(old, dict) and isinstance(new, dict):
        for key in sorted(old.keys() | new.keys() if name in _OF_ANY_NAMES else old.keys() & new.keys()):
            yield from _changes(old.get(key), new.get(key), key)
    else:
        yield f"{name} {old} -> {new}"
