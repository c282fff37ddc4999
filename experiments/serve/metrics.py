"""Counters and histograms in the text format of Prometheus."""

import bisect
import math
from collections.abc import Callable, Iterator, Sequence

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"
SECONDS = (0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30)


class Counter:
    """What only grows, by the values of its labels."""

    kind = "counter"

    def __init__(self, name: str, about: str, labels: Sequence[str] = ()):
        self.name, self.about, self._labels = name, about, labels
        self._values: dict[tuple[str, ...], float] = {} if labels else {(): 0}

    def add(self, amount: float = 1, *values: str) -> None:
        """Adds to the counter of these values of the labels; threads do not share one."""
        self._values[values] = self._values.get(values, 0) + amount

    def lines(self) -> Iterator[str]:
        for values, total in sorted(self._values.items()):
            yield f"{self.name}{_labelled(self._labels, values)} {_number(total)}"


class Computed:
    """What is asked for when it is read: a gauge, or a counter that something else keeps."""

    def __init__(self, name: str, about: str, kind: str, value: Callable[[], float]):
        self.name, self.about, self.kind, self._value = name, about, kind, value

    def lines(self) -> Iterator[str]:
        yield f"{self.name} {_number(self._value())}"


class Histogram:
    """How often a value was at most each of some limits, and the sum of all."""

    kind = "histogram"

    def __init__(self, name: str, about: str, limits: Sequence[float]):
        self.name, self.about, self._limits = name, about, (*limits, math.inf)
        self._counts, self._sum = [0] * len(self._limits), 0.0

    def observe(self, value: float) -> None:
        """Counts a value."""
        self._counts[bisect.bisect_left(self._limits, value)] += 1
        self._sum += value

    def lines(self) -> Iterator[str]:
        total = 0
        for limit, count in zip(self._limits, self._counts):
            total += count
            yield f'{self.name}_bucket{{le="{"+Inf" if limit == math.inf else f"{limit:g}"}"}} {total}'
        yield f"{self.name}_sum {_number(self._sum)}"
        yield f"{self.name}_count {total}"


def text(metrics: Sequence[Counter | Computed | Histogram]) -> str:
    """All of them, as Prometheus reads them."""
    lines = []
    for metric in metrics:
        lines += [f"# HELP {metric.name} {metric.about}", f"# TYPE {metric.name} {metric.kind}", *metric.lines()]
    return "\n".join(lines) + "\n"


def _number(value: float) -> str:
    return str(int(value)) if value == int(value) else repr(value)


def _labelled(names: Sequence[str], values: Sequence[str]) -> str:
    pairs = ",".join(f'{name}="{value}"' for name, value in zip(names, values, strict=True))
    return f"{{{pairs}}}" if pairs else ""
