"""What tasks of classes share: the loss by its mode, and the distance maps that some losses want."""

import abc
from typing import ClassVar

import jax.numpy as jnp
import numpy as np
import scipy  # which loads its parts when they are first used
from jaxtyping import Bool, Float, Int

from fcn import visualize
from fcn.instances.objects import regions
from fcn.losses import LOSSES, Term, border_distances, boundary_distances, signed_distances, total_loss, weighed_losses
from fcn.losses.border import reach_of
from fcn.losses.inputs import Mode
from fcn.tasks.task import Task


class ClassTask(Task, abc.ABC):
    """A task whose labels say which classes are there. Losses by distances get their maps from `targets`."""

    mode: ClassVar[Mode]
    """Of the losses."""
    turns: ClassVar[bool] = True

    @property
    def fill(self):
        return {"label": self.ignore_index, **{_map_of(term): 0.0 for term in self._by_distances}}

    @property
    def _by_distances(self) -> list[Term]:
        return [term for term in self.loss_terms if LOSSES[term.name].distances]

    @property
    def border_reach(self) -> int:
        """Pixels beyond which an object is not near for any term `border`, also where augmentation halves the image."""
        borders = [term.options for term in self.loss_terms if term.name == "border"]
        return 2 * max(reach_of(**{name: given[name] for name in ("w0", "sigma") if name in given}) for given in borders)

    @abc.abstractmethod
    def masks(self, label: Int[np.ndarray, "h w ..."]) -> Bool[np.ndarray, "h w k"]:
        """Where each channel's class is."""

    def targets(self, sample):
        targets = super().targets(sample)
        for term in self._by_distances:
            targets[_map_of(term)] = self.distances(term.name, targets["label"])
        return targets

    def distances(self, name: str, label: Int[np.ndarray, "h w ..."]) -> Float[np.ndarray, "h w k"]:
        """The map that a loss by distances wants. Where a pixel has one class, the first is the background of objects."""
        masks = self.masks(label)
        if name == "border":
            return border_distances(_objects(masks[..., self.mode == "multiclass" :]), reach=self.border_reach)[..., None]
        return _distances(name, masks)

    def moved(self, targets, scale, flipped):
        return targets | {_map_of(term): targets[_map_of(term)] * scale for term in self._by_distances}

    def regions(self, scores):
        masks = self._found(scores)
        return regions(masks, self.classes[-masks.shape[2] :])

    def outlined(self, image, scores):
        masks = self._found(scores)
        outlines = np.stack([mask & visualize.edges(mask) for mask in np.moveaxis(masks, -1, 0)], -1)
        return visualize.overlay_masks(image, outlines.astype(int), self.colours[-masks.shape[2] :], alpha=1.0)

    def figures(self, scores):
        masks = self._found(scores)
        shares = masks.mean(tuple(range(masks.ndim - 1))).tolist()
        return dict(zip(self.classes[-len(shares) :], shares, strict=True))

    def _found(self, scores) -> Bool[np.ndarray, "*spatial k"]:
        """Where each channel's class was found."""
        return np.asarray(self.masks(np.asarray(self.prediction(scores))))

    def loss(self, logits, targets, *, axis_name=None):
        options = (self._options(term, targets, axis_name) for term in self.loss_terms)
        return sum(total_loss((term,), logits, targets["label"], **given) for term, given in zip(self.loss_terms, options))

    def weighed_losses(self, logits, targets, images, *, axis_name=None):
        options = (self._options(term, targets, axis_name) for term in self.loss_terms)
        rows = [weighed_losses((t,), logits, targets["label"], images, **given) for t, given in zip(self.loss_terms, options)]
        return jnp.concatenate(rows)

    def _options(self, term, targets, axis_name):
        """What a loss is given besides logits and labels."""
        maps = {"distances": targets[_map_of(term)]} if LOSSES[term.name].distances else {}
        return {"mode": self.mode, "ignore_index": self.ignore_index, "axis_name": axis_name, **maps}


def _map_of(term: Term) -> str:
    return f"{term.name}_distances"


def _distances(name: str, masks: Bool[np.ndarray, "h w k"]) -> np.ndarray:
    """float32 [H, W, K]: the maps that a loss wants."""
    if name == "hausdorff":
        return boundary_distances(masks)
    return np.concatenate([signed_distances(mask.astype(np.int32), 1) for mask in np.moveaxis(masks, -1, 0)], -1)


def _objects(masks: Bool[np.ndarray, "h w k"]) -> np.ndarray:
    """int [H, W]: the connected parts of each class, by numbers from 1."""
    objects = np.zeros(masks.shape[:-1], int)
    for mask in np.moveaxis(masks, -1, 0):
        parts, _ = scipy.ndimage.label(mask)
        objects = np.where(parts > 0, parts + objects.max(), objects)
    return objects
