"""The best evaluation of a run so far, and whether the run still improves."""

import dataclasses
import math
from collections.abc import Mapping
from typing import Any

BEST = "val/miou"
"""The metric by which the best checkpoint of a run is chosen, if no other is asked for."""
_LOW = {"loss", "error", "mae", "mse", "rmse", "distance", "hausdorff", "hd95", "ece"}


def rank(metric: str, value: float | None) -> float:
    """What is higher for better values of `metric`; undefined ones (None, NaN) are below all.

    The best value is the lowest of what is called a loss, an error or a distance ("val/loss"), the highest of all else; the
    names of classes ("val/iou/forest_loss") do not count.
    """
    if value is None or math.isnan(value):
        return -math.inf
    measure = metric.removeprefix("val/").partition("/")[0]
    return -value if _LOW.intersection(measure.split("_")) else value


@dataclasses.dataclass
class Best:
    """The best value of a metric in a run.

    Args:
      metric: its name in the records of evaluations.
      patience: evaluations in a row without a better value that end the run; None: none do.
    """

    metric: str = BEST
    patience: int | None = None

    def __post_init__(self):
        self._value: float | None = None
        self._since: int = 0

    def update(self, evaluation: Mapping[str, float | None]) -> bool:
        """Takes the values of an evaluation; whether they are the best so far."""
        value = evaluation.get(self.metric)
        improved = rank(self.metric, value) > rank(self.metric, self._value)
        self._value, self._since = (value, 0) if improved else (self._value, self._since + 1)
        return improved

    @property
    def is_exhausted(self) -> bool:
        """Whether patience is at its end."""
        return self.patience is not None and self._since >= self.patience

    def verdict(self) -> str | None:
        """Why a run ends where patience is at its end; None while it is not."""
        count = "evaluation" if self._since == 1 else f"{self._since} evaluations"
        return f"{self.metric} was not better in the last {count}" if self.is_exhausted else None

    def get_state(self) -> dict[str, float | None]:
        """What a checkpoint keeps of it."""
        return {"value": self._value, "since": self._since}

    def set_state(self, state: Mapping[str, Any]) -> None:
        """Goes on from what `get_state` gave."""
        self._value, self._since = state["value"], state["since"]
