"""PASCAL VOC's devkit: JPEGImages/, SegmentationClass/ and the lists in ImageSets/Segmentation/ (Everingham et al., 2010)."""

import re
from pathlib import Path

from fcn.data.layouts.layout import Layout, index, matched
from fcn.data.reading.classes import Row
from fcn.data.reading.decode import LABEL_SUFFIXES

NAME = "PASCAL VOC (JPEGImages/, SegmentationClass/)"
CLASSES = (
    "background aeroplane bicycle bird boat bottle bus car cat chair cow diningtable dog horse motorbike person pottedplant "
    "sheep sofa train tvmonitor"
).split()


def find(root: Path) -> Layout | None:
    """The devkit itself, one year of it, or another set in its form.

    Raises:
        ValueError: several years lie in the folder.
    """
    places = [place for place in (root, *root.glob("VOC*"), *root.glob("VOCdevkit/VOC*")) if (place / "JPEGImages").is_dir()]
    places = [place for place in places if (place / "SegmentationClass").is_dir()]
    if not places:
        return None
    if len(places) > 1:
        raise ValueError(f"{root} holds {' and '.join(sorted(place.name for place in places))}; name the folder of one of them")
    place = places[0]
    images, store = index(place / "JPEGImages"), place / "SegmentationClass"
    labels, objects = (index(place / name, LABEL_SUFFIXES) for name in (store.name, "SegmentationObject"))
    lists = place / "ImageSets" / "Segmentation"
    return Layout(
        root,
        place / "JPEGImages",
        store,
        images,
        matched(images, labels),
        NAME,
        f"labels are those in {store.relative_to(root)}/",
        rows=_rows() if _is_published(images) else (),
        lists=lists if lists.is_dir() else None,
        instances=matched(images, objects),
        void_object=255,
    )


def _is_published(images: dict[str, Path]) -> bool:
    """Whether images are called as in the challenges: 2007_000032, or 000032 in 2007."""
    return bool(images) and all(re.fullmatch(r"(\d{4}_)?\d{6}", key) for key in images)


def _rows() -> tuple[Row, ...]:
    return (*((i, name, colour(i)) for i, name in enumerate(CLASSES)), (255, "void", colour(255)))


def colour(number: int) -> tuple[int, int, int]:
    """The colour of a number in the palette of VOC: its bits, dealt out to red, green and blue from the highest on."""
    channels = [sum((number >> (3 * bit + channel) & 1) << (7 - bit) for bit in range(8)) for channel in range(3)]
    return channels[0], channels[1], channels[2]
