"""The command line of `python -m experiments.train auto`: that of every run, a time and a memory."""

import dataclasses
import re
from typing import Annotated

import tyro

from experiments.auto.plan import STEPS
from experiments.configuration.config import DataConfig, TrainConfig
from fcn.ranges import Range
from fcn.text import short_name

AUTO = "auto"
_UNITS = {"h": 3600, "m": 60, "s": 1}
_BYTES = {"MB": 1e6, "GB": 1e9, "MiB": 2**20, "GiB": 2**30}


@dataclasses.dataclass(frozen=True)
class AutoConfig(TrainConfig):
    """A run that configures itself: what is given here holds, all else is planned."""

    preset: tyro.conf.Suppress[str] = AUTO
    steps: Annotated[int, Range(1, STEPS)] = STEPS
    """Length of the run in steps (updates); the default stands for as many as go into the budget."""
    data: DataConfig = DataConfig("folder")
    budget: str = "20m"
    """Time of the whole command, compilation and evaluation included: 90s, 20m, 1h30m."""
    memory: str = "8GB"
    """Memory of a device, by which nnU-Net's rules choose patch and batch."""

    def __post_init__(self):
        super().__post_init__()
        read_time(self.budget)
        read_memory(self.memory)

    def run(self) -> TrainConfig:
        """The run, without what only its plan depends on."""
        return TrainConfig(**{field.name: getattr(self, field.name) for field in dataclasses.fields(TrainConfig)})


def read_time(text: str) -> int:
    """Seconds: "1h30m" -> 5400."""
    parts = re.findall(r"(\d+)([hms])", text)
    if not parts or "".join(map("".join, parts)) != text or not (seconds := sum(int(n) * _UNITS[unit] for n, unit in parts)):
        raise ValueError(f"budget is {short_name(text)!r}; it must be a time such as 90s, 20m or 1h30m")
    return seconds


def read_memory(text: str) -> float:
    """Bytes: "8GB" -> 8e9."""
    match = re.fullmatch(r"(\d+(?:\.\d+)?)(MB|GB|MiB|GiB)", text)
    if not match or not float(match[1]):
        raise ValueError(f"memory is {short_name(text)!r}; it must be a size such as 8GB or 500MB")
    return float(match[1]) * _BYTES[match[2]]


def auto(config: TrainConfig, asked: AutoConfig) -> AutoConfig:
    """A planned run as what a command line is laid over."""
    fields = {field.name: getattr(config, field.name) for field in dataclasses.fields(TrainConfig)}
    return AutoConfig(**fields, budget=asked.budget, memory=asked.memory)
