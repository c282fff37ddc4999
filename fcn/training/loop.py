"""The training loop: steps, records, evaluations and checkpoints, resumable at any moment."""

import contextlib
import dataclasses
import math
import time
from collections.abc import Callable, Iterator, Sequence
from typing import Annotated

import numpy as np
from jaxtyping import PyTree
from tqdm import tqdm

from fcn.ranges import Range, check_fields
from fcn.text import join, short_name
from fcn.training.best import Best
from fcn.training.protocols import Batches, Devices, Hook, Keeper, Recorder

MOST_UNREAD = 8
"""Steps whose metrics, and batches, may wait on the device; a loss that is not finite is found so many steps late at most, or
two programs of `scan_steps`."""

MOST_SKIPPED = 10
"""Updates in a row that may be dropped because the loss or the gradient is not finite."""

_WIDTH = 80
"""Columns of a line of the display."""


class NonFiniteLossError(ArithmeticError):
    """The loss or the gradient became infinite or NaN.

    Attributes:
      last_good: the step of the last checkpoint, or None where there is none.
    """

    def __init__(self, message: str, last_good: int | None = None):
        super().__init__(message)
        self.last_good = last_good


@dataclasses.dataclass(frozen=True)
class Schedule:
    """When the loop does what, in steps. The last step is always recorded, evaluated and checkpointed.

    Attributes:
      scan_steps: so many steps are one program, fewer at the end; nothing is done between them.
    """

    steps: Annotated[int, Range(1)]
    log_every: Annotated[int, Range(1)]
    eval_every: Annotated[int, Range(1)]
    checkpoint_every: Annotated[int, Range(1)]
    scan_steps: Annotated[int, Range(1)] = 1

    def __post_init__(self):
        check_fields(self)
        for name in ("log_every", "eval_every", "checkpoint_every"):
            every, n = getattr(self, name), self.scan_steps
            if every % n and every < self.steps:
                raise ValueError(f"{name} is {every}, but {n} steps are one program (scan_steps); take {-(-every // n) * n}")

    def is_due(self, every: int, step: int) -> bool:
        """Whether something done `every` so many steps is done after `step`."""
        return step % every == 0 or step == self.steps

    def programs(self, first: int, last: int) -> Iterator[tuple[int, int]]:
        """The finished steps before and after each program between these."""
        while first < last:
            after = min(last, (first // self.scan_steps + 1) * self.scan_steps)
            yield first, after
            first = after

    def is_anything_due(self, step: int) -> bool:
        """Whether the loop does anything but train after `step`."""
        return any(self.is_due(every, step) for every in (self.log_every, self.eval_every, self.checkpoint_every))


def fit(
    state: PyTree,
    batches: Batches,
    *,
    train_step: Callable,
    evaluate: Callable[[PyTree], dict[str, float | None]],
    learning_rate: Callable[[int], float],
    parallel: Devices,
    checkpoints: Keeper,
    records: Recorder,
    schedule: Schedule,
    batch_size: int,
    best: Best | None = None,
    elapsed: float = 0.0,
    stop: Callable[[int], bool] = lambda step: False,
    hooks: Sequence[Hook] = (),
    show_progress: bool = True,
) -> PyTree:
    """Runs `train_step` from `state.step` to `schedule.steps`.

    A loss or a gradient that is not finite ends it; where the step counts and drops such updates, only `MOST_SKIPPED` in a row.

    A checkpoint of step t is written after all records up to t, so that whoever finds it finds those too. Metrics are
    read a few steps late, together, while the device computes the next step; between records it does not wait for the host.

    Args:
      state: the state to begin from, as `parallel.put_state` gives it; its buffers are consumed.
      batches: gives this process's share of each batch; its state is checkpointed with the training state.
      train_step: `(state, batch) -> (state, metrics)`, compiled by `parallel`; with `scan_steps` it is `scanned`.
      evaluate: state -> the values of an evaluation record (`val/miou` ...).
      learning_rate: updates that were made -> the rate of the next one, for the record.
      parallel: an `fcn.parallel` way to run.
      checkpoints: an `fcn.training.checkpoint.Checkpoints`.
      records: where records go.
      schedule: when things are done.
      batch_size: images in a global batch.
      best: notes which evaluation is the best, of which there is a checkpoint then, and ends the training where its patience is
        at an end.
      elapsed: seconds of training before `state`, for the record.
      stop: asked after each program of `scan_steps` steps, whose number from 1 is its argument: whether to end there, with a
        checkpoint. An evaluation that is due comes first: its values belong to the checkpoint, and a run that goes on would
        lack them.
      hooks: called in this order with the step, the state and the values that are recorded of the step, if there are any, after
        its checkpoint has begun.
      show_progress: whether to show a progress bar (only ever on a terminal) or lines.

    Returns:
      The final state, or that of the step after which `stop` or `best` ended it.

    Raises:
      NonFiniteLossError: naming the step; the checkpoints hold the last good state.
    """
    first = int(np.max(parallel.read(state.step)))  # of an ensemble all are alike
    started = time.perf_counter()
    meter = _Meter(batch_size, first)
    best = best or Best()
    last = first if best.is_exhausted else schedule.steps
    with _Display(schedule.steps, first, show_progress) as display:
        unread = []  # steps and their metrics, still on the device
        for before, step in schedule.programs(first, last):
            taken = tuple(parallel.put_batch(next(batches)) for _ in range(before, step))
            state, metrics = train_step(state, taken if schedule.scan_steps > 1 else taken[0])
            unread.append((step, metrics))
            # When it stops nothing is shown: who reads it may have been ended, too.
            if not (stopping := stop(-(-step // schedule.scan_steps))):
                display.advance(step - before)
            if not (stopping or schedule.is_anything_due(step)):
                if len(unread) > max(1, MOST_UNREAD // schedule.scan_steps):
                    _read_finite(parallel, unread[:-1], checkpoints)
                    del unread[:-1]
                continue
            values = _read_finite(parallel, unread, checkpoints)
            unread.clear()
            recorded: dict[str, float | None] = {}
            evaluation: dict[str, float | None] = {}
            improved = False
            if schedule.is_due(schedule.log_every, step):
                rate = meter.images_per_second(step)
                timing = {
                    "train/learning_rate": float(learning_rate(_updates_before(step, values))),
                    "train/images_per_second": rate,
                }
                if not stopping:
                    display.train(step, values["loss"], rate, int(values.get("skipped", 0)))
                named = {f"train/{name}": values[name] for name in ("loss", "grad_norm", "skipped") if name in values}
                recorded |= {**named, **timing}
                records.write(step, recorded)
            with meter.paused():
                if schedule.is_due(schedule.eval_every, step):
                    evaluation = evaluate(state)
                    records.write(step, evaluation)
                    improved = best.update(evaluation)
                    if not stopping:
                        display.evaluation(step, evaluation)
                ending = stopping or best.is_exhausted
                if ending or improved or schedule.is_due(schedule.checkpoint_every, step):
                    progress = {"batches": batches.get_state(), "best": best.get_state()}
                    progress["seconds"] = elapsed + time.perf_counter() - started
                    checkpoints.save(step, parallel.get_state(state), progress, evaluation)
                recorded |= evaluation
                for hook in hooks if recorded else ():
                    hook(step, state, recorded)
            if ending:
                break
    checkpoints.wait()
    return state


def _read_finite(parallel: Devices, unread: list[tuple[int, PyTree]], checkpoints: Keeper) -> dict[str, float]:
    """The metrics of the last of some steps, after a look at all of them."""
    lasts, metrics = zip(*unread)
    for last, numbers in zip(lasts, parallel.read(metrics)):
        columns = {name: np.atleast_1d(value).tolist() for name, value in numbers.items()}  # of the steps of a program
        rows = [dict(zip(columns, row)) for row in zip(*columns.values())]
        for step, values in enumerate(rows, last - len(rows) + 1):
            if not all(map(math.isfinite, values.values())) and values.get("skipped_in_a_row", math.inf) >= MOST_SKIPPED:
                raise _non_finite(values, step, checkpoints)
    return values


def _updates_before(step: int, metrics: dict[str, float]) -> int:
    """The updates that were made before a step with such `metrics`, whose own may have been dropped, too."""
    skipped = metrics.get("skipped", 0) - (metrics.get("skipped_in_a_row", 0) > 0)
    return step - 1 - int(skipped)


def _non_finite(values: dict[str, float], step: int, checkpoints: Keeper) -> NonFiniteLossError:
    checkpoints.wait()
    what = ", ".join(f"{name} = {values[name]}" for name in ("loss", "grad_norm"))
    if "skipped" in values:
        what += f", after {MOST_SKIPPED} dropped updates in a row"
    last = checkpoints.latest()
    kept = "no checkpoint was written before" if last is None else f"the last good checkpoint is that of step {last}"
    return NonFiniteLossError(f"step {step}: {what}; {kept}. A lower learning rate or a clip_norm usually helps.", last)


class _Meter:
    """Images per second since the last reading, without the time spent on other things."""

    def __init__(self, batch_size: int, step: int):
        self._batch_size, self._step, self._since = batch_size, step, time.perf_counter()

    def images_per_second(self, step: int) -> float:
        now = time.perf_counter()
        rate = (step - self._step) * self._batch_size / (now - self._since)
        self._step, self._since = step, now
        return rate

    @contextlib.contextmanager
    def paused(self):
        begun = time.perf_counter()
        yield
        self._since += time.perf_counter() - begun


class _Display:
    """A progress bar on a terminal, plain lines elsewhere, nothing if not shown."""

    def __init__(self, steps: int, first: int, show: bool):
        self._steps, self._show = steps, show
        self._bar = tqdm(total=steps, initial=first, unit="step", disable=None if show else True, dynamic_ncols=True)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self._bar.close()

    def advance(self, steps: int) -> None:
        self._bar.update(steps)

    def train(self, step: int, loss: float, rate: float, skipped: int) -> None:
        text = f"loss {loss:.4f}, {rate:.1f} images/s"
        text += f", {skipped} updates dropped" if skipped else ""
        if self._bar.disable:
            self._line(step, text)
        else:
            self._bar.set_postfix_str(text)

    def evaluation(self, step: int, values: dict[str, float | None]) -> None:
        named = [(short_name(name), value) for name, value in values.items() if "/iou/" not in name]
        shown = [f"{name} {value:.4f}" for name, value in named if value is not None]
        self._line(step, join(shown, _WIDTH - len(self._head(step))))

    def _line(self, step: int, text: str) -> None:
        if self._show:
            tqdm.write(self._head(step) + text)

    def _head(self, step: int) -> str:
        return f"step {step:>{len(str(self._steps))}}/{self._steps}  "
