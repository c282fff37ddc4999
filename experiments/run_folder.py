"""A run folder: what a run leaves behind, and what may be removed from it."""

import contextlib
import json
import re
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from experiments.config import TrainConfig, differences, from_json, to_json
from fcn.data import Prepared
from fcn.preprocessing import Preprocessing
from fcn.text import columns, pad, short_name
from fcn.training.records import write_json


class RunFolder:
    """The folder of one run.

    config.json      the resolved configuration
    data.json        class names, colours and image shape
    metrics.jsonl    one record a line, always with "step"
    result.json      written last: the run is finished
    checkpoints/     state and data iterator
    pictures/        panels and curves
    tensorboard/     the records again
    """

    def __init__(self, path: Path):
        self.path = path
        self.config = path / "config.json"
        self.facts = path / "data.json"
        self.metrics = path / "metrics.jsonl"
        self.result = path / "result.json"
        self.checkpoints = path / "checkpoints"
        self.pictures = path / "pictures"
        self.tensorboard = path / "tensorboard"

    def read_config(self) -> TrainConfig:
        """The configuration of the run that lies here.

        Raises:
          FileNotFoundError: there is no run here.
          ValueError: its configuration cannot be read.
        """
        return from_json(self._stored())

    def _stored(self) -> dict[str, Any]:
        if not self.config.is_file():
            raise FileNotFoundError(f"no run in {self.path}: there is no {self.config.name}")
        try:
            return json.loads(self.config.read_text())
        except json.JSONDecodeError as error:
            raise ValueError(f"{self.config} is not JSON: {error}") from None

    def read_facts(self) -> dict[str, Any]:
        """What the run knows of its data: "classes", "palette", "image_shape" [H, W, C] and "preprocessing" (in newer runs)."""
        if not self.facts.is_file():
            raise FileNotFoundError(f"{self.path} has no {self.facts.name}: its training has not begun")
        return json.loads(self.facts.read_text())

    def read_result(self) -> dict[str, Any] | None:
        """The result of a finished run, or None."""
        return json.loads(self.result.read_text()) if self.result.is_file() else None

    def write_facts(self, source: Prepared, preprocessing: Preprocessing) -> None:
        """Writes what `read_facts` reads."""
        palette = [[int(v) for v in colour] for colour in source.palette]
        facts = {"classes": list(source.classes), "palette": palette, "image_shape": list(source.shape)}
        write_json(self.facts, facts | {"preprocessing": preprocessing.to_json()})

    def is_finished(self, config: TrainConfig) -> bool:
        """Whether a run of `config` is finished here; refuses a run of another configuration."""
        if config.overwrite or not self.config.is_file():
            return False
        self._refuse_other(config)
        return self.result.is_file()

    def describe_result(self) -> str:
        """The result in a few lines."""
        result = self.read_result() or {}
        classes = [(short_name(key.removeprefix("val/iou/")), value) for key, value in result.items() if "/iou/" in key]
        width = max((columns(name) for name, _ in classes), default=0)
        lines = [f"  {pad(name, width)}  {'absent' if value is None else f'{value:.4f}'}" for name, value in classes]
        miou, accuracy = ("undefined" if v is None else f"{v:.4f}" for v in (result["val/miou"], result["val/pixel_accuracy"]))
        head = f"validation mIoU {miou}, pixel accuracy {accuracy}"
        head += f" after {result['steps']} steps, {result['seconds']:.0f} s of training"
        return "\n".join([head, *lines, f"  {self.path}"])

    def claim(self, config: TrainConfig) -> None:
        """Makes this the folder of a run of `config`, new or to be continued.

        Raises:
          FileExistsError: it holds a run of another configuration, or files that are not a run's.
        """
        if config.overwrite:
            self._remove_run()
        if self.config.is_file():
            self._refuse_other(config)
            return
        taken = [path for path in (self.facts, self.metrics, self.result, *self._made_by_run()) if path.exists()]
        if taken:
            raise FileExistsError(f"{taken[0]} is there, but no config.json of a run; choose another --workdir")
        self.path.mkdir(parents=True, exist_ok=True)
        write_json(self.config, to_json(config))

    def _refuse_other(self, config: TrainConfig) -> None:
        changed = differences(to_json(self.read_config()), to_json(config))
        if changed:
            raise FileExistsError(
                f"{self.path} holds a run of another configuration ({'; '.join(changed)}); "
                "choose another --workdir, or --overwrite to start afresh"
            )

    def _remove_run(self) -> None:
        """Removes what a run made, by name; whatever else lies here stays. config.json goes last: a kill leaves a run."""
        if not self.config.is_file():
            return
        for path in (self.result, self.metrics, self.facts):
            path.unlink(missing_ok=True)
        for path in self._made_by_run():
            shutil.rmtree(path) if path.is_dir() else path.unlink()
        for folder in (self.checkpoints, self.pictures, self.tensorboard):
            with contextlib.suppress(OSError):  # kept if something else lies in it
                folder.rmdir()
        self.config.unlink()

    def _made_by_run(self) -> Iterator[Path]:
        if self.checkpoints.is_dir():
            yield from (p for p in self.checkpoints.iterdir() if _CHECKPOINT.fullmatch(p.name))
        if self.pictures.is_dir():
            yield from (p for p in self.pictures.iterdir() if p.name in PICTURES)
        if self.tensorboard.is_dir():
            yield from self.tensorboard.glob("events.out.tfevents.*")


_CHECKPOINT = re.compile(r"\d+(\.orbax-checkpoint-tmp.*|\.damaged\d+)?")
"""What the checkpoint of a step is called: finished, being written, or damaged and set aside."""
PANELS, CURVES, CONFUSION = "validation.png", "curves.png", "confusion.png"
PICTURES = (PANELS, CURVES, CONFUSION)
