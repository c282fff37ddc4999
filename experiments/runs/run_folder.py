"""A run folder: what a run leaves behind, and what may be removed from it."""

import re
from dataclasses import replace
from pathlib import Path
from typing import Any

from experiments.configuration.config import TrainConfig, changes
from experiments.runs import stored
from experiments.runs.facts import differences, read_preprocessing, read_task
from fcn.preprocessing import Preprocessing
from fcn.tasks import Task
from fcn.text import columns, pad, printable, short_name
from fcn.training.records import read_json


class RunFolder:
    """The folder of one run.

    config.json      the resolved configuration
    plan.json        of `auto`: what it was planned by, and why
    data.json        what is known of the data: classes, image shape, files ...
    environment.json what it depended on, since which step: versions, devices, kernels
    metrics.jsonl    one record a line, always with "step"
    result.json      written last: the run is finished
    checkpoints/     state and data iterator
    pictures/        panels and curves
    tensorboard/     the records again, and pictures at each evaluation
    tracker.json     what the run is called where --tracker sends the records
    .fcn-lock        locked while a training runs here
    .fcn-previous/   the run of before, until one that follows it with --overwrite has a checkpoint
    """

    def __init__(self, path: Path):
        self.path = path
        self.config = path / "config.json"
        self.plan = path / "plan.json"
        self.facts = path / "data.json"
        self.environment = path / "environment.json"
        self.metrics = path / "metrics.jsonl"
        self.result = path / "result.json"
        self.checkpoints = path / "checkpoints"
        self.pictures = path / "pictures"
        self.tensorboard = path / "tensorboard"
        self.tracker = path / "tracker.json"

    def read_config(self) -> TrainConfig:
        """The configuration of the run that lies here.

        Raises:
          FileNotFoundError: there is no run here.
          ValueError: its configuration cannot be read.
        """
        return stored.read_config(self.config, self._stored())

    def _stored(self) -> dict[str, Any]:
        if not self.config.is_file():
            raise FileNotFoundError(f"no run in {self.path}: there is no {self.config.name}{self.run_of_before()}")
        return read_json(self.config, stored.CONFIG_CURE)

    def read_facts(self) -> dict[str, Any]:
        """What the run knows of its data: "classes", "palette", "image_shape" [H, W, C] and "preprocessing" (in newer runs).

        Raises:
          FileNotFoundError: there is no such file.
          ValueError: it is damaged.
        """
        if not self.facts.is_file():
            raise FileNotFoundError(f"{self.path} has no {self.facts.name}: its training has not begun{self.run_of_before()}")
        return stored.read_facts(self.facts)

    def read_plan(self) -> dict[str, Any]:
        """What `auto` planned the run by: at least "budget" and "memory".

        Raises:
          ValueError: it is damaged.
        """
        return stored.read_plan(self.plan)

    def run_of_before(self) -> str:
        """Where the run is that one with --overwrite was to replace, for the end of a message; "" if there is none."""
        aside = self.path / ASIDE
        if not aside.is_dir():
            return ""
        text = f"; a training with --overwrite set the run of before aside, to {aside}, and the next training here puts it back"
        return text + (f": until then read {aside}" if (aside / self.config.name).is_file() else "")

    def read_preprocessing(self) -> Preprocessing:
        """What the network of the run expects of images."""
        return read_preprocessing(self.read_facts(), self.read_config())

    def read_task(self) -> Task:
        """What the channels of the run's network mean."""
        return read_task(self.read_facts())

    def read_result(self) -> dict[str, Any] | None:
        """The result of a finished run, or None; a ValueError if it is damaged."""
        return stored.read_result(self.result) if self.result.is_file() else None

    def is_finished(self, config: TrainConfig) -> bool:
        """Whether a run of `config` is finished here; one that patience ended is not where `extend` gives it another.

        Refuses as `refuse_other` does.
        """
        self.refuse_other(config)
        if config.overwrite or not self.result.is_file():
            return False
        old = self.read_config()
        with_patience = config.extend and old.patience != config.patience and self.has_checkpoint()
        ended_early = bool((self.read_result() or {}).get("ended"))
        return old.steps == config.steps and not (with_patience and ended_early)

    def goes_on(self, config: TrainConfig) -> bool:
        """Whether a run of `config` begins with a checkpoint that is here."""
        return not config.overwrite and self.has_checkpoint()

    def describe_result(self) -> str:
        """The result in a few lines."""
        result = self.read_result() or {}
        classes = [(short_name(key.removeprefix("val/iou/")), value) for key, value in result.items() if "/iou/" in key]
        width = max((columns(name) for name, _ in classes), default=0)
        lines = [f"  {pad(name, width)}  {'absent' if value is None else f'{value:.4f}'}" for name, value in classes]
        known = [(title, result[name]) for name, title in _TITLES.items() if name in result]
        head = "validation " + ", ".join(f"{title} {'undefined' if v is None else f'{v:.4f}'}" for title, v in known)
        head += f" after {result['steps']} steps, {result['seconds']:.0f} s of training"
        if result.get("skipped"):
            head += f"; {result['skipped']} updates were not finite and were dropped"
        if result.get("ended"):
            head += f"; it ended early: {printable(str(result['ended']))}"
        return "\n".join([head, *lines, f"  {self.path}"])

    def refuse_other(self, config: TrainConfig) -> None:
        """Refuses what is not a run's and, unless it is to be overwritten, a run of another configuration that left something.

        Raises:
          FileExistsError: naming what is here.
        """
        made = self.files()
        if not self.config.is_file() and (taken := [path for path in made if not _TEMPORARY.fullmatch(path.name)]):
            raise FileExistsError(f"{taken[0]} is there, but no config.json of a run; choose another --workdir")
        if self.config.is_file() and not _MARK.issubset(self._stored()):
            raise FileExistsError(f"{self.config} is not that of a run; choose another --workdir")
        for path in _contents(self.checkpoints):
            if path.name.isdecimal() and path not in made:
                raise FileExistsError(f"{path} is no checkpoint of a run; choose another --workdir")
        if not config.overwrite and self.is_kept():
            self._refuse_changes(config)

    def _refuse_changes(self, config: TrainConfig) -> None:
        old = self.read_config()
        changed = changes(old, config)
        if not changed and (old.steps == config.steps or self.has_checkpoint()):
            return
        if not changed:
            cure = "choose another --workdir, or --overwrite to start afresh"
            raise FileExistsError(f"{self.path} has no checkpoint to go on from to {config.steps} steps; {cure}")
        longer = "--extend to go on to more steps, " if not changes(old, replace(config, extend=True)) else ""
        raise FileExistsError(
            f"{self.path} holds a run of another configuration ({'; '.join(changed)}); choose {longer}{self._or}"
        )

    def refuse_other_data(self, facts: dict[str, Any]) -> None:
        """Refuses to go on with data whose `facts` are not those that the run began with.

        Raises:
          ValueError: naming what differs.
        """
        if changed := differences(self.read_facts(), facts):
            raise ValueError(
                f"the data are not those of {self.facts} ({'; '.join(changed)}); bring them back, or choose {self._or}"
            )

    @property
    def _or(self) -> str:
        return f"another --workdir (with --init {self.path} it starts from these weights), or --overwrite to start afresh"

    def is_kept(self) -> bool:
        """Whether a run left something here that can be used: a result or a checkpoint."""
        return self.result.is_file() or self.has_checkpoint()

    def has_checkpoint(self) -> bool:
        """Whether there is a complete checkpoint."""
        from fcn.training.checkpoint import steps

        return bool(steps(self.checkpoints))

    def files(self) -> list[Path]:
        """What a run made, files and folders, config.json last; whatever else lies here is not a run's."""
        from fcn.training.checkpoint import half_removed, steps

        files = (self.result, self.metrics, self.plan, self.facts, self.environment, self.tracker)
        made = [path for path in files if path.is_file()]
        made += (path for path in _contents(self.path) if _TEMPORARY.fullmatch(path.name))
        made += (self.checkpoints / str(step) for step in steps(self.checkpoints))
        made += half_removed(self.checkpoints)
        made += (path for path in _contents(self.checkpoints) if _UNFINISHED.fullmatch(path.name))
        made += (path for path in _contents(self.pictures) if path.name in PICTURES)
        boards = [*_contents(self.tensorboard), *_contents(self.tensorboard / "pictures")]
        made += (path for path in boards if path.name.startswith("events.out.tfevents."))
        return made + [path for path in (self.config,) if path.is_file()]


def _contents(folder: Path) -> list[Path]:
    return sorted(folder.iterdir()) if folder.is_dir() else []


ASIDE = ".fcn-previous"
_MARK = {"preset", "seed", "steps", "data", "model", "optim"}
"""What every config.json of a run says, and hardly that of another program."""
_TITLES = {
    "val/miou": "mIoU",
    "val/pixel_accuracy": "pixel accuracy",
    "val/mean_f1": "mean F1",
    "val/mae": "mean absolute error",
    "val/rmse": "root mean square error",
}
"""What results are called whose names are these."""
_TEMPORARY = re.compile(
    r"\.(config\.json|plan\.json|tracker\.json|data\.json|environment\.json|metrics\.jsonl|result\.json)\.\d+"
)
"""What a kill may leave of a file that was being written."""
_UNFINISHED = re.compile(r"\d+\.(orbax-checkpoint-tmp.*|damaged\d+)")
"""What checkpoints are called that were being written, or were put aside."""
PANELS, CURVES, CONFUSION = "validation.png", "curves.png", "confusion.png"
PICTURES = (PANELS, CURVES, CONFUSION)
