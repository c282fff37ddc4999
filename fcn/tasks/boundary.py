"""Objects by three classes of pixels: background, interior and inner boundary."""

import dataclasses
from typing import ClassVar

import jax
import numpy as np

from fcn.instances import boundary_classes, decode_boundaries
from fcn.losses import border_distances
from fcn.losses.inputs import Mode
from fcn.tasks.classes import ClassTask
from fcn.tasks.instances import InstanceTask

_USUAL_WEIGHTS = (1.0, 1.0, 10.0)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Boundary(InstanceTask, ClassTask):
    """The softmax of background, interior and inner boundary; interiors grow by watershed to objects.

    Caicedo et al., "Evaluation of Deep Learning Strategies for Nucleus Segmentation in Fluorescence Images", Cytometry A 95,
    2019: the cross-entropy, in which boundaries count tenfold; here with a Dice loss.
    """

    name: ClassVar[str] = "boundary"
    mode: ClassVar[Mode] = "multiclass"
    default_loss: ClassVar[str] = "ce(class_weights=[1,1,10])+dice"
    own_loss: ClassVar[bool] = False
    channels: ClassVar[int] = 3

    class_weights: tuple[int | float, ...] = ()
    """Of background, interior and boundary in the cross-entropy of the training, by which probabilities are too large; those of
    the loss where none are given."""

    def __post_init__(self):
        super().__post_init__()
        given = (term.options.get("class_weights") for term in self.loss_terms if term.name in ("ce", "border"))
        weights = tuple(map(float, self.class_weights or next(filter(None, given), (1, 1, 1))))
        if len(weights) != self.channels or min(weights) <= 0:
            raise ValueError(f"class_weights is {weights}; give three numbers above 0, of background, interior and boundary")
        object.__setattr__(self, "class_weights", weights)

    def options(self):
        usual = self.class_weights == _USUAL_WEIGHTS  # of which older records say nothing
        return {**super().options(), **({} if usual else {"class_weights": self.class_weights})}

    @property
    def fill(self):
        return {**super().fill, "pixel_class": self.ignore_index}

    def masks(self, label):
        return boundary_classes(np.maximum(label, 0))[..., None] == np.arange(self.channels)

    def distances(self, name, label):
        if name != "border":
            return super().distances(name, label)
        return border_distances(np.maximum(label, 0), reach=self.border_reach)[..., None]

    def targets(self, sample):
        targets = super().targets(sample)
        classes = boundary_classes(np.maximum(targets["label"], 0))
        return {**targets, "pixel_class": np.where(targets["label"] < 0, self.ignore_index, classes)}

    def loss(self, logits, targets, *, axis_name=None):
        return super().loss(logits, {**targets, "label": targets["pixel_class"]}, axis_name=axis_name)

    def weighed_losses(self, logits, targets, images, *, axis_name=None):
        return super().weighed_losses(logits, {**targets, "label": targets["pixel_class"]}, images, axis_name=axis_name)

    def scores(self, logits):
        return jax.nn.softmax(logits)

    def certainty(self, scores):
        return 1 - scores[..., 0]

    def prediction(self, scores):
        return decode_boundaries(np.asarray(scores), weights=self.class_weights, min_size=self.min_size)
