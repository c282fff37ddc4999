"""The forms in which data sets lie, found by themselves: one file a form, each with `find(root)`, and one table."""

import dataclasses
from collections.abc import Callable
from pathlib import Path

from fcn.data.layouts import ade20k, cityscapes, coco, dsb2018, nnunet, own, side_by_side, voc
from fcn.data.layouts.layout import Layout
from fcn.data.source import LabelKind

LAYOUTS: dict[str, Callable[[Path], Layout | None]] = {
    "PASCAL VOC": voc.find,
    "Cityscapes": cityscapes.find,
    "ADE20K": ade20k.find,
    "nnU-Net": nnunet.find,
    "COCO": coco.find,
    "CamVid": side_by_side.find,
    "DSB2018": dsb2018.find,
}
"""What recognises each form: the layout, or None where a folder is not of that form."""


def find_layout(root: Path, kind: LabelKind = "classes") -> Layout:
    """The one form in which the images and labels of a folder lie.

    Raises:
        FileNotFoundError: there are no images with labels; the message says what was found, and what is known.
        ValueError: it looks like two forms, labels are of another kind, or two files have the same name.
    """
    found = [layout for find in LAYOUTS.values() if (layout := find(root)) is not None]
    names = [layout.name for layout in found] + [own.NAME] * own.is_there(root)
    if len(names) > 1:
        raise ValueError(f"{root} looks like {' and like '.join(names)}; put one of them into a folder of its own")
    if not found:
        return own.find(root, kind)
    if kind == "panoptic" and (found[0].instances or hasattr(found[0].reader, "objects")):
        return found[0]
    if kind == "instances" and found[0].instances:
        return dataclasses.replace(found[0], labels=found[0].instances, remark="")
    if kind in ("classes", "binary") or (kind == "instances" and hasattr(found[0].reader, "objects")):
        return found[0]
    raise ValueError(f"{root} is a folder as {found[0].name} has it, with classes as labels; this task needs {kind}")
