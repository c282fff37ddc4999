"""What the channels of a network mean: the interface of a task."""

import abc
import dataclasses
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Integer, Shaped, UInt8

from fcn.data import Prepared
from fcn.data.codec import Codec, Targets
from fcn.data.source import LabelKind
from fcn.instances.objects import Objects
from fcn.losses import LOSSES, Term, parse_terms
from fcn.metrics import Metric
from fcn.text import short_name
from fcn.visualize import default_palette
from fcn.visualize.files import Picture


@dataclasses.dataclass(frozen=True, kw_only=True)
class Task(Codec, abc.ABC):
    """A network's task, in one place: from the samples of a source to what is learnt, measured, predicted and shown.

    On the way to the loss a sample becomes `targets`, on the host; an image that is changed at random has `moved` targets. On
    the way to a prediction logits become `scores`, on the device (all that leaves it); of each image `prediction` makes what
    users want, on the host if need be. `decode` is both. `metric` compares predictions with `truth`.

    Attributes:
        classes: names of what the network tells.
        palette: a colour (red, green, blue) for each of them; by default `fcn.visualize.default_palette`.
        terms: of the loss, from `fcn.losses.parse_terms` or as the text that it reads; by default `default_loss`.
        ignore_index: the label of pixels that count nowhere.
    """

    classes: Sequence[str]
    palette: Sequence[Sequence[int]] | UInt8[np.ndarray, "k 3"] = ()
    terms: Sequence[Term] | str = ()

    name: ClassVar[str]
    """That `make` knows it by."""
    label_kind: ClassVar[LabelKind] = "classes"
    """Labels of the sources that it learns from."""
    default_loss: ClassVar[str] = "ce"
    best: ClassVar[str] = "miou"
    """The scalar by which one network is better than another."""
    on_host: ClassVar[bool] = False
    """Whether `prediction` and the metric need the host; else they are compiled with the network."""
    directed: ClassVar[bool] = False
    """Whether channels are directions or lengths in the image, which are others where it is mirrored, turned or resized."""
    averages: ClassVar[bool] = True
    """Whether means of logits mean anything: of networks, of overlapping tiles, and of pixels where they are resized."""
    suffixes: ClassVar[tuple[str, ...]]
    """The endings of the files that `files` gives, the one last without which an image is not done."""
    on_request: ClassVar[tuple[str, ...]] = ()
    """Those of further files, which are written where they are asked for."""
    older: ClassVar[Mapping[str, Any]] = {}
    """Options of which older records say nothing, with the values that they had then; `options` gives them always."""

    def __post_init__(self):
        if isinstance(self.classes, str):
            raise ValueError(f"classes is the text {short_name(self.classes)!r}; give a list of names")
        object.__setattr__(self, "classes", tuple(self.classes))
        if not self.classes:
            raise ValueError(f"the task {self.name!r} has no classes; name what the network tells")
        colours = default_palette(len(self.classes)) if not len(self.palette) else self.palette
        object.__setattr__(self, "palette", tuple(tuple(int(v) for v in colour) for colour in colours))
        object.__setattr__(self, "terms", self.loss_terms or parse_terms(self.default_loss))
        for term in self.loss_terms:
            if LOSSES[term.name].regression != (self.label_kind == "values"):
                kind = "values" if LOSSES[term.name].regression else "classes"
                raise ValueError(f"the loss {term.name!r} is of {kind}; the task {self.name!r} takes {self.default_loss!r}")
        if len(self.palette) != len(self.classes):
            raise ValueError(f"{len(self.classes)} classes and {len(self.palette)} colours; give a colour for each class")

    @property
    def loss_terms(self) -> tuple[Term, ...]:
        """The terms of the loss, read where they were given as a text."""
        return parse_terms(self.terms) if isinstance(self.terms, str) else tuple(self.terms)

    @property
    def colours(self) -> UInt8[np.ndarray, "k 3"]:
        """The palette as an array."""
        return np.array(self.palette, np.uint8)

    @property
    @abc.abstractmethod
    def channels(self) -> int:
        """The number of channels that the network has: its `num_classes`."""

    def fitted(self, samples: Prepared) -> "Task":
        """The task with what it takes from the training split, such as the scale of values."""
        return self

    def check(self, samples: Prepared) -> None:
        """Raises a ValueError for data that the task is not for, by more than the kind of their labels."""

    @abc.abstractmethod
    def loss(self, logits: Float[Array, "b *pixels k"], targets: Targets, *, axis_name: str | None = None) -> Float[Array, ""]:
        """The loss of a batch, normalised over the devices of an axis.

        Args:
            logits: those of the network.
            targets: of the same images, one behind the other.
            axis_name: the `pmap` axis.
        """

    def resized(
        self, logits: Float[Array | np.ndarray, "b h w k"], factors: tuple[float, float]
    ) -> Float[Array | np.ndarray, "b h w k"]:
        """Logits that were resized with the image, by factors of its height and width; lengths in pixels grow. Jittable."""
        return logits

    def weighed_losses(
        self, logits: Float[Array, "b *pixels k"], targets: Targets, images: Float[Array, ""], *, axis_name: str | None = None
    ) -> Float[Array, "terms 2"]:
        """The parts of `loss`, and what each weighs beside that of other batches; see `fcn.losses.weighed_losses`.

        By default the loss is one part, which weighs as much as the batch has images.
        """
        return jnp.stack([self.loss(logits, targets, axis_name=axis_name), images])[None]

    @abc.abstractmethod
    def scores(self, logits: Float[Array, "*pixels k"]) -> Shaped[Array, "..."]:
        """What of the logits leaves the device: class ids, probabilities or values; jittable."""

    def prediction(self, scores: Shaped[Array | np.ndarray, "..."]) -> Any:
        """What users want of the scores of an image; of any number of images, and jittable, unless `on_host`."""
        return scores

    def decode(self, logits: Float[Array | np.ndarray, "b *pixels k"]) -> list[Any]:
        """The prediction for each image of a batch."""
        return [self.prediction(scores) for scores in np.asarray(self.scores(jnp.asarray(logits)))]

    def truth(self, targets: Targets) -> Any:
        """What of the targets the metric compares with predictions."""
        return targets["label"]

    @abc.abstractmethod
    def metric(self) -> Metric:
        """What predictions are worth; it counts on the device, unless `on_host`."""

    def tuning(self) -> "Task | None":
        """A task for the same network whose metric computes a NamedTuple: the best options of this one, and last a score."""
        return None

    @abc.abstractmethod
    def scalars(self, result: Any, prefix: str = "") -> dict[str, float | None]:
        """What the metric computed, by name, for logs; None where undefined."""

    @abc.abstractmethod
    def table(self, result: Any) -> str:
        """What the metric computed, for a terminal."""

    def image_scalars(self, state: Any) -> list[dict[str, float | None]]:
        """What each image is worth, in the order in which they were counted: `best` and others by name; empty if not known."""
        return []

    def draw(self, state: Any, path: Path) -> None:
        """Writes a picture of what the metric counted, if there is one to show."""

    @abc.abstractmethod
    def files(self, image: UInt8[np.ndarray, "h w c"], scores: np.ndarray) -> dict[str, Picture]:
        """What is written for an image, by ending: pictures, arrays (.npy) and text."""

    @abc.abstractmethod
    def summary(self, scores: np.ndarray) -> str:
        """What was found in an image, in a line."""

    def regions(self, scores: np.ndarray) -> list[tuple[Objects, Integer[np.ndarray, "h w"]]]:
        """For each class the objects or parts of an image and their map; none where the task has values."""
        return []

    def outlined(self, image: UInt8[np.ndarray, "h w c"], scores: np.ndarray) -> UInt8[np.ndarray, "h w 3"]:
        """The image with the outlines of what `regions` gives."""
        raise ValueError(f"the task {self.name!r} finds nothing that has an outline")

    def figures(self, scores: np.ndarray) -> dict[str, float]:
        """What was found in an image, as numbers by name, such as the share of each class."""
        return {}

    def legend(self) -> UInt8[np.ndarray, "h w 3"] | None:
        """What the colours of the files mean, if anything."""
        return None

    @abc.abstractmethod
    def panel(
        self, images: Sequence[np.ndarray], truths: Sequence[Any], scores: Sequence[np.ndarray]
    ) -> UInt8[np.ndarray, "h w 3"]:
        """A row for each image: it, what should be found and what is."""

    def options(self) -> Mapping[str, Any]:
        """What else the task is made of, as JSON values: what `make` is given beside classes, palette and loss."""
        return {}

    @classmethod
    def recorded(cls, options: Mapping[str, Any]) -> dict[str, Any]:
        """The options of a record, with those of which older ones say nothing."""
        return {**cls.older, **options}


def defined(value: Any) -> float | None:
    """A number for logs and files; None for NaN and infinity, which JSON does not know."""
    return float(value) if np.isfinite(value) else None
