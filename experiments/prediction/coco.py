"""Objects of all images as one file of COCO's form."""

import csv
import json
import os
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from fcn.data.reading.labels import ObjectMaps
from fcn.inference.files import Files
from fcn.instances import measure
from fcn.visualize.files import save_pictures

NAME = "objects.coco.json"
NEEDED = ("objects.csv", "instances.tif")
"""Endings of the files that it is made of."""


def write_coco(path: Path, plans: Sequence[Files], classes: Sequence[str]) -> None:
    """Writes images, their objects and the classes, as COCO's tools and `fcn.data` read them: of all images that are done.

    Args:
      path: the file.
      plans: the images, and the files that were written for each.
      classes: the categories, numbered from 1.
    """
    done = [files for files in plans if files.done.is_file()]
    folder = os.path.commonpath([files.image.absolute().parent for files in done]) if done else ""
    images, annotations = [], []
    for number, files in enumerate(done, 1):
        instances, found = read_objects(files)
        name = files.image.absolute().with_name(files.name).relative_to(folder).as_posix()
        images.append({"id": number, "file_name": name, "height": instances.shape[0], "width": instances.shape[1]})
        annotations += [{"image_id": number, **one} for one in found.coco(instances, classes)]
    numbered = [{"id": number, **one} for number, one in enumerate(annotations, 1)]
    categories = [{"id": number, "name": name} for number, name in enumerate(classes, 1)]
    save_pictures({path: json.dumps({"images": images, "annotations": numbered, "categories": categories})})


def read_objects(files: Files):
    """The instance map of an image, and its objects with the scores and classes of their table."""
    table, instances = files.paths[NEEDED[0]], ObjectMaps().objects(files.paths[NEEDED[1]])
    rows = list(csv.DictReader(table.read_text(encoding="utf-8").splitlines()))
    found = measure(instances, np.array([float(row["score"]) for row in rows]))
    if found.ids.tolist() != [int(row["id"]) for row in rows]:
        raise ValueError(f"{table} has other objects than {files.paths[NEEDED[1]]}; predict the image anew, with --overwrite")
    return instances, found._replace(classes=[row["class"] for row in rows])
