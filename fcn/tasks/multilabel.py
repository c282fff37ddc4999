"""Multilabel segmentation: any number of classes for each pixel."""

import dataclasses
import re
from typing import Annotated, ClassVar

import jax
import numpy as np

from fcn import visualize
from fcn.data.source import LabelKind
from fcn.losses.inputs import Mode
from fcn.metrics import Multilabel as MultilabelMetric
from fcn.metrics import image_scalars, score
from fcn.ranges import Range, check_fields
from fcn.tasks.classes import ClassTask
from fcn.tasks.task import defined
from fcn.text import columns, pad, short_name

_FILE_NAME = re.compile(r"[^\W_][^/\\:*?\"<>|\x00-\x1f]*")
_SHOWN = {"iou": "IoU", "f1": "Dice", "precision": "precision", "recall": "recall"}


@dataclasses.dataclass(frozen=True, kw_only=True)
class Multilabel(ClassTask):
    """A sigmoid for each class. A prediction is a mask for each, int32 [H, W, K] of 0 and 1.

    Attributes:
        threshold: the least probability of a class that is there.
    """

    threshold: Annotated[float | int, Range(0, 1)] = 0.5

    name: ClassVar[str] = "multilabel"
    label_kind: ClassVar[LabelKind] = "masks"
    mode: ClassVar[Mode] = "multilabel"

    def __post_init__(self):
        super().__post_init__()
        check_fields(self)
        strange = [name for name in self.classes if not _FILE_NAME.fullmatch(name)]
        folded = [name.casefold() for name in self.classes]
        if strange or len(set(folded)) < len(folded):
            wrong = strange or [name for name in self.classes if folded.count(name.casefold()) > 1]
            raise ValueError(f"class {short_name(wrong[0])!r} cannot name a file of its own, as masks of a class do; rename it")

    @property
    def channels(self):
        return len(self.classes)

    @property
    def suffixes(self):
        return ("overlay.png", *(f"mask_{name}.png" for name in self.classes))

    def masks(self, label):
        return label == 1

    def scores(self, logits):
        return jax.nn.sigmoid(logits)

    def prediction(self, scores):
        return (scores >= self.threshold).astype(np.int32)

    def metric(self):
        return MultilabelMetric(len(self.classes), self.ignore_index)

    def scalars(self, result, prefix=""):
        iou = np.asarray(score("iou", result, None))
        values = {"miou": score("iou", result), "mean_f1": score("f1", result)}
        values |= {f"iou/{name}": float(value) for name, value in zip(self.classes, iou)}
        return {prefix + name: defined(value) for name, value in values.items()}

    def image_scalars(self, state):
        return image_scalars(state, self.classes, exclusive=False)

    def table(self, result):
        names = [short_name(name) for name in self.classes]
        width = max(5, *map(columns, names))
        scores = [np.asarray(score(name, result, None)) for name in _SHOWN]
        means = [score(name, result) for name in _SHOWN]

        def line(title, values):
            return pad(title, width) + "".join(f"{'-' if np.isnan(v) else f'{100 * v:.1f}':>11}" for v in values)

        head = pad("class", width) + "".join(f"{_SHOWN[name]:>11}" for name in _SHOWN)
        rule = "-" * (width + 11 * len(_SHOWN))
        return "\n".join([head, rule, *map(line, names, zip(*scores)), rule, line("mean", means)])

    def files(self, image, scores):
        masks = self.prediction(scores)
        pictures = {f"mask_{name}.png": (255 * masks[..., k]).astype(np.uint8) for k, name in enumerate(self.classes)}
        return {"overlay.png": visualize.overlay_masks(image, np.asarray(masks), self.colours), **pictures}

    def summary(self, scores):
        shares = self.prediction(scores).mean((0, 1))
        found = [f"{short_name(self.classes[int(c)])} {shares[c]:.0%}" for c in np.argsort(-shares) if shares[c] >= 0.005]
        return ", ".join(found) or "nothing"

    def legend(self):
        return visualize.legend(self.classes, self.colours)

    def panel(self, images, truths, scores):
        found = [self.prediction(one) for one in scores]
        rows = [
            [visualize.rgb(image), *(visualize.overlay_masks(image, np.asarray(masks), self.colours) for masks in both)]
            for image, *both in zip(images, truths, found, strict=True)
        ]
        return visualize.gallery(rows, classes=self.classes, palette=self.colours)

    def options(self):
        return {"threshold": self.threshold}
