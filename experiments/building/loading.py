"""Whether images are read as fast as a training takes them: rates that --dry-run says, and a warning while it runs."""

import time
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from experiments import command
from fcn.data import Prepared, TrainLoader
from fcn.data.source import spread

_MOST = 0.5
"""The share of its time that a training may wait for images without a word."""
_READ = 32
"""Images that are read to see how fast that is."""


def reading_rates(samples: Prepared) -> dict[int, float]:
    """Images a second by one worker and by two, of images that are read for the first time."""
    chosen = spread(len(samples), _READ)
    return {workers: _rate(samples, chosen, workers) for workers in (1, 2)}


def _rate(samples: Prepared, chosen: list[int], workers: int) -> float:
    with ThreadPoolExecutor(workers) as pool:
        begun = time.perf_counter()
        for _ in pool.map(samples.read, chosen):
            pass
        return len(chosen) / (time.perf_counter() - begun)


class Waiting:
    """A hook of `fit` that warns, once, where a training waits for images for more than half of its time.

    Args:
      batches: what it reads from.
      clock: seconds.
    """

    def __init__(self, batches: TrainLoader, clock: Callable[[], float] = time.perf_counter):
        self._batches, self._clock, self._told = batches, clock, False
        self._since, self._waited = clock(), batches.waited

    def __call__(self, step: int, state: Any, metrics: Mapping[str, float | None]) -> None:
        now, waited = self._clock(), self._batches.waited
        share = (waited - self._waited) / max(now - self._since, 1e-9)
        self._since, self._waited = now, waited
        if share > _MOST and not self._told:
            self._told = True
            command.warn(
                f"training waits for images {share:.0%} of its time, because they take long to read; "
                "smaller files or more processors help, and so does memory that holds all of them"
            )
