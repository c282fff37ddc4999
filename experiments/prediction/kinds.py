"""The kinds of results that predict writes, and the formats of each."""

from collections.abc import Sequence
from typing import Literal

Kind = Literal["labels", "overlay", "probabilities", "uncertainty", "contours"]
Format = Literal["png", "tif", "npy", "geojson", "coco-rle"]
FORMATS: dict[str, tuple[str, ...]] = {
    "labels": ("png", "tif", "npy"),
    "overlay": ("png",),
    "probabilities": ("npy",),
    "uncertainty": ("png", "npy"),
    "contours": ("png", "geojson", "coco-rle"),
}


def chosen(save: Sequence[Kind], formats: Sequence[Format], overlay: bool) -> tuple[Kind, ...]:
    """The kinds that are written: those of --save, or by default those that the formats are of.

    Raises:
      ValueError: a format is of none of them.
    """
    wanted: dict[Kind, bool] = {
        "labels": bool({"png", "tif", "npy"} & {*formats}),
        "overlay": overlay and "png" in formats,
        "contours": bool({"geojson", "coco-rle"} & {*formats}),
    }
    kinds = tuple(save) or tuple(kind for kind, is_wanted in wanted.items() if is_wanted)
    for each in formats:
        if each != "png" and not any(each in FORMATS[kind] for kind in kinds):
            fitting = " or ".join(kind for kind in FORMATS if each in FORMATS[kind])
            raise ValueError(f"--format {each} is of {fitting}; --save names {', '.join(kinds)}")
    return kinds
