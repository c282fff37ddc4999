"""Objects as a table and as outlines."""

import json

import numpy as np
import pytest

from fcn.instances import measure, outlines
from fcn.instances.objects import regions

RNG = np.random.default_rng(0)


def area(ring):
    """Above 0 for rings that go from left to right at the top."""
    (x, y), (next_x, next_y) = ring[:-1].T, ring[1:].T
    return (x * next_y - next_x * y).sum() / 2


def test_outlines_of_a_part_with_a_hole_and_a_corner():
    """The hole touches the outside at a corner, where rings meet and do not cross."""
    mask = np.array([[1, 1, 1, 0], [1, 0, 1, 0], [1, 1, 0, 0], [0, 0, 0, 1]], bool)
    (ring, hole), (single,) = outlines(mask)
    assert hole.tolist() == [[1, 1], [1, 2], [2, 2], [2, 1], [1, 1]]
    assert ring.tolist() == [[0, 0], [3, 0], [3, 2], [2, 2], [2, 3], [0, 3], [0, 0]]
    assert single.tolist() == [[3, 3], [4, 3], [4, 4], [3, 4], [3, 3]]
    assert outlines(mask[:0]) == outlines(mask & False) == []


@pytest.mark.parametrize("share", [0.3, 0.6, 0.9])
def test_outlines_enclose_as_many_pixels_as_there_are(share):
    for mask in RNG.random((20, 9, 11)) < share:
        parts = [[area(ring) for ring in part] for part in outlines(mask)]
        assert sum(map(sum, parts)) == mask.sum()
        assert all(outer > 0 and all(hole < 0 for hole in holes) for outer, *holes in parts)


def instances():
    """One object in one part, one in two that touch at a corner; a pixel of which nothing is known."""
    found = np.zeros((6, 8), int)
    found[1:3, 2:5], found[4, 6], found[5, 7], found[0, 0] = 7, 70_000, 70_000, -1
    return found


def test_a_table_of_objects():
    objects = measure(instances(), np.array([0.5, 0.25]), "cell")
    assert objects.csv().splitlines() == [
        "id,class,score,area,row,column,top,left,height,width",
        "7,cell,0.5000,6,1.50,3.00,1,2,2,3",
        "70000,cell,0.2500,2,4.50,6.50,4,6,2,2",
    ]
    assert measure(instances() * 0).csv().count("\n") == 1


def test_outlines_of_objects():
    table = json.loads(measure(instances(), name="cell").geojson(instances()))
    first, second = table["features"]
    assert first["geometry"] == {"type": "Polygon", "coordinates": [[[2, 1], [5, 1], [5, 3], [2, 3], [2, 1]]]}
    assert second["geometry"]["type"] == "MultiPolygon" and len(second["geometry"]["coordinates"]) == 2
    assert second["id"] == 70_000 and second["properties"] == {"class": "cell", "score": 1.0}


@pytest.mark.filterwarnings("ignore:__array__ implementation doesn't accept a copy keyword")  # pycocotools
def test_run_lengths_of_objects():
    """As COCO's tools read them."""
    compressed = pytest.importorskip("pycocotools.mask")
    objects = measure(instances(), np.array([0.5, 0.25]))._replace(classes=["cell", "dust"])
    first, second = objects.coco(instances(), ["dust", "cell"])
    for one, number in ((first, 7), (second, 70_000)):
        runs = compressed.frPyObjects(one["segmentation"], 6, 8)
        np.testing.assert_array_equal(compressed.decode(runs), instances() == number)
    assert first | {"segmentation": None} == {
        "category_id": 2,
        "score": 0.5,
        "iscrowd": 0,
        "area": 6,
        "bbox": [2, 1, 3, 2],
        "segmentation": None,
    }
    whole = measure(np.ones((2, 3), int)).coco(np.ones((2, 3), int), ["object"])
    assert whole[0]["segmentation"]["counts"] == [0, 6, 0]


def test_parts_of_classes_are_objects():
    """Numbers go on from class to class, also of classes that overlap."""
    masks = np.zeros((3, 4, 2), bool)
    masks[0, :2, 0] = masks[2, 3, 0] = masks[:2, 1, 1] = True
    (first, parts), (second, others) = regions(masks, ["a", "b"])
    assert parts.tolist() == [[1, 1, 0, 0], [0, 0, 0, 0], [0, 0, 0, 2]] and others[:2, 1].tolist() == [3, 3]
    assert (first.classes, second.classes, second.ids.tolist()) == (["a", "a"], ["b"], [3])
