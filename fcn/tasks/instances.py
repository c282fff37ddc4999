"""What tasks that find objects share: instance maps as labels and predictions, their metric, files and pictures."""

import dataclasses
from typing import Annotated, Any, ClassVar

import numpy as np
import scipy  # which loads its parts when they are first used
from jaxtyping import Float, Integer

from fcn import visualize
from fcn.data.codec import UNKNOWN
from fcn.data.source import LabelKind
from fcn.instances.objects import Objects, measure
from fcn.losses import parse_terms
from fcn.metrics.instances import InstanceMetrics, Instances
from fcn.ranges import Range, check_fields
from fcn.tasks.task import Task, defined
from fcn.text import short_name

_SHOWN = (0.5, 0.7, 0.9)


@dataclasses.dataclass(frozen=True, kw_only=True)
class InstanceTask(Task):
    """Objects of one class, which touch but do not overlap. A prediction is an instance map, int32 [H, W] of 0, 1, 2 ...

    Instance maps keep the name "label" among the targets; what is made of them lies beside.

    Attributes:
        min_size: objects of fewer pixels are left out of predictions.
    """

    min_size: Annotated[int, Range(0)] = 0

    label_kind: ClassVar[LabelKind] = "instances"
    of_objects: ClassVar[frozenset[str]] = frozenset({"label"})
    best: ClassVar[str] = "ap"
    on_host: ClassVar[bool] = True
    suffixes: ClassVar[tuple[str, ...]] = ("overlay.png", "objects.csv", "instances.tif")
    on_request: ClassVar[tuple[str, ...]] = ("objects.geojson",)
    own_loss: ClassVar[bool] = True
    """Whether the loss is that of the paper, not a sum of terms."""
    one_class: ClassVar[bool] = True
    """Whether objects are of one class only."""

    def __post_init__(self):
        super().__post_init__()
        check_fields(self)
        if self.one_class and len(self.classes) != 1:
            names = ", ".join(map(short_name, self.classes[:5]))
            raise ValueError(
                f"the task {self.name!r} finds objects of one class; there are {len(self.classes)}: {names}; "
                "the task 'panoptic' tells classes apart"
            )
        if self.own_loss and self.terms != parse_terms(self.default_loss):
            raise ValueError(f"the task {self.name!r} has a loss of its own; leave out the terms of another")

    @property
    def fill(self):
        return {**super().fill, "label": UNKNOWN}

    def metric(self):
        return Instances()

    def scalars(self, result: InstanceMetrics, prefix=""):
        at = dict(zip(result.thresholds, result.pooled, strict=True))
        values = {"ap": result.mean_ap, **{f"ap{round(100 * t)}": at[t].ap for t in _SHOWN}}
        values |= {"f1": at[0.5].f1, "pq": at[0.5].pq, "count_error": result.count_error}
        return {prefix + name: defined(value) for name, value in values.items()}

    def image_scalars(self, state):
        return [
            {"ap": defined(np.mean([one.ap for one in image])), "ap50": defined(image[0].ap), "pq": defined(image[0].pq)}
            for image in self.metric().compute(state).images
        ]

    def table(self, result: InstanceMetrics):
        names = {"AP": "ap", "F1": "f1", "precision": "precision", "recall": "recall", "PQ": "pq"}

        def line(title, values):
            return f"{title:<9}" + "".join(f"{'-' if np.isnan(v) else f'{100 * v:.1f}':>11}" for v in values)

        rows = dict(zip(result.thresholds, result.pooled, strict=True))
        lines = [line(f"IoU {t:g}", [getattr(rows[t], name) for name in names.values()]) for t in _SHOWN]
        means = [np.mean([getattr(one, name) for one in result.pooled]) for name in names.values()]
        rule = "-" * len(lines[0])
        head = f"{short_name(self.classes[0])[:9]:<9}" + "".join(f"{name:>11}" for name in names)
        true = result.pooled[0].tp + result.pooled[0].fn
        counts = f"{true} objects, {result.pooled[0].tp + result.pooled[0].fp} found"
        return "\n".join([head, rule, *lines, rule, line(".5 to .95", means), counts])

    def files(self, image, scores):
        instances, objects = self.objects(scores)
        small = instances.max(initial=0) <= np.iinfo(np.uint16).max
        return {
            "overlay.png": visualize.overlay_instances(image, instances),
            "objects.geojson": lambda: objects.geojson(instances),
            "objects.csv": objects.csv,
            "instances.tif": instances.astype(np.uint16) if small else instances,
        }

    def objects(self, scores: Float[np.ndarray, "h w k"]) -> tuple[Integer[np.ndarray, "h w"], Objects]:
        """The instance map of an image, and what is known of each object: area, middle, box, class and score."""
        instances = self.prediction(scores)
        return instances, measure(instances, self.object_scores(scores, instances), self.classes[0])

    def certainty(self, scores: Float[np.ndarray, "h w k"]) -> Float[np.ndarray, "h w"]:
        """How sure it is that each pixel is an object's, 0 to 1; by default 1."""
        return np.ones(scores.shape[:2])

    def object_scores(
        self, scores: Float[np.ndarray, "h w k"], instances: Integer[np.ndarray, "h w"]
    ) -> Float[np.ndarray, " n"]:
        """How sure the network is of each object, in the order of their ids: the mean over its pixels."""
        ids = np.unique(instances[instances > 0])
        return np.asarray(scipy.ndimage.mean(self.certainty(scores), instances, ids), np.float64)

    def summary(self, scores):
        count = len(np.setdiff1d(self.prediction(scores), 0))
        return f"{count} {'object' if count == 1 else 'objects'}"

    def regions(self, scores):
        instances, objects = self.objects(scores)
        return [(objects, instances)]

    def outlined(self, image, scores):
        return visualize.overlay_instances(image, self.objects(scores)[0], alpha=0.0)

    def figures(self, scores):
        instances, objects = self.objects(scores)
        of_class = [np.array([name == one for name in objects.classes], bool) for one in self.classes]
        shares = [float(objects.areas[chosen].sum() / instances.size) for chosen in of_class]
        names = ["objects (share)" if name == "objects" else name for name in self.classes]  # beside their number
        return {"objects": float(len(objects.ids)), **dict(zip(names, shares, strict=True))}

    def panel(self, images, truths, scores):
        found = [self.prediction(one) for one in scores]
        rows = [
            [visualize.rgb(image), *(visualize.overlay_instances(image, np.asarray(objects)) for objects in both)]
            for image, *both in zip(images, truths, found, strict=True)
        ]
        return visualize.gallery(rows)

    def options(self) -> dict[str, Any]:
        return {"min_size": self.min_size}
