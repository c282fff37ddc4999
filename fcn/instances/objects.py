"""Objects of an instance map as a table, and as shapes that other programs read."""

import csv
import io
import json
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import scipy  # which loads its parts when they are first used
from jaxtyping import Bool, Float, Int, Integer

from fcn.instances.outlines import outlines

_HEAD = ("id", "class", "score", "area", "row", "column", "top", "left", "height", "width")


class Objects(NamedTuple):
    """The objects of an image, in the order of their ids.

    Attributes:
        ids: [n], their numbers in the instance map.
        areas: [n], in pixels.
        centers: [n, 2], the mean row and column of their pixels.
        boxes: [n, 4], the first row and column, and how many of them there are.
        scores: [n], how sure the network is of each, 0 to 1.
        classes: [n], what each is.
    """

    ids: Int[np.ndarray, " n"]
    areas: Int[np.ndarray, " n"]
    centers: Float[np.ndarray, "n 2"]
    boxes: Int[np.ndarray, "n 4"]
    scores: Float[np.ndarray, " n"]
    classes: Sequence[str]

    def csv(self) -> str:
        """A table with a header, a row for each object."""
        text = io.StringIO()
        rows = zip(self.ids, self.classes, self.scores, self.areas, self.centers, self.boxes, strict=True)
        table = csv.writer(text, lineterminator="\n")
        table.writerow(_HEAD)
        for number, name, score, area, center, box in rows:
            table.writerow([number, name, f"{score:.4f}", area, *(f"{place:.2f}" for place in center), *box])
        return text.getvalue()

    def geojson(self, instances: Integer[np.ndarray, "h w"]) -> str:
        """A FeatureCollection (RFC 7946): the outline of each object along its pixels' edges, in x and y from the corner."""
        return collection(self.features(instances))

    def features(self, instances: Integer[np.ndarray, "h w"]) -> list[dict[str, Any]]:
        """What `geojson` collects."""
        features = []
        for number, name, score, box in zip(self.ids, self.classes, self.scores, self.boxes, strict=True):
            top, left, height, width = box.tolist()
            parts = outlines(instances[top : top + height, left : left + width] == number)
            rings = [[np.add(ring, (left, top)).tolist() for ring in part] for part in parts]
            shape = {"type": "Polygon", "coordinates": rings[0]} if len(rings) == 1 else None
            geometry = shape or {"type": "MultiPolygon", "coordinates": rings}
            known = {"class": name, "score": round(float(score), 4)}
            features.append({"type": "Feature", "id": int(number), "geometry": geometry, "properties": known})
        return features

    def coco(self, instances: Integer[np.ndarray, "h w"], categories: Sequence[str]) -> list[dict[str, Any]]:
        """COCO's annotations of an image, but for their numbers and the image's; categories count from 1.

        The segmentation of an object is its run lengths in the whole image, of 0 and of 1 in turn, down the columns.
        """
        annotations = []
        for number, name, score, area, box in zip(self.ids, self.classes, self.scores, self.areas, self.boxes, strict=True):
            top, left, height, width = box.tolist()
            known = {"category_id": list(categories).index(name) + 1, "score": round(float(score), 4), "iscrowd": 0}
            window = instances[top : top + height, left : left + width]
            columns, rows = np.nonzero((window == number).T)
            runs = {"size": list(instances.shape), "counts": _counts(rows + top, columns + left, instances.shape)}
            annotations.append({**known, "area": int(area), "bbox": [left, top, width, height], "segmentation": runs})
        return annotations


def collection(features: Sequence[dict[str, Any]]) -> str:
    """GeoJSON of features."""
    return json.dumps({"type": "FeatureCollection", "features": list(features)})


def regions(masks: Bool[np.ndarray, "h w k"], names: Sequence[str]) -> list[tuple[Objects, Int[np.ndarray, "h w"]]]:
    """The parts of each class that hang together along edges, as objects; their numbers go on from class to class."""
    found, last = [], 0
    for mask, name in zip(np.moveaxis(masks, -1, 0), names, strict=True):
        parts, count = scipy.ndimage.label(mask)
        parts = np.where(parts > 0, parts + last, 0)
        found.append((measure(parts, name=name), parts))
        last += count
    return found


def _counts(rows: Int[np.ndarray, " n"], columns: Int[np.ndarray, " n"], size: tuple[int, int]) -> list[int]:
    """Run lengths of pixels that follow each other down the columns."""
    places = columns * size[0] + rows
    first = np.flatnonzero(np.diff(places, prepend=-2) > 1)
    last = np.append(first[1:], len(places)) - 1
    edges = np.stack([places[first], places[last] + 1], -1).ravel()
    return np.diff(edges, prepend=0, append=size[0] * size[1]).tolist()


def measure(
    instances: Integer[np.ndarray, "h w"], scores: Float[np.ndarray, " n"] | None = None, name: str = "object"
) -> Objects:
    """What is known of the objects of an instance map.

    Args:
        instances: 0 for background (and below: not known), another number for each object.
        scores: how sure the network is of each, in the order of ids; 1 by default.
        name: what they are.
    """
    ids = np.unique(instances[instances > 0])
    numbers = np.where(instances > 0, np.searchsorted(ids, instances) + 1, 0)
    rows, columns = np.nonzero(numbers)
    found = numbers[rows, columns] - 1
    areas = np.bincount(found, minlength=len(ids))
    centers = np.stack([np.bincount(found, places, len(ids)) for places in (rows, columns)], -1) / areas[:, None]
    slices = scipy.ndimage.find_objects(numbers)
    boxes = np.array([[y.start, x.start, y.stop - y.start, x.stop - x.start] for y, x in slices], int).reshape(-1, 4)
    return Objects(ids, areas, centers, boxes, np.ones(len(ids)) if scores is None else scores, [name] * len(ids))
