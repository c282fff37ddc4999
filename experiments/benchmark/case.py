"""What is timed, by whom, and what a contestant has to offer."""

import dataclasses
from collections.abc import Callable
from typing import Any, Literal, get_args

Side = Literal["fcn", "fcn_sharded", "flax", "torch", "torch_channels_last", "torch_compile", "torch_autocast"]
SIDES: dict[Side, str] = {
    "fcn": "this library, one device",
    "fcn_sharded": "this library, a device for each processor",
    "flax": "this library with plain Flax layers",
    "torch": "PyTorch",
    "torch_channels_last": "PyTorch, channels_last",
    "torch_compile": "PyTorch, torch.compile, channels_last",
    "torch_autocast": "PyTorch, bfloat16 autocast, channels_last",
}
assert tuple(SIDES) == get_args(Side)
OURS: tuple[Side, ...] = ("fcn", "fcn_sharded")
"""Our settings; the best of them is what counts."""
RIVALS: tuple[Side, ...] = ("torch", "torch_channels_last", "torch_compile")
"""The settings of PyTorch that compute in the same type as we do; the best of them is what counts."""
CLASSES = 21
What = Literal["forward", "train"]
DType = Literal["float32", "bfloat16"]


@dataclasses.dataclass(frozen=True)
class Case:
    """One piece of work."""

    name: str
    """A model, an encoder, MODEL/ENCODER, or matrix_product: what the machine can do at best."""
    what: What
    """The network alone, or a whole training step: cross-entropy, gradients, SGD with momentum."""
    size: int
    batch: int
    dtype: DType = "float32"

    @property
    def model(self) -> str:
        return self.name.partition("/")[0]

    @property
    def encoder(self) -> str | None:
        return self.name.partition("/")[2] or None

    def __str__(self):
        return f"{self.name} {self.what} {self.batch} x {self.size} x {self.size} {self.dtype}"


@dataclasses.dataclass
class Work:
    """A case made ready by a contestant."""

    run: Callable[[int], Any]
    """Does the work so many times and waits until it is done."""
    facts: dict[str, float]
    """`compile_seconds`, and what else is known."""
    memory: Callable[[], dict[str, int]] | None = None
    """What the work took of an accelerator's memory: `peak_bytes`, and `resident_bytes` without what it needs for a while. None
    where the process's own memory is what counts."""
