"""The 2018 Data Science Bowl: a folder for each image, with the image in images/ and a mask for each object in masks/."""

from pathlib import Path

from fcn.data.layouts.layout import Layout, index
from fcn.data.reading.labels import ObjectMaps, label_files

NAME = "the 2018 Data Science Bowl"
_MASKS = "masks"


def find(root: Path) -> Layout | None:
    """Images of `root`, or of its stage1_train/, that are ID/images/ID.png with ID/masks/*.png; None where there are none.

    Raises:
        ValueError: a folder with masks has no such image.
    """
    place = next((folder for folder in (root, root / "stage1_train") if any(folder.glob(f"*/{_MASKS}"))), None)
    folders = [] if place is None else [path for path in sorted(place.iterdir()) if (path / "images").is_dir()]
    found = {folder: index(folder / "images").get(folder.name) for folder in folders}
    if place is None or not any(found.values()):
        return None
    images = {folder.name: path for folder, path in found.items() if path is not None}
    if bare := [folder for folder, path in found.items() if path is None]:
        raise ValueError(f"{bare[0]} has no image images/{bare[0].name}.png, as folders of {NAME} have")
    labels = {name: place / name / _MASKS for name in images if _has_masks(place / name)}
    remark = "labels are the objects in masks/, all of one class"
    return Layout(root, place, place, images, labels, NAME, remark, f"/{_MASKS}", instances=labels, reader=ObjectMaps())


def _has_masks(folder: Path) -> bool:
    return (folder / _MASKS).is_dir() and bool(label_files(folder / _MASKS))
