"""Images through a network: each is read, predicted and written, side by side with its neighbours."""

import copy
import dataclasses
import errno
import functools
import sys
import time
from collections.abc import Callable, Collection, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, NamedTuple

import numpy as np
from PIL import Image

from experiments import command
from experiments.building.networks import Network
from experiments.prediction.outputs import LEGEND
from experiments.prediction.results import PROBABILITIES, UNCERTAINTY, made, with_ids
from fcn.data import read_image
from fcn.data.reading.depth import ValueRange, exposure
from fcn.data.reading.pages import page_as_file
from fcn.data.zarr_arrays import is_zarr
from fcn.inference import Predictor, Uncertainty, ahead, make_predictor, predict_image
from fcn.inference.files import Files
from fcn.inference.probabilities import mode_of
from fcn.inference.program import Kind
from fcn.tasks import Task
from fcn.text import printable
from fcn.visualize.files import Picture, save_pictures

_FULL_DISK = (errno.ENOSPC, errno.EDQUOT, errno.EROFS)


class Work(NamedTuple):
    """An image on its way: what has been made of it, or why nothing was."""

    files: Files
    made: Any = None
    refusal: str = ""


class Predicted(NamedTuple):
    """What a network found in an image: scores, further files by ending, how it was seen, and the seconds that it took."""

    image: np.ndarray
    scores: np.ndarray
    more: Mapping[str, Picture]
    how: str
    seconds: float


@dataclasses.dataclass
class Stages:
    """What is done to each image, with what the stage before has made.

    Args:
      network: which predicts.
      size: height and width at which it sees the images, or
      scale: how many times as large; by default it decides.
      tile: rows and columns of the parts in which it sees them, as for `fcn.inference.Predictor`.
      tta: the views that are averaged.
      others: the variables of further networks of an ensemble.
      dropout, seed: as for `fcn.inference.Predictor`.
      table: whether `rows` are kept.

    Raises:
      ValueError: there is to be dropout, and the network has none.
    """

    network: Network
    size: tuple[int, int] | None = None
    scale: float | None = None
    tile: int | Literal["auto"] | None = None
    tta: Sequence[str | float] = ()
    others: Sequence[dict[str, Any]] = ()
    dropout: int = 0
    seed: int = 0
    table: bool = False

    def __post_init__(self):
        self._task = self.network.task
        expected, members = self.network.preprocessing.as_read(), [self.network.variables, *self.others]
        self._predict = make_predictor(self.network.model, expected, self._task)
        known: dict[str, Any] = {"bucket": None, "dropout": self.dropout, "seed": self.seed}
        self._predictor = Predictor(self.network.model, members, expected, self._task, **known)
        self._far_is_told = False
        self.rows: list[dict[str, Any]] = []
        """Of each image that was predicted its size, the seconds that took, and what was found, as numbers."""

    def write_legend(self, out: Path, *, overwrite: bool = False, keep: bool = False) -> None:
        """Writes what the colours mean, or keeps what is there; refuses to replace another legend unasked."""
        path, legend = out / LEGEND, self._task.legend()
        if legend is None or (keep and path.exists()):  # another font may have drawn it
            return
        if path.exists() and not overwrite:
            if not np.array_equal(read_image(path, channels=3), legend):
                raise FileExistsError(f"{path} is the legend of other classes; give another --out, or --overwrite")
            return
        save_pictures({path: Image.fromarray(legend)})

    def read(self, files: Files, _) -> np.ndarray:
        """The image, uint8 [H, W, C]."""
        if is_zarr(files.image):
            raise ValueError(f"{files.image} is read in parts only; write class ids and nothing else: --format tif or npy")
        expected, pages = self.network.preprocessing, self.network.data.pages == "channels"
        how = {"value_range": expected.value_range, "per_image": expected.per_image, "pages": pages}
        if files.page is not None:
            with page_as_file(files.image, files.page) as page:
                return read_image(page, channels=expected.channels, name=f"{files.image}, page {files.page + 1}", **how)
        image = read_image(files.image, channels=expected.channels, **how)
        if expected.per_image is None:
            tell_of_exposure(files.image, image, expected.value_range, pages)
        return image

    def predict(self, files: Files, image: np.ndarray) -> Predicted:
        """What the network finds in the image."""
        seen = self._seen_size(*image.shape[:2])
        scale = max(seen) / max(image.shape[:2])
        self._tell_of_scale(files.image, scale)
        began = time.perf_counter()
        scores, more = self._found(image, seen, files.paths)
        seconds = time.perf_counter() - began
        how = "" if seen == image.shape[:2] else f" (seen at {seen[0]}x{seen[1]} pixels, scale {scale:.3g})"
        return Predicted(image, scores, more, how, seconds)

    def _found(self, image: np.ndarray, seen: tuple[int, int], endings: Collection[str]) -> tuple[Any, dict[str, Picture]]:
        """The scores, and what else of the network is to be written; the network runs once."""
        how: dict[str, Any] = {"size": seen, "tile": self.tile, "tta": self.tta}
        asked: dict[Kind, bool] = {"probabilities": PROBABILITIES in endings, "uncertainty": UNCERTAINTY[0] in endings}
        kinds: list[Kind] = ["scores", *(kind for kind, is_asked in asked.items() if is_asked)]
        if len(kinds) > 1:
            found = self._predictor.results(image, kinds, **how)
            more = {PROBABILITIES: found["probabilities"]} if asked["probabilities"] else {}
            return found["scores"], more | (self._uncertain(found["uncertainty"]) if asked["uncertainty"] else {})
        if self.tile is None and not self.tta and not self.others and not self.dropout:
            return predict_image(self._predict, self.network.variables, image, size=seen), {}
        return self._predictor.scores(image, **how), {}

    def _uncertain(self, found: Uncertainty) -> dict[str, Picture]:
        """Entropy and mutual information, and a picture in which pixels are white of which nothing is known."""
        several = mode_of(self._task) == "multilabel"
        most = len(self._task.classes) * np.log(2) if several else np.log(max(self._task.channels, 2))
        picture = np.rint(np.clip(found.entropy / most, 0, 1) * 255).astype(np.uint8)
        return dict(zip(UNCERTAINTY, (picture, np.stack(found, -1)), strict=True))

    def write(self, files: Files, predicted: Predicted) -> str:
        """Writes the results; says what was found in the image."""
        image, scores, more, how, seconds = predicted
        task = decoding_once(self._task, scores)
        found = {**task.files(image, scores), **more}
        if "mask.png" in found and self.network.label_ids is not None:
            found["mask.png"] = with_ids(found["mask.png"], self.network.label_ids, task.colours)
        last, known = files.done, (found, task, image, scores, files.name)
        last.parent.mkdir(parents=True, exist_ok=True)
        save_pictures({path: made(ending, *known) for ending, path in files.paths.items()}, level=1)
        if self.table:
            self.rows.append(row_of(files, image.shape, seconds, task.figures(scores)))
        return f"{printable(f'{files.image} -> {last}')}: {task.summary(scores)}{how}"

    def _seen_size(self, height: int, width: int) -> tuple[int, int]:
        if self.scale is not None:
            return max(1, round(height * self.scale)), max(1, round(width * self.scale))
        return self.size or self.network.preprocessing.seen_size(height, width)

    def _tell_of_scale(self, path: Path, scale: float) -> None:
        """Warns, once, where nobody has asked for a scale that is far from 1."""
        size = self.network.preprocessing.size
        if self._far_is_told or size is None or self.size or self.scale or 0.5 <= scale <= 2:
            return
        self._far_is_told = True
        height, width = size
        command.warn(
            f"{path} is seen at {scale:.3g} of its size, because training resized its images to {height}x{width}; "
            "--scale 1 shows images as they are, --size HEIGHT WIDTH at another size"
        )


def row_of(files: Files, shape: Sequence[int], seconds: float, figures: Mapping[str, float]) -> dict[str, Any]:
    """The row of an image in the table that --csv asks for."""
    page = {} if files.page is None else {"page": files.page + 1}
    *sides, _ = shape
    size = dict(zip(("depth", "height", "width")[-len(sides) :], sides))
    return {"image": str(files.image), **page, **size, "seconds": round(seconds, 4), **figures}


def decoding_once(task: Task, scores: np.ndarray) -> Task:
    """The task, of which `files` and `summary` share the prediction that is made of an image's scores."""
    found = functools.cache(lambda: task.prediction(scores))
    once = copy.copy(task)
    object.__setattr__(once, "prediction", lambda given: found() if given is scores else task.prediction(given))
    return once


def predict_all(stages: Stages, plans: Sequence[Files]) -> list[Path]:
    """Predicts each image while the next is read and the one before is written; tells of each. Gives those that were refused.

    Raises:
      OSError: the disk is full, or cannot be written to.
    """
    read = ahead(attempt(stages.read), map(Work, plans))
    refused = []
    for work in ahead(attempt(stages.write), map(attempt(stages.predict), read)):
        if not report(work):
            refused.append(work.files.image)
    return refused


def report(work: Work) -> bool:
    """Tells what was found in an image, or why nothing was; whether it was predicted."""
    if work.refusal:
        print(f"error: {work.refusal}", file=sys.stderr)
    else:
        print(work.made)
    return not work.refusal


def attempt(stage: Callable[[Files, Any], Any]) -> Callable[[Work], Work]:
    """`stage` for images whose stages before went well; what is wrong with an image becomes its refusal."""

    def attempted(work: Work) -> Work:
        if work.refusal:
            return work
        try:
            return Work(work.files, stage(work.files, work.made))
        except Exception as error:
            return Work(work.files, None, refusal_of(error, work.files.image))

    return attempted


def refusal_of(error: Exception, image: Path) -> str:
    """The sentence that tells why an image was not predicted; raises what is not its fault (a full disk, a defect)."""
    told = None if getattr(error, "errno", None) in _FULL_DISK else command.explain(error)
    if told is None:
        raise error
    if command.is_out_of_memory(error):
        told = "there is not enough memory to predict it at this size; predict it in parts, by --tile, or smaller, by --scale"
    path = printable(str(image))
    return told if path in told else f"{path}: {told}"


def tell_of_exposure(path: Path, image: np.ndarray, value_range: ValueRange | None, pages: bool = False) -> None:
    """Warns where the values of a 16-bit image lie so that the network sees next to nothing; `pages` are its channels."""
    looks = "black" if image.max() < 32 else "white" if np.mean(image == 255) > 0.5 else None
    if looks and (found := exposure(path, pages)) is not None:
        low, high = value_range or (0, 65535)
        hint = f"--value-range {found[0]:g} {found[1]:g}"
        command.warn(f"{path} is nearly {looks} to the network, which sees stored values {low:g}..{high:g}; try {hint}")
