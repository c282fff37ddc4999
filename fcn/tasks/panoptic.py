"""Objects of several classes: any task that finds objects, and a class for each."""

import dataclasses
import functools
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import jax
import jax.numpy as jnp
import numpy as np
import optax
import scipy  # which loads its parts when they are first used

from fcn.data.panoptic import STEP, by_class, numbered
from fcn.data.source import LabelKind
from fcn.errors import unknown
from fcn.instances.objects import measure
from fcn.losses.inputs import weighted_mean
from fcn.metrics.instances import InstanceState
from fcn.metrics.instances import Panoptic as Quality
from fcn.tasks.boundary import Boundary
from fcn.tasks.condinst import CondInst
from fcn.tasks.flows import Flows
from fcn.tasks.instances import InstanceTask
from fcn.tasks.stardist import StarDist
from fcn.tasks.task import defined
from fcn.text import short_name

FINDERS: dict[str, type[InstanceTask]] = {task.name: task for task in (Boundary, StarDist, Flows, CondInst)}


@dataclasses.dataclass(frozen=True, kw_only=True)
class Panoptic(InstanceTask):
    """The channels of a task that finds objects, and beside them the softmax of their classes at each pixel.

    A prediction is an instance map whose numbers tell the class, too: `fcn.data.panoptic.by_class` gives both. The class of an
    object is that of the largest mean probability over its pixels. The cross-entropy of classes, over the pixels of objects, is
    added to the finder's loss. Panoptic quality: Kirillov et al., "Panoptic Segmentation", CVPR 2019.

    Attributes:
        finder: the task that finds objects: boundary, stardist, flows or condinst.
        finder_options: its options, such as {"rays": 64}.
    """

    finder: str = "boundary"
    finder_options: Mapping[str, Any] = dataclasses.field(default_factory=dict)

    name: ClassVar[str] = "panoptic"
    label_kind: ClassVar[LabelKind] = "panoptic"
    best: ClassVar[str] = "pq"
    one_class: ClassVar[bool] = False

    def __post_init__(self):
        super().__post_init__()
        told = {name: getattr(self.found_by, name) for name in self.found_by.older}
        object.__setattr__(self, "finder_options", {**told, **self.finder_options})
        for name in ("turns", "linear", "directed", "averages", "of_objects"):
            object.__setattr__(self, name, getattr(self.found_by, name))

    @functools.cached_property
    def found_by(self) -> InstanceTask:
        """The task that finds objects.

        Raises:
            ValueError: it is unknown, or has other options.
        """
        if self.finder not in FINDERS:
            raise unknown("finder of objects", self.finder, FINDERS)
        known = {field.name for field in dataclasses.fields(FINDERS[self.finder])} - {"classes", "palette", "ignore_index"}
        given = {**({"min_size": self.min_size} if self.min_size else {}), **self.finder_options}
        for option in given:
            if option not in known:
                raise unknown(f"option of the finder {self.finder!r}", option, known)
        return FINDERS[self.finder](classes=("object",), ignore_index=self.ignore_index, **given)

    @property
    def channels(self):
        return self.found_by.channels + len(self.classes)

    @property
    def fill(self):
        return self.found_by.fill

    def targets(self, sample):
        return self.found_by.targets(sample)

    def moved(self, targets, scale, flipped):
        return self.found_by.moved(targets, scale, flipped)

    def turned(self, targets, matrix):
        return self.found_by.turned(targets, matrix)

    def _split(self, values):
        """What the finder takes, and what is of the classes."""
        return values[..., : self.found_by.channels], values[..., self.found_by.channels :]

    def loss(self, logits, targets, *, axis_name=None):
        own, kinds = self._split(logits)
        objects = jnp.asarray(targets["label"] > 0)
        true = jnp.where(objects, targets["label"] // STEP, 0)
        entropy = optax.softmax_cross_entropy_with_integer_labels(jnp.asarray(kinds, jnp.float32), true)
        return self.found_by.loss(own, targets, axis_name=axis_name) + weighted_mean(entropy, objects, axis_name)

    def resized(self, logits, factors):
        own, kinds = self._split(logits)
        return jnp.concatenate([self.found_by.resized(own, factors), kinds], -1)

    def scores(self, logits):
        own, kinds = self._split(logits)
        return jnp.concatenate([self.found_by.scores(own), jax.nn.softmax(kinds)], -1)

    def prediction(self, scores):
        instances = self.found_by.prediction(self._split(scores)[0])
        return numbered(instances, np.append(0, self._means(scores, instances).argmax(-1)))

    def _means(self, scores, instances):
        """[n, K]: the mean probability of each class over each of the objects 1..n."""
        ids = np.arange(1, instances.max(initial=0) + 1)
        kinds = np.moveaxis(np.asarray(self._split(scores)[1], np.float64), -1, 0)
        return np.stack([np.reshape(scipy.ndimage.mean(kind, instances, ids), -1) for kind in kinds], -1)

    def certainty(self, scores):
        return self.found_by.certainty(self._split(scores)[0])

    def object_scores(self, scores, instances):
        """How sure the finder is of each object, times the probability of its class."""
        found = self.found_by.object_scores(self._split(scores)[0], instances)
        return found * self._means(scores, instances).max(-1, initial=0)

    def objects(self, scores):
        instances, classes = by_class(self.prediction(scores))
        found = measure(instances, self.object_scores(scores, instances))
        return instances, found._replace(classes=[self.classes[number] for number in classes[1:]])

    def summary(self, scores):
        found = self.objects(scores)[1].classes
        counts = [f"{found.count(name)} {short_name(name)}" for name in self.classes if name in found]
        return ", ".join(counts) or "0 objects"

    def metric(self):
        return _ByClass(len(self.classes))

    def scalars(self, result: Sequence[Any], prefix=""):
        values = {name: _mean([getattr(one, name) for one in result]) for name in ("pq", "sq", "rq")}
        values |= {f"pq/{name}": one.pq for name, one in zip(self.classes, result, strict=True)}
        return {prefix + name: defined(value) for name, value in values.items()}

    def image_scalars(self, state):
        images = [self.metric().compute(InstanceState(*(part[i : i + 1] for part in state))) for i in range(len(state.counts))]
        return [
            {name: defined(_mean([getattr(one, name) for one in image])) for name in ("pq", "sq", "rq")} for image in images
        ]

    def table(self, result: Sequence[Any]):
        names = ("pq", "sq", "rq")
        lines = [f"{'':<20}" + "".join(f"{name.upper():>10}" for name in names) + f"{'objects':>10}"]
        for name, one in zip(self.classes, result, strict=True):
            lines.append(_row(short_name(name)[:19], [getattr(one, each) for each in names]) + f"{one.tp + one.fn:>10}")
        return "\n".join([*lines, _row("mean", [_mean([getattr(one, each) for one in result]) for each in names])])

    def options(self):
        return {**super().options(), "finder": self.finder, "finder_options": dict(self.finder_options)}

    @classmethod
    def recorded(cls, options):
        finder = FINDERS.get(options.get("finder", cls.finder))
        given = options.get("finder_options", {})
        if finder is None or not isinstance(given, Mapping):
            return super().recorded(options)
        return super().recorded({**options, "finder_options": finder.recorded(given)})


class _ByClass(Quality):
    """Panoptic quality of maps whose numbers tell classes."""

    def count(self, predictions, labels):
        return super().count(*([by_class(np.asarray(one)) for one in maps] for maps in (predictions, labels)))


def _mean(values) -> float:
    """Of those that are defined."""
    known = [value for value in values if not np.isnan(value)]
    return float(np.mean(known)) if known else float("nan")


def _row(title: str, values) -> str:
    return f"{title:<20}" + "".join(f"{'-' if np.isnan(value) else f'{100 * value:.1f}':>10}" for value in values)
