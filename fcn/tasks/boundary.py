"""Objects by three classes of pixels: background, interior and inner boundary."""

import dataclasses
from collections.abc import Mapping
from typing import Annotated, Any, ClassVar

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Integer

from fcn.instances import boundary_classes, decode_boundaries
from fcn.losses import border_distances
from fcn.losses.inputs import Mode
from fcn.ranges import Range
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
    older: ClassVar[Mapping[str, Any]] = {"split": 1}

    width: Annotated[int, Range(1, 16)] = 1
    """Pixels of the boundary. Where two lie between interiors, a gap is rarer, and objects of fewer pixels have no interior."""
    split: Annotated[float | int, Range(0, 1)] = 0.25
    """The least share of an interior that each of its parts has where it is split at a higher probability; 1 splits none."""
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
        width = {} if self.width == 1 else {"width": self.width}
        return {**super().options(), "split": self.split, **width, **({} if usual else {"class_weights": self.class_weights})}

    def masks(self, label):
        return boundary_classes(label, self.width)[..., None] == np.arange(self.channels)

    def distances(self, name, label):
        if name != "border":
            return super().distances(name, label)
        return border_distances(np.maximum(label, 0), reach=self.border_reach)[..., None]

    def pixel_classes(self, label: Integer[Array | np.ndarray, "b h w"]) -> Integer[Array, "b h w"]:
        """What is learnt of each pixel of instance maps: of the map as it is seen, so that no change of the image tears it."""
        classes = jax.vmap(lambda one: boundary_classes(one, self.width))(jnp.asarray(label))
        return jnp.where(classes < 0, self.ignore_index, classes)

    def loss(self, logits, targets, *, axis_name=None):
        return super().loss(logits, {**targets, "label": self.pixel_classes(targets["label"])}, axis_name=axis_name)

    def weighed_losses(self, logits, targets, images, *, axis_name=None):
        targets = {**targets, "label": self.pixel_classes(targets["label"])}
        return super().weighed_losses(logits, targets, images, axis_name=axis_name)

    def scores(self, logits):
        return jax.nn.softmax(logits)

    def certainty(self, scores):
        return 1 - scores[..., 0]

    def prediction(self, scores):
        options = {"weights": self.class_weights, "min_size": self.min_size, "split": self.split}
        return decode_boundaries(np.asarray(scores), **options)
