"""Objects that are networks of their own: CondInst, in small."""

import dataclasses
import functools
from typing import Annotated, ClassVar

import jax
import jax.numpy as jnp
import numpy as np
import optax
import scipy  # which loads its parts when they are first used

from fcn.instances.boundaries import renumbered
from fcn.instances.conditional import FEATURES, PARAMETERS, box_distances, decode_conditional, mask_logits, offsets
from fcn.losses.inputs import divide, sum_over, weighted_mean
from fcn.ranges import Range
from fcn.tasks.instances import InstanceTask

_BOX = slice(2, 6)
_OWN = slice(6, 6 + PARAMETERS)
PRIOR = float(np.log(0.01 / 0.99))
"""Is added to the logits of objects: at first a place is one by 1 % (Lin et al., "Focal Loss", ICCV 2017, section 4.1)."""
_LONGEST = 10.0
"""The largest logarithm of a distance, in places of the grid."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class CondInst(InstanceTask):
    """An object is three 1x1 convolutions of 169 numbers, which the network's last 1x1 convolution predicts at its middle.

    Tian, Shen, Chen, "Conditional Convolutions for Instance Segmentation", ECCV 2020, with the boxes of FCOS (Tian et al.,
    ICCV 2019): focal loss of objects, cross-entropy of middles, GIoU of boxes, Dice of masks. Departs from the paper: one grid
    for objects of all sizes in place of a pyramid, any network in place of towers of convolutions, masks at the
    resolution of the logits, and suppression by masks in place of boxes.

    The channels of a pixel: the logits of an object and of its middle, the logarithms of four distances to its box, 169
    parameters, and eight features, which the masks of all objects are made of. All but the features count every `grid` pixels.

    Attributes:
        grid: places of objects are every so many rows and columns.
        threshold: the least certainty of an object.
        most: objects of an image; a warning says where there are more.
        samples: places of an image whose masks are learnt in a step.
        mask_grid: masks are learnt at every so many rows and columns.
    """

    grid: Annotated[int, Range(1, 64)] = 4
    threshold: Annotated[float | int, Range(0, 1)] = 0.3
    most: Annotated[int, Range(1)] = 1000
    samples: Annotated[int, Range(1, 1024)] = 16
    mask_grid: Annotated[int, Range(1, 64)] = 2

    name: ClassVar[str] = "condinst"
    of_objects: ClassVar[frozenset[str]] = frozenset({"label", "box"})
    channels: ClassVar[int] = _OWN.stop + FEATURES
    directed: ClassVar[bool] = True
    averages: ClassVar[bool] = False

    @property
    def fill(self):
        return {**super().fill, "box": 0.0}

    def targets(self, sample):
        return {**super().targets(sample), "box": box_distances(np.asarray(sample["label"], np.int32))}

    def moved(self, targets, scale, flipped):
        """Distances change sides where the image is mirrored, grow with it, and end at its border, as boxes that are cut do."""
        up, down, left, right = jnp.moveaxis(targets["box"] * scale, -1, 0)
        up, down = jnp.where(flipped[0], down, up), jnp.where(flipped[0], up, down)
        left, right = jnp.where(flipped[1], right, left), jnp.where(flipped[1], left, right)
        border = box_distances(np.ones(targets["label"].shape, np.int32))
        return {**targets, "box": jnp.minimum(jnp.stack([up, down, left, right], -1), border)}

    def loss(self, logits, targets, *, axis_name=None):
        found = jnp.asarray(logits, jnp.float32)
        label, box, places = (each[:, :: self.grid, :: self.grid] for each in (targets["label"], targets["box"], found))
        near = (jnp.abs(box[..., ::2] - box[..., 1::2]) <= 3 * self.grid).all(-1)  # of FCOS: 1.5 places away
        middle = jnp.logical_and(label > 0, near)
        objects = optax.sigmoid_focal_loss(places[..., 0] + PRIOR, middle.astype(jnp.float32), alpha=0.25, gamma=2.0)
        objects = _quotient(jnp.sum(jnp.where(label >= 0, objects, 0)), jnp.sum(middle), axis_name)
        mean = functools.partial(weighted_mean, weights=middle, axis_name=axis_name)
        box = jnp.where(middle[..., None], box, 1.0)
        centers = mean(optax.sigmoid_binary_cross_entropy(places[..., 1], _centerness(box)))
        boxes = mean(1 - _giou(self._distances(places[..., _BOX]), box))
        losses, counts = jax.vmap(self._mask_losses)(found, targets["label"], middle)
        masks = _quotient(jnp.sum(losses), jnp.sum(counts), axis_name)
        return objects + centers + boxes + masks

    def _mask_losses(self, found, label, middle):
        """The sum of the Dice losses of some objects of an image, and their number; of all places the same ones come first."""
        noise = np.random.default_rng(0).uniform(0.1, 1, middle.size).astype(np.float32)
        chance, chosen = jax.lax.top_k(jnp.where(middle.ravel(), noise, 0), min(self.samples, middle.size))
        places = self.grid * jnp.stack(jnp.divmod(chosen, middle.shape[1]), -1)
        own, ids = found[tuple(places.T)][:, _OWN], label[tuple(places.T)]
        part = (slice(None, None, self.mask_grid),) * 2
        features, pixels = found[part][..., -FEATURES:], label[part].ravel()
        rows, columns = (axis[part].reshape(1, -1) for axis in np.mgrid[: label.shape[0], : label.shape[1]])
        down, right = offsets(rows, columns, places, self.grid)
        shared = jnp.broadcast_to(features.reshape(1, -1, FEATURES), (*down.shape, FEATURES))
        inputs = jnp.concatenate([shared, down[..., None], right[..., None]], -1)
        mask = jnp.where(pixels >= 0, jax.nn.sigmoid(mask_logits(own, inputs)), 0)
        true = (pixels == ids[:, None]).astype(jnp.float32)
        dice = 1 - 2 * (mask * true).sum(-1) / ((mask**2).sum(-1) + true.sum(-1) + 1e-5)
        return jnp.sum(jnp.where(chance > 0, dice, 0)), jnp.sum(chance > 0)

    def _distances(self, logarithms):
        return self.grid * jnp.exp(jnp.minimum(logarithms, _LONGEST))

    def scores(self, logits):
        sure = jax.nn.sigmoid(logits[..., :2] + jnp.array([PRIOR, 0]))
        return jnp.concatenate([sure, self._distances(logits[..., _BOX]), logits[..., _OWN.start :]], -1)

    def certainty(self, scores):
        return np.sqrt(scores[..., 0] * scores[..., 1])

    def object_scores(self, scores, instances):
        """The largest certainty of a place in an object."""
        ids = np.unique(instances[instances > 0])
        return np.asarray(scipy.ndimage.maximum(self.certainty(scores), instances, ids), np.float64)

    def prediction(self, scores):
        options = {name: getattr(self, name) for name in ("grid", "threshold", "most")}
        return renumbered(decode_conditional(np.asarray(scores, np.float32), **options), self.min_size)

    def options(self):
        own = ("grid", "threshold", "most", "samples", "mask_grid")
        return {**super().options(), **{name: getattr(self, name) for name in own}}


def _quotient(total, count, axis_name):
    """Of sums over all devices."""
    return divide(sum_over(total, axis_name), sum_over(count, axis_name))


def _centerness(box):
    """FCOS, equation 3: 1 in the middle of a box, 0 at its edges."""
    first, second = box[..., ::2], box[..., 1::2]
    return jnp.sqrt(jnp.prod(jnp.minimum(first, second) / jnp.maximum(first, second), -1))


def _giou(found, true):
    """Generalised intersection over union of boxes around the same place (Rezatofighi et al., CVPR 2019)."""

    def area(box):
        return (box[..., 0] + box[..., 1]) * (box[..., 2] + box[..., 3])

    shared, hull = area(jnp.minimum(found, true)), area(jnp.maximum(found, true))
    union = area(found) + area(true) - shared
    return shared / union - (hull - union) / hull
