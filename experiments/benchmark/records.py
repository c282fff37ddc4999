"""benchmark.json: what was measured, where and with what."""

import dataclasses
import functools
import importlib.metadata
import json
import os
import platform
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from experiments.benchmark.case import OURS, RIVALS, SIDES, Case, DType, Side
from experiments.benchmark.race import Result


@dataclasses.dataclass
class Compared:
    """A case and what everyone needed for it."""

    case: Case
    results: dict[str, Result]

    @property
    def ours(self) -> Result | None:
        """Our fastest setting."""
        return self._fastest(OURS)

    @property
    def rival(self) -> Result | None:
        """The fastest setting of PyTorch in the same type."""
        return self._fastest(RIVALS)

    def ratio(self, side: str | None = None) -> float | None:
        """Median time of a side, of our fastest setting by default, over that of the fastest setting of PyTorch."""
        result = self.results.get(side) if side else self.ours
        if result is None or not result.seconds or self.rival is None:
            return None
        return result.median / self.rival.median

    def _fastest(self, sides: Sequence[Side]) -> Result | None:
        able = [self.results[side] for side in sides if side in self.results and self.results[side].seconds]
        return min(able, key=lambda result: result.median, default=None)


class Records:
    """Reads and writes the file; a newer result of a case takes the older one's place.

    Raises:
      ValueError: the file is there and is not one of these.
    """

    def __init__(self, path: Path):
        self._path = path
        self._content: dict[str, Any] = {"machine": {}, "cases": []}
        if path.exists():
            try:
                self._content = json.loads(path.read_text())
                self._content["cases"]
            except (json.JSONDecodeError, KeyError, TypeError):
                raise ValueError(f"{path} is not a file of this benchmark; move it away or give another --out") from None
        self._content["machine"] = machine()

    def has(self, case: Case, sides: Sequence[Side]) -> bool:
        """Whether all of these sides are known to have done a case, or that they cannot."""
        known = {side for row in self.results([case]) for side, result in row.results.items() if result.complete}
        return known.issuperset(sides)

    def add(self, case: Case, results: Sequence[Result]) -> None:
        """Puts a case's results in, in place of what is known from the same sides."""
        row = next((row for row in self._content["cases"] if row["case"] == dataclasses.asdict(case)), None)
        if row is None:
            row = {"case": dataclasses.asdict(case), "results": {}}
            self._content["cases"].append(row)
        row["results"] |= {result.side: dataclasses.asdict(result) for result in results}
        self._write()

    def results(self, cases: Sequence[Case], sides: Sequence[Side] = tuple(SIDES)) -> list[Compared]:
        """What is known of some cases, in their order, from some sides."""
        rows = {Case(**row["case"]): row["results"] for row in self._content["cases"]}
        return [
            Compared(case, {side: Result(**result) for side, result in rows[case].items() if side in sides})
            for case in cases
            if case in rows
        ]

    def put(self, name: str, value: dict) -> None:
        """Keeps a measurement that is no case."""
        self._content[name] = value
        self._write()

    def get(self, name: str) -> Any:
        return self._content[name]

    def ceiling(self, dtype: DType) -> float | None:
        """The largest rate of a matrix product, in GFLOP/s."""
        case = self.product(dtype)
        seconds = [result.median for row in self.results([case]) for result in row.results.values() if result.seconds]
        return 2 * case.size**3 / 1e9 / min(seconds) if seconds else None

    def product(self, dtype: DType) -> Case:
        """The matrix product that shows what the machine can do."""
        return Case("matrix_product", "forward", 8192 if "accelerator" in self._content["machine"] else 2048, 1, dtype)

    def _write(self) -> None:
        beside = self._path.with_suffix(".partial")
        beside.write_text(json.dumps(self._content, indent=1) + "\n")
        beside.replace(self._path)


def machine() -> dict[str, Any]:
    """Processor, number of processors in use, accelerator if there is one, versions."""
    versions = {}
    for package in ("jax", "jaxlib", "flax", "torch", "torchvision", "timm", "segmentation-models-pytorch"):
        try:
            versions[package] = importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            continue
    found = {"processor": _processor(), "processors": len(os.sched_getaffinity(0))}
    if accelerator():
        found["accelerator"] = accelerator()
    return {**found, "python": platform.python_version(), **versions}


@functools.cache
def accelerator() -> str:
    """The kind of JAX's first device, unless it is the processor; asked in another process, as a TPU belongs to one."""
    question = "import jax; device = jax.local_devices()[0]; print('' if device.platform == 'cpu' else device.device_kind)"
    answer = subprocess.run([sys.executable, "-c", question], stdout=subprocess.PIPE, text=True)
    if answer.returncode != 0:
        raise ValueError("JAX finds no device (its message is above); the benchmark needs one")
    return answer.stdout.splitlines()[-1].strip()  # what a plugin prints comes before


def _processor() -> str:
    info = Path("/proc/cpuinfo")
    lines = info.read_text().splitlines() if info.exists() else []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor() or platform.machine()
