"""The loop with a step that counts, and metrics that turn bad."""

import types

import jax.numpy as jnp
import numpy as np
import pytest

from fcn.training import Best, NonFiniteLossError, Schedule, fit
from fcn.training.loop import MOST_UNREAD, _Display


class Events:
    """Checkpoints, records and batches that note what happens."""

    def __init__(self):
        self.saved, self.written, self.taken = [], [], 0

    def __next__(self):
        self.taken += 1
        return {}

    def get_state(self):
        return {"taken": self.taken}

    def set_state(self, state):
        self.taken = state["taken"]

    def save(self, step, state, progress, metrics):
        self.saved.append((step, int(state.step), progress["batches"]["taken"]))

    def wait(self):
        pass

    def latest(self):
        return self.saved[-1][0] if self.saved else None

    def write(self, step, values):
        self.written.append((step, values.get("train/loss")))

    def show(self, step, pictures):
        raise AssertionError("the loop has no pictures")


def run(schedule: Schedule, bad: int | range | None = None, skip: bool = False, **more) -> Events:
    """Fits with a loss that is the number of the step, and NaN at `bad`, which the step counts if it shall `skip` it."""
    bad = bad if isinstance(bad, range) else range(bad or 0, (bad or 0) + 1)
    events = Events()

    def step(state, batch):
        number = int(state.step) + 1
        loss = jnp.float32(jnp.nan if number in bad else number)
        dropped = [n for n in bad if n <= number]
        counts = {"skipped": len(dropped), "skipped_in_a_row": len(dropped) * (number in bad)} if skip else {}
        return types.SimpleNamespace(step=number), {"loss": loss, "grad_norm": jnp.float32(1), **counts}

    parallel = types.SimpleNamespace(read=lambda x: x, put_batch=lambda x: x, get_state=lambda x: x)
    outside = {"parallel": parallel, "checkpoints": events, "records": events}
    options = {
        "evaluate": lambda _: {},
        "learning_rate": lambda _: 0.0,
        "schedule": schedule,
        "batch_size": 1,
        "show_progress": False,
        **more,
    }
    try:
        events.state = fit(types.SimpleNamespace(step=0), events, **{"train_step": step, **outside, **options})
    except NonFiniteLossError as error:
        events.error = str(error)
    return events


def test_records_and_checkpoints_are_those_of_their_step():
    events = run(Schedule(steps=45, log_every=20, eval_every=100, checkpoint_every=30))
    assert [(step, loss) for step, loss in events.written if loss is not None] == [(20, 20), (40, 40), (45, 45)]
    assert events.saved == [(30, 30, 30), (45, 45, 45)]


def test_hooks_get_the_step_its_state_and_what_is_recorded_of_it():
    seen, order = [], []

    def hook(step, state, metrics):
        seen.append((step, state.step, metrics.get("train/loss"), metrics.get("val/miou")))

    schedule = Schedule(steps=7, log_every=2, eval_every=3, checkpoint_every=5)
    hooks = [hook, lambda *_: order.append(len(seen))]
    run(schedule, hooks=hooks, evaluate=lambda state: {"val/miou": state.step / 10})
    assert seen == [(2, 2, 2, None), (3, 3, None, 0.3), (4, 4, 4, None), (6, 6, 6, 0.6), (7, 7, 7, 0.7)]
    assert order == [1, 2, 3, 4, 5]


@pytest.mark.parametrize("last", [7, 20, 45])
def test_it_stops_after_a_step_with_a_checkpoint_of_it(last):
    events = run(Schedule(steps=45, log_every=20, eval_every=100, checkpoint_every=20), stop=lambda step: step == last)
    assert events.saved == [(step, step, step) for step in sorted({20, 40, last}) if step <= last]
    assert [step for step, loss in events.written if loss is not None] == [s for s in (20, 40, 45) if s <= last]
    assert events.state.step == events.taken == last


def test_the_best_evaluation_has_a_checkpoint_and_patience_ends_the_run():
    values = {5: 0.2, 10: 0.5, 15: 0.4, 20: None}
    best = Best("val/miou", patience=2)
    schedule = Schedule(steps=60, log_every=60, eval_every=5, checkpoint_every=60)
    events = run(schedule, evaluate=lambda state: {"val/miou": values[state.step]}, best=best)
    assert [step for step, *_ in events.saved] == [5, 10, 20]
    assert best.verdict() == "val/miou was not better in the last 2 evaluations"
    again = Best("val/miou", patience=2)
    again.set_state(best.get_state())
    assert run(schedule, best=again).taken == 0


@pytest.mark.parametrize(
    ("metric", "low"),
    [
        *((name, True) for name in ("loss", "mean_distance", "mae/height", "hd95")),
        *((name, False) for name in ("miou", "iou/forest_loss", "iou/error", "f1/a/mae")),
    ],
)
def test_the_name_of_a_class_does_not_decide_what_is_better(metric, low):
    best, metric = Best(f"val/{metric}"), f"val/{metric}"
    assert [best.update({metric: value}) for value in (0.5, 0.4, 0.6)] == [True, low, not low]


def test_what_goes_on_counts_the_evaluations_of_before():
    best = Best("val/loss", patience=2)
    assert [best.update({"val/loss": value}) for value in (3.0, 1.0, float("nan"))] == [True, True, False]
    again = Best("val/loss", patience=2)
    again.set_state(best.get_state())
    assert again.verdict() is None
    assert not again.update({"val/loss": 2.0}) and again.is_exhausted
    assert again.update({"val/loss": 0.5}) and not again.is_exhausted


def test_nothing_is_shown_of_the_step_after_which_it_stops(monkeypatch):
    """Ctrl-C ends the reader of a pipe as well."""

    def closed(*_):
        raise BrokenPipeError

    for name in ("advance", "train", "evaluation"):
        monkeypatch.setattr(_Display, name, closed)
    events = run(Schedule(steps=9, log_every=1, eval_every=1, checkpoint_every=9), stop=lambda step: True)
    assert events.saved == [(1, 1, 1)] and (1, 1) in events.written


@pytest.mark.parametrize("bad", [1, 3, 19, 20, 21, 39])
def test_a_bad_loss_is_found_soon_and_named(bad):
    """Whenever it happens: before the next checkpoint, and not many steps later."""
    events = run(Schedule(steps=60, log_every=20, eval_every=20, checkpoint_every=20), bad)
    assert events.error.startswith(f"step {bad}: loss = nan")
    assert [step for step, *_ in events.saved] == [20] * (bad > 20)
    assert bad <= events.taken <= bad + MOST_UNREAD


def test_updates_that_are_dropped_do_not_end_a_run_but_ten_in_a_row_do(capsys):
    schedule = Schedule(steps=30, log_every=15, eval_every=30, checkpoint_every=30)
    events = run(schedule, range(7, 16), skip=True, show_progress=True)
    assert [step for step, _ in events.written if step] == [15, 30, 30] and events.saved == [(30, 30, 30)]
    assert "loss nan" in (said := capsys.readouterr().out) and "9 updates dropped" in said
    events = run(schedule, range(7, 17), skip=True)
    assert events.error.startswith("step 16: loss = nan, grad_norm = 1.0, after 10 dropped updates in a row")


def test_the_rate_that_is_recorded_is_the_optimizer_s_which_does_not_count_dropped_updates():
    asked = []
    schedule = Schedule(steps=8, log_every=1, eval_every=8, checkpoint_every=8)
    run(schedule, range(1, 4), skip=True, learning_rate=lambda updates: asked.append(updates) or 0.5)
    assert asked == [0, 0, 0, 0, 1, 2, 3, 4]


@pytest.mark.parametrize(
    ("values", "line"),
    [
        ({"val/miou": 0.5, "val/iou/road": 0.5, "val/mean_accuracy": None}, "step  30/300  val/miou 0.5000\n"),
        (
            dict.fromkeys(["val/miou", "val/pixel_accuracy", "val/mean_accuracy", "val/frequency_weighted_iou"], 0.25),
            "step  30/300  val/miou 0.2500, val/pixel_accuracy 0.2500, …\n",
        ),
        (
            {f"val/{'道路' * 20}": 1.0, "val/\x1b[2J": 1.0},
            f"step  30/300  val/{'道' + '路道' * 8}… 1.0000, val/\\x1b[2J 1.0000\n",
        ),
    ],
)
def test_a_line_of_an_evaluation_has_80_columns(values, line, capsys):
    _Display(300, 0, show=True).evaluation(30, values)
    assert capsys.readouterr().out == line


@pytest.mark.parametrize("bad", [None, 23])
def test_several_steps_are_one_program(bad):
    """Ten at a time, three at the end; a loss that is not finite has the number of its step."""
    sizes, asked = [], []

    def step(state, taken):
        sizes.append(len(taken))
        numbers = np.arange(state.step + 1, state.step + len(taken) + 1)
        loss = np.where(numbers == bad, np.nan, numbers).astype(np.float32)
        return types.SimpleNamespace(step=int(numbers[-1])), {"loss": loss, "grad_norm": np.ones_like(loss)}

    schedule = Schedule(steps=43, log_every=20, eval_every=100, checkpoint_every=30, scan_steps=10)
    events = run(schedule, train_step=step, stop=lambda number: asked.append(number))
    if bad:
        assert events.error.startswith("step 23: loss = nan") and events.saved == []
        return
    assert sizes == [10, 10, 10, 10, 3] and asked == [1, 2, 3, 4, 5]
    assert [(step, loss) for step, loss in events.written if loss is not None] == [(20, 20), (40, 40), (43, 43)]
    assert events.saved == [(30, 30, 30), (43, 43, 43)]
    assert list(schedule.programs(43, 60)) == [(43, 50), (50, 60)]


def test_intervals_are_whole_programs():
    with pytest.raises(ValueError, match=r"eval_every is 25, but 10 steps are one program \(scan_steps\); take 30"):
        Schedule(steps=100, log_every=20, eval_every=25, checkpoint_every=30, scan_steps=10)
    Schedule(steps=20, log_every=20, eval_every=25, checkpoint_every=30, scan_steps=10)  # at the end only
