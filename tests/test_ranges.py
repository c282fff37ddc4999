"""Ranges of numbers in dataclasses."""

import dataclasses
import math
from typing import Annotated, Literal

import jaxtyping
import numpy as np
import pytest

from fcn.ranges import Range, check_fields


@dataclasses.dataclass(frozen=True)
class Config:
    steps: Annotated[int, Range(1)] = 5
    share: Annotated[float | None, Range(0, 1, below=True)] = None
    rate: Annotated[float, Range(0, above=True)] = 1.0
    size: Annotated[tuple[int, int] | None, Range(1, 64)] = (8, 8)
    schedule: Literal["cosine", "constant"] = "cosine"
    free: int = -1

    def __post_init__(self):
        check_fields(self, "config.")


@pytest.fixture(autouse=True)
def unchecked():
    """Without run-time checks of the annotations, which would raise before the ranges do."""
    jaxtyping.config.update("jaxtyping_disable", True)
    yield
    jaxtyping.config.update("jaxtyping_disable", False)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"steps": 0}, "config.steps is 0; it must be at least 1"),
        ({"steps": 10**20}, "config.steps is 100000000000000000000; it must be at least 1 and at most 2147483647"),
        ({"steps": 10**80}, f"config.steps is 1{'0' * 29}... (81 characters); it must be at least 1 and at most 2147483647"),
        ({"steps": 2.5}, "config.steps is 2.5; it must be an integer, at least 1"),
        ({"steps": True}, "config.steps is True; it must be a finite number, at least 1"),
        ({"steps": "5"}, "config.steps is '5'; it must be a finite number, at least 1"),
        ({"steps": None}, "config.steps is None; it must be a finite number, at least 1"),
        ({"share": 1.0}, "config.share is 1.0; it must be at least 0 and below 1"),
        ({"share": math.nan}, "config.share is nan; it must be a finite number, at least 0 and below 1"),
        ({"rate": 0}, "config.rate is 0; it must be above 0"),
        ({"rate": math.inf}, "config.rate is inf; it must be a finite number, above 0"),
        ({"rate": 1e39}, "config.rate is 1e+39; it must be above 0 and at most 3.4e+38"),
        ({"size": (8, 65)}, "config.size is (8, 65); it must be at least 1 and at most 64"),
        ({"size": 8.5}, "config.size is 8.5; it must be an integer, at least 1 and at most 64"),
        ({"schedule": "cosin"}, "unknown config.schedule 'cosin'; did you mean 'cosine'?"),
    ],
)
def test_what_is_outside_is_refused(given, message):
    with pytest.raises(ValueError) as caught:
        Config(**given)
    assert str(caught.value) == message


def test_what_is_inside_is_taken():
    Config(steps=2**31 - 1, share=0, rate=1e-30, size=(1, 64), schedule="constant")
    Config(steps=np.int64(3), rate=np.float32(0.5), share=0.999, size=None)
