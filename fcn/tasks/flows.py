"""Objects by flows to their middles: Cellpose."""

import dataclasses
import functools
from typing import Annotated, ClassVar

import jax.numpy as jnp
import numpy as np
import optax
import scipy  # which loads its parts when they are first used

from fcn.instances import decode_flows, instance_flows
from fcn.instances.flows import SCALE
from fcn.losses.inputs import weighted_mean
from fcn.ranges import LARGEST, Range
from fcn.tasks.instances import InstanceTask


@dataclasses.dataclass(frozen=True, kw_only=True)
class Flows(InstanceTask):
    """The flow of each pixel to the middle of its object, down and right, five long, and the logit that it is an object's.

    Stringer et al., "Cellpose: a generalist algorithm for cellular segmentation", Nature Methods 18, 2021;
    targets, loss and decoding are those of `cellpose` 4.2.

    Attributes:
        min_size: see `InstanceTask`.
        threshold: the least logit of an object's pixel.
        flow_error: objects whose flows differ by more from those of their shape are left out (mean square).
        largest: objects that cover more than this share of the image are left out; 1 keeps all.
        steps: that pixels go along flows.
    """

    min_size: Annotated[int, Range(0)] = 15
    threshold: Annotated[float | int, Range(-LARGEST[float])] = 0.0
    flow_error: Annotated[float | int | None, Range(0)] = 0.4
    largest: Annotated[float | int, Range(0, 1)] = 0.4
    steps: Annotated[int, Range(1, 100_000)] = 200

    name: ClassVar[str] = "flows"
    of_objects: ClassVar[frozenset[str]] = frozenset({"label", "flows"})
    channels: ClassVar[int] = 3
    directed: ClassVar[bool] = True
    linear: ClassVar[bool] = True

    @property
    def fill(self):
        return {**super().fill, "flows": 0.0}

    def targets(self, sample):
        return {**super().targets(sample), "flows": instance_flows(np.asarray(sample["label"], np.int32))}

    def moved(self, targets, scale, flipped):
        """Vectors turn with the image."""
        signs = jnp.stack([jnp.where(mirrored, -1.0, 1.0) for mirrored in flipped])
        return {**targets, "flows": targets["flows"] * signs}

    def turned(self, targets, matrix):
        """Vectors point to where the middle has come to, and are as long as before."""
        (a, b), (c, d) = matrix
        inverse = jnp.array([[d, -b], [-c, a]]) * jnp.sign(a * d - b * c)
        flows = jnp.matmul(targets["flows"], inverse.T, precision="highest")
        lengths = jnp.sqrt(jnp.sum(flows**2, -1, keepdims=True))
        return {**targets, "flows": flows / jnp.where(lengths > 0, lengths, 1)}

    def loss(self, logits, targets, *, axis_name=None):
        found = jnp.asarray(logits, jnp.float32)
        mean = functools.partial(weighted_mean, weights=jnp.asarray(targets["label"] >= 0), axis_name=axis_name)
        square = mean(((found[..., :2] - SCALE * targets["flows"]) ** 2).mean(-1))
        cell = (targets["label"] > 0).astype(jnp.float32)
        return square / 2 + mean(optax.sigmoid_binary_cross_entropy(found[..., 2], cell))

    def scores(self, logits):
        return logits

    def certainty(self, scores):
        return scipy.special.expit(scores[..., 2])

    def prediction(self, scores):
        return decode_flows(np.asarray(scores, np.float32), **Flows.options(self))

    def options(self):
        own = ("threshold", "flow_error", "largest", "steps")
        return {**super().options(), **{name: getattr(self, name) for name in own}}
