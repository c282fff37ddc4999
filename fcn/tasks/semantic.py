"""One class for each pixel: by a softmax over all classes, or of two classes by the sigmoid of one channel."""

import dataclasses
from typing import Annotated, ClassVar

import jax
import jax.numpy as jnp
import numpy as np

from fcn import visualize
from fcn.data.source import LabelKind
from fcn.losses.inputs import Mode
from fcn.metrics import Segmentation, format_table, image_scalars
from fcn.ranges import Range, check_fields
from fcn.tasks.classes import ClassTask
from fcn.text import short_name


class Semantic(ClassTask):
    """The softmax of as many channels as there are classes. A prediction is a class map, int32 [H, W]."""

    name: ClassVar[str] = "semantic"
    suffixes: ClassVar[tuple[str, ...]] = ("overlay.png", "mask.png")
    mode: ClassVar[Mode] = "multiclass"

    @property
    def channels(self):
        return len(self.classes)

    def masks(self, label):
        return label[..., None] == np.arange(len(self.classes))

    def scores(self, logits):
        return jnp.argmax(logits, axis=-1).astype(np.int32)

    def metric(self):
        return Segmentation(len(self.classes), self.ignore_index)

    def scalars(self, result, prefix=""):
        return result.scalars(self.classes, prefix)

    def table(self, result):
        return format_table(result, self.classes)

    def image_scalars(self, state):
        return image_scalars(state.images, self.classes)

    def draw(self, state, path):
        visualize.plot_confusion(state.matrix, self.classes, path)

    def files(self, image, scores):
        mask = np.asarray(self.prediction(scores), np.uint8)
        return {
            "overlay.png": visualize.overlay(image, mask, self.colours, ignore_index=self.ignore_index),
            "mask.png": visualize.indexed(mask, self.colours),
        }

    def summary(self, scores):
        mask = self.prediction(scores)
        shares = np.bincount(mask.ravel(), minlength=len(self.classes)) / mask.size
        found = [f"{short_name(self.classes[int(c)])} {shares[c]:.0%}" for c in np.argsort(-shares) if shares[c] >= 0.005]
        return ", ".join(found)

    def legend(self):
        return visualize.legend(self.classes, self.colours)

    def panel(self, images, truths, scores):
        found = [np.asarray(self.prediction(one)) for one in scores]
        ignore = self.ignore_index
        shown = [visualize.as_pictures(*each, ignore_index=ignore) for each in zip(images, truths, found, strict=True)]
        images, truths, found = map(list, zip(*shown, strict=True))
        return visualize.panel(images, truths, found, self.classes, self.colours, ignore_index=self.ignore_index)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Binary(Semantic):
    """The sigmoid of one channel: the probability of the second of two classes. A prediction is a class map, int32 [H, W].

    Attributes:
        threshold: the least probability of the second class.
    """

    threshold: Annotated[float | int, Range(0, 1)] = 0.5

    name: ClassVar[str] = "binary"
    label_kind: ClassVar[LabelKind] = "binary"
    suffixes: ClassVar[tuple[str, ...]] = ("probability.png", "overlay.png", "mask.png")
    mode: ClassVar[Mode] = "binary"

    def __post_init__(self):
        super().__post_init__()
        check_fields(self)
        if len(self.classes) != 2:
            raise ValueError(
                f"the task 'binary' tells two classes apart, such as background and object; there are {len(self.classes)}: "
                f"{', '.join(map(short_name, self.classes[:5]))}; take the task 'semantic'"
            )

    @property
    def channels(self):
        return 1

    def masks(self, label):
        return label[..., None] == 1

    def scores(self, logits):
        return jax.nn.sigmoid(logits[..., 0])

    def prediction(self, scores):
        return (scores >= self.threshold).astype(np.int32)

    def files(self, image, scores):
        return {"probability.png": np.rint(255 * scores).astype(np.uint8), **super().files(image, scores)}

    def options(self):
        return {"threshold": self.threshold}
