"""Contestants in turn: each is a process of its own, and while one works the others wait. Only their imports overlap."""

import contextlib
import dataclasses
import json
import math
import statistics
import subprocess
import sys
import time
from collections.abc import Sequence

from experiments.benchmark.case import Case, Side

LEAST_SECONDS = 0.3
"""A round repeats quick work for about so long."""
PAUSE = 0.3
"""Seconds before a turn: idle threads of the one before may spin for a while."""
_ENDED = "the process ended with status"
"""How the error of a contestant begins that did not say why; kept in benchmark.json."""


@dataclasses.dataclass
class Result:
    """What one side needed for one case."""

    side: Side
    seconds: list[float] = dataclasses.field(default_factory=list)
    """Of one repeat, round by round."""
    facts: dict[str, float] = dataclasses.field(default_factory=dict)
    error: str | None = None

    @property
    def median(self) -> float:
        return statistics.median(self.seconds)

    @property
    def complete(self) -> bool:
        """Whether it was done, or the contestant said why it cannot be; one that ended might do it another time."""
        return bool(self.seconds) if self.error is None else not self.error.startswith(_ENDED)


def race(case: Case, sides: Sequence[Side], rounds: int) -> list[Result]:
    """All sides do the case in turn, `rounds` times; one that cannot says why in its result."""
    runners, results = [], [Result(side) for side in sides]
    try:
        for side in sides:
            runners.append(Runner(side))
        for runner, result in zip(runners, results):
            answer = runner.ask(**dataclasses.asdict(case))
            result.error, result.facts = answer.pop("error", None), answer
        pairs = list(zip(runners, results))
        repeats = {runner: max(1, round(LEAST_SECONDS / _turn(runner, result))) for runner, result in pairs}
        for number in range(rounds):
            for runner, result in pairs if number % 2 == 0 else reversed(pairs):  # nobody always follows the same
                if result.error is None:
                    time.sleep(PAUSE)
                    _turn(runner, result)  # not counted: a virtual machine may have taken away what idle processes had freed
                    result.seconds.append(_turn(runner, result, repeats[runner]))
        for runner, result in pairs:
            if result.error is None:
                answer = runner.finish()
                result.error = answer.pop("error", None)
                result.facts |= answer
            if result.error is not None:
                result.seconds.clear()  # of rounds before it ended
    finally:
        for runner in runners:
            runner.close()
    return results


def _turn(runner: "Runner", result: Result, repeats: int = 1) -> float:
    """Seconds of one repeat; infinitely many, and why in the result, of a contestant that has ended."""
    if result.error is None:
        answer = runner.ask(repeats=repeats)
        if "seconds" in answer:
            return answer["seconds"] / repeats
        result.error = answer["error"]
    return math.inf


class Runner:
    """A contestant's process. Its first request is the case."""

    def __init__(self, side: Side):
        self._start([sys.executable, "-m", "experiments.benchmark.contestant", side])

    def _start(self, command: list[str]) -> None:
        self._process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, bufsize=1)
        assert self._process.stdin is not None and self._process.stdout is not None  # pipes
        self._requests, self._answers = self._process.stdin, self._process.stdout

    def ask(self, **request) -> dict:
        """Sends a request, if any, and waits for the answer."""
        if request:
            self._write(json.dumps(request))
        line = self._answers.readline()
        return json.loads(line) if line else {"error": f"{_ENDED} {self._process.wait()}"}

    def finish(self) -> dict:
        """Ends the process; what it says of its memory."""
        self._write("")
        return self.ask()

    def close(self) -> None:
        """Ends the process whatever it is doing."""
        self._process.kill()
        self._process.wait()
        with contextlib.suppress(BrokenPipeError):
            self._requests.close()
        self._answers.close()

    def _write(self, line: str) -> None:
        with contextlib.suppress(BrokenPipeError):  # what it wrote before it ended can still be read
            self._requests.write(line + "\n")
