"""Objects as star-convex polygons: StarDist."""

import dataclasses
import functools
from typing import Annotated, ClassVar

import jax
import jax.numpy as jnp
import numpy as np
import optax
import scipy  # which loads its parts when they are first used
from jaxtyping import Array, Float

from fcn.instances import Stars, candidates, edge_probabilities, paint, star_distances, suppress
from fcn.instances.boundaries import renumbered
from fcn.instances.rays import ray_steps
from fcn.instances.tuning import THRESHOLDS, StarTuning
from fcn.losses.inputs import weighted_mean
from fcn.ranges import Range
from fcn.tasks.instances import InstanceTask

_DISTANCES, _BACKGROUND = 0.2, 1e-4
"""Weights of the distances' error, and of distances in the background."""
_EPSILON = 1e-7


@dataclasses.dataclass(frozen=True, kw_only=True)
class StarDist(InstanceTask):
    """The logit that a pixel is near the middle of an object, and the distances from it to the object's edge along rays.

    Schmidt, Weigert, Broaddus, Myers, "Cell Detection with Star-Convex Polygons", MICCAI 2018, section 2; targets, loss and
    decoding are those of `stardist` 0.9.2, but for the border, where it accepts no object by default (`border=2`).

    Attributes:
        rays: how many, an even number, so that those of a mirrored image are the same in another order.
        grid: only every so many rows and columns of the network's output are learnt and decoded.
        threshold: the least probability of an object's middle.
        overlap: the share of the smaller of two objects that both may cover.
        border: so many places of the grid along the border are no middles.
    """

    rays: Annotated[int, Range(4, 1024)] = 32
    grid: Annotated[int, Range(1, 64)] = 1
    threshold: Annotated[float | int, Range(0, 1)] = 0.5
    overlap: Annotated[float | int, Range(0, 1)] = 0.4
    border: Annotated[int, Range(0)] = 0

    name: ClassVar[str] = "stardist"
    of_objects: ClassVar[frozenset[str]] = frozenset({"label", "probability", "distances"})
    directed: ClassVar[bool] = True
    linear: ClassVar[bool] = True

    def __post_init__(self):
        super().__post_init__()
        if self.rays % 2:
            raise ValueError(f"rays is {self.rays}; it must be even, such as {self.rays - 1} or {self.rays + 1}")

    @property
    def channels(self):
        return 1 + self.rays

    @property
    def fill(self):
        return {**super().fill, "probability": 0.0, "distances": 0.0}

    def targets(self, sample):
        instances = np.asarray(sample["label"], np.int32)
        objects = np.maximum(instances, 0)
        maps = {"probability": edge_probabilities(objects), "distances": star_distances(objects, self.rays)}
        return {**super().targets(sample), **maps}

    def moved(self, targets, scale, flipped):
        """Rays change places where the image is mirrored, grow with it, and end at its border: crops need no new distances."""
        rays = np.arange(self.rays)
        distances = targets["distances"]
        for mirrored, order in zip(flipped, (-rays, self.rays // 2 - rays), strict=True):
            distances = jnp.where(mirrored, distances[..., order % self.rays], distances)
        return self._ended(targets, distances * scale)

    def turned(self, targets, matrix):
        """Along a ray lies what lay in its direction before; between the rays that were measured lengths are interpolated."""
        down, right = jnp.matmul(ray_steps(self.rays), matrix.T, precision="highest").T
        place = jnp.arctan2(down, right) * (self.rays / (2 * np.pi))
        low = jnp.floor(place)
        first, second = (targets["distances"][..., (low.astype(int) + i) % self.rays] for i in (0, 1))
        return self._ended(targets, (first + (second - first) * (place - low)) / jnp.hypot(down, right))

    def _ended(self, targets, distances):
        """Distances that end at the border of the image."""
        inside = targets["label"][..., None] > 0
        ended = jnp.minimum(distances, _to_border(distances.shape[:2], self.rays))
        return {**targets, "distances": jnp.where(inside, ended, 0.0)}

    def loss(self, logits, targets, *, axis_name=None):
        logits, targets = jax.tree.map(lambda values: values[:, :: self.grid, :: self.grid], (logits, targets))
        known, found = jnp.asarray(targets["label"] >= 0), jnp.asarray(logits, jnp.float32)
        objects = jnp.asarray(targets["probability"])
        mean = functools.partial(weighted_mean, weights=known, axis_name=axis_name)
        entropy = mean(optax.sigmoid_binary_cross_entropy(found[..., 0], objects))
        error = mean(objects * jnp.abs(targets["distances"] - found[..., 1:]).mean(-1)) / (mean(objects) + _EPSILON)
        background = mean((1 - objects) * jnp.abs(found[..., 1:]).mean(-1))
        return entropy + _DISTANCES * (error + _BACKGROUND * background)

    def resized(self, logits, factors):
        lengths = jnp.asarray(np.hypot(*(ray_steps(self.rays) * np.asarray(factors, np.float32)).T))
        return jnp.concatenate([logits[..., :1], logits[..., 1:] * lengths], -1)

    def scores(self, logits):
        return jnp.concatenate([jax.nn.sigmoid(logits[..., :1]), logits[..., 1:]], -1)

    def certainty(self, scores):
        return scores[..., 0]

    def object_scores(self, scores, instances):
        """The largest probability in an object, which is that of the pixel whose polygon it is."""
        ids = np.unique(instances[instances > 0])
        return np.asarray(scipy.ndimage.maximum(self.certainty(scores), instances, ids), np.float64)

    def prediction(self, scores):
        found = suppress(self.candidates(scores), self.overlap)
        height, width, _ = scores.shape
        return renumbered(paint(found, (height, width)), self.min_size)

    def candidates(self, scores: Float[np.ndarray | Array, "h w k"]) -> Stars:
        """The polygons of all places whose probability is above the threshold."""
        coarse = np.asarray(scores, np.float32)[:: self.grid, :: self.grid]
        return candidates(coarse[..., 0], coarse[..., 1:], self.threshold, grid=self.grid, border=self.border)

    def tuning(self):
        return _Tuned(**{field.name: getattr(self, field.name) for field in dataclasses.fields(self)})

    def options(self):
        own = {name: getattr(self, name) for name in ("rays", "grid", "threshold", "overlap", "border")}
        return {**super().options(), **own}


@dataclasses.dataclass(frozen=True, kw_only=True)
class _Tuned(StarDist):
    """Predicts all candidates that any threshold may leave, for the metric that looks for the best ones."""

    def metric(self):
        return StarTuning(min_size=self.min_size)

    def prediction(self, scores):
        return dataclasses.replace(self, threshold=THRESHOLDS[0]).candidates(scores)


@functools.lru_cache(maxsize=8)
def _to_border(shape: tuple[int, int], rays: int) -> np.ndarray:
    """The distances of one object that fills an image."""
    return star_distances(np.ones(shape, np.int32), rays)
